"""The relay's agents: three tiny models of three families, each taught its own function from nothing, then frozen.

They learn from text alone, by next-token cross-entropy on prompts as the relay's prompt pack renders them. The state
stands in the prompt as two words, either as private context or in the slot where a message will come, and the reply is
the next state. The planner of a later round has both, and learns to go by the slot. The words are blurred by noise of
up to `BLUR` times their own size: an agent that knows a word by its direction alone still reads one that a link spells
roughly, and its loss has a slope where the link has it wrong.

None of them ever sees a latent, a link, or what another agent knows. `N` states, `L` length of a text, `B` batch.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.relay.task import ALPHABET, GO, ROLES, Relay, spell, told
from rmas.backbone import HFBackbone, new_backbone
from rmas.conversation import Slot
from rmas.packs import load_pack
from rmas.prompt import PromptPack, Question

PATTERN = "sequential"
PROMPTS = Path(__file__).parent / "prompts.toml"
FAMILIES = {"planner": "qwen3", "critic": "llama", "solver": "gemma3_text"}
WIDTHS = {"planner": 48, "critic": 64, "solver": 56}
SIZES: Mapping[str, Any] = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,  # the families' own 0.02 is for widths of a thousand
}
EXTRA: Mapping[str, Mapping[str, Any]] = {
    "qwen3": {"tie_word_embeddings": True},
    "llama": {"tie_word_embeddings": False},
    "gemma3_text": {
        "query_pre_attn_scalar": 14,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}
REPLY = 3  # tokens: two symbols and the end
BLUR = 3.0


class Lesson(NamedTuple):
    """One kind of prompt, for every state that can be told: the ids before and after the slot (no slot: all before)."""

    before_NL: Tensor
    after_NL: Tensor
    has_slot: bool


class Grade(NamedTuple):
    """How an agent ended: share of right replies to text without blur, last loss, optimiser steps."""

    accuracy: float
    loss: float
    steps: int


def train_agent(
    role: str, relay: Relay, *, steps: int = 400, batch_size: int = 256, lr: float = 3e-3
) -> tuple[HFBackbone, Grade]:
    """A frozen model of the role's family that knows the role's function."""
    backbone = new_agent(role, relay)
    course = Course(role, relay, backbone)
    model = backbone.model.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    generator = torch.Generator().manual_seed(relay.seed)
    loss = torch.zeros(())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 50, (steps - step) / (0.3 * steps))
        loss = course.loss(model, batch_size, generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.requires_grad_(False).eval()
    return backbone, Grade(course.accuracy(model, generator), loss.item(), steps)


def new_agent(role: str, relay: Relay) -> HFBackbone:
    """The role's model before any lesson: its family, its width, and its own numbering of the same words."""
    family, width, seed = FAMILIES[role], WIDTHS[role], 10 * relay.seed + ROLES.index(role)
    config = {**SIZES, **EXTRA[family], "hidden_size": width, "intermediate_size": 4 * width, "head_dim": width // 4}
    cues = [f"{name.capitalize()}:" for name in ROLES]
    words = [*ALPHABET[: relay.num_symbols], GO, "told", "handed", *cues]
    return new_backbone(family, config, word_tokenizer(words, seed=seed), name=f"relay-{role}", seed=seed)


def word_tokenizer(words: list[str], *, seed: int) -> Any:
    """One token a word, cut at white space. Ids are shuffled by `seed`, so that no two agents number words alike."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    order = ["<pad>", "<unk>", "<eos>", *random.Random(seed).sample(words, len(words))]
    backend = Tokenizer(WordLevel(vocab={word: i for i, word in enumerate(order)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>", padding_side="left"
    )


class Course:
    """What one role has to learn: each kind of its prompts, and the reply to every state."""

    def __init__(self, role: str, relay: Relay, backbone: HFBackbone) -> None:
        encode, eos = backbone.encode, backbone.tokenizer.hf.eos_token_id
        self.states_N2 = torch.tensor([encode(spell(state)) for state in relay.states])
        self.replies_N3 = torch.tensor([[*encode(spell(relay.apply(role, state))), eos] for state in relay.states])
        pack = load_pack(str(PROMPTS), PATTERN)
        tells = [told(state, [role]) for state in relay.states]
        handed = tells if role == ROLES[0] else [Question(text=GO)] * len(tells)
        self.lessons = [
            _lesson(pack, role, backbone, tells, frozenset()),
            _lesson(pack, role, backbone, handed, frozenset(pack.slots(role))),
        ]

    def loss(self, model: nn.Module, batch_size: int, generator: torch.Generator) -> Tensor:
        """Mean next-token cross-entropy of the replies to `batch_size` random, blurred prompts of all kinds."""
        losses = []
        for lesson in self.lessons:
            places_2B = torch.randint(len(self.states_N2), (2, batch_size // len(self.lessons)), generator=generator)
            ids_BL = self._texts(lesson, *places_2B)
            logits_BRV = _reply_logits(model, ids_BL, generator)
            losses.append(nn.functional.cross_entropy(logits_BRV.mT, ids_BL[:, -REPLY:]))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def accuracy(self, model: nn.Module, generator: torch.Generator) -> float:
        """Share of right replies to every state, the least of all kinds of prompt. Where a prompt also tells a state
        that does not count, each comes with four of those, drawn at random."""
        shares = []
        for lesson in self.lessons:
            states_B = torch.arange(len(self.states_N2)).repeat(4)
            others_B = torch.randint(len(self.states_N2), states_B.shape, generator=generator)
            ids_BL = self._texts(lesson, states_B, others_B)
            guess_BR = _reply_logits(model, ids_BL).argmax(-1)
            shares.append(float((guess_BR == ids_BL[:, -REPLY:]).all(-1).double().mean()))
        return min(shares)

    def _texts(self, lesson: Lesson, states_B: Tensor, others_B: Tensor) -> Tensor:
        """Prompts about `states` with their replies -> ids_BL. A prompt with a slot is told of one of the `others`."""
        told_B = others_B if lesson.has_slot else states_B
        slot = [self.states_N2[states_B]] if lesson.has_slot else []
        return torch.cat([lesson.before_NL[told_B], *slot, lesson.after_NL[told_B], self.replies_N3[states_B]], dim=1)


def _lesson(
    pack: PromptPack, role: str, backbone: HFBackbone, questions: list[Question], filled: frozenset[str]
) -> Lesson:
    """The role's prompt for each question, cut at its slot."""
    before, after = [], []
    for question in questions:
        prompt = pack.render(role, question, backbone.tokenizer, filled=filled)
        parts = [prompt.head, *prompt.body]
        cut = next((i for i, part in enumerate(parts) if isinstance(part, Slot)), len(parts))
        before.append([token for part in parts[:cut] if not isinstance(part, Slot) for token in part])
        after.append([token for part in parts[cut:] if not isinstance(part, Slot) for token in part])
    return Lesson(torch.tensor(before), torch.tensor(after, dtype=torch.int64), bool(filled))


def _reply_logits(model: nn.Module, ids_BL: Tensor, blur: torch.Generator | None = None) -> Tensor:
    """The logits of the last REPLY tokens, each from the position before it; with `blur`, from blurred words."""
    x_BLD: Tensor = model.get_input_embeddings()(ids_BL)  # type: ignore[operator]
    if blur is not None:
        size_B11 = BLUR * torch.rand(len(x_BLD), 1, 1, generator=blur) * x_BLD.detach().square().mean().sqrt()
        x_BLD = x_BLD + size_B11 * torch.randn(x_BLD.shape, generator=blur)
    logits_BLV: Tensor = model(inputs_embeds=x_BLD, use_cache=False).logits
    return logits_BLV[:, -REPLY - 1 : -1]
