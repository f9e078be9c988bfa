"""The relay's agents: three tiny models of three families, each taught its own function from nothing, then frozen.

They learn from text alone, on prompts as the relay's prompt pack renders them: the state stands in the slot as two
words where a message will come, and the reply is the next state. The planner learns both of its prompts: the one of round
1, and the one of later rounds, in which it must leave its start state aside and go by what came back. None of them sees
a latent, a link or another agent's function.

`N` states, `L` length of a text, `B` batch.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.relay.task import ALPHABET, GO, ROLES, Relay, question, spell
from rmas.backbone import HFBackbone, new_backbone
from rmas.prompt import PromptPack, Slot, load_pack

PATTERN, FIRST = "sequential", ROLES[0]
PROMPTS = Path(__file__).parent / "prompts.toml"
FAMILIES = {"planner": "qwen3", "critic": "llama", "solver": "gemma3_text"}
WIDTHS = {"planner": 48, "critic": 64, "solver": 56}
SIZES: Mapping[str, Any] = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,
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


class Lesson(NamedTuple):
    """One of a role's prompts for every start state: the ids before and after the slot. Without a slot: all before."""

    before_NL: Tensor
    after_NL: Tensor
    has_slot: bool


class Grade(NamedTuple):
    """How an agent ended: share of right replies, loss, optimiser steps taken."""

    accuracy: float
    loss: float
    steps: int


def train_agent(
    role: str, relay: Relay, *, max_steps: int = 3000, batch_size: int = 256, lr: float = 3e-3, enough: float = 2e-3
) -> tuple[HFBackbone, Grade]:
    """A model of the role's family that knows the role's function. Stops at loss `enough`, or after max_steps."""
    backbone = new_agent(role, relay)
    curriculum = Curriculum(role, relay, backbone)
    model = backbone.model.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    generator = torch.Generator().manual_seed(relay.seed)
    step, average = 0, float("inf")
    for step in range(1, max_steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, step / 50)
        loss = curriculum.loss(model, batch_size, generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average = loss.item() if step == 1 else 0.9 * average + 0.1 * loss.item()
        if average < enough:
            break
    model.requires_grad_(False).eval()
    return backbone, Grade(curriculum.accuracy(model, generator), average, step)


def new_agent(role: str, relay: Relay) -> HFBackbone:
    """The role's model before any lesson: its family, its width, and its own numbering of the same words."""
    family, width = FAMILIES[role], WIDTHS[role]
    config = {**SIZES, **EXTRA[family], "hidden_size": width, "intermediate_size": 4 * width, "head_dim": width // 4}
    seed = 10 * relay.seed + ROLES.index(role)
    tokenizer = word_tokenizer(words(relay), seed=seed)
    return new_backbone(family, config, tokenizer, name=f"relay-{role}", seed=seed)


def words(relay: Relay) -> list[str]:
    """Everything the prompts and replies are written in."""
    cues = [f"{role.capitalize()}:" for role in ROLES]
    return [*ALPHABET[: relay.num_symbols], GO, "start", "now", *cues]


def word_tokenizer(vocabulary: list[str], *, seed: int) -> Any:
    """One token a word, split at white space; ids are shuffled by `seed`, so that no two agents number them alike."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<eos>"]
    order = special + random.Random(seed).sample(vocabulary, len(vocabulary))
    backend = Tokenizer(WordLevel(vocab={word: i for i, word in enumerate(order)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>", padding_side="left"
    )


class Curriculum:
    """What one role has to learn: each of its prompts, and the reply to every state."""

    def __init__(self, role: str, relay: Relay, backbone: HFBackbone) -> None:
        encode, eos = backbone.encode, backbone.tokenizer.hf.eos_token_id
        self.states_N2 = torch.tensor([encode(spell(state)) for state in relay.states])
        self.replies_N3 = torch.tensor([[*encode(spell(relay.apply(role, state))), eos] for state in relay.states])
        pack = load_pack(str(PROMPTS), PATTERN)
        filled = frozenset(pack.slots(role))
        self.lessons = [
            _lesson(pack, role, relay, backbone, slots)
            for slots in ([frozenset(), filled] if role == FIRST else [filled])
        ]

    def loss(self, model: nn.Module, batch_size: int, generator: torch.Generator) -> Tensor:
        """Mean next-token cross-entropy of the replies to `batch_size` random prompts, split evenly over lessons."""
        losses = []
        for lesson in self.lessons:
            states_B, starts_B = torch.randint(
                len(self.states_N2), (2, batch_size // len(self.lessons)), generator=generator
            )
            ids_BL = self._texts(lesson, states_B, starts_B)
            losses.append(nn.functional.cross_entropy(_reply_logits(model, ids_BL).mT, ids_BL[:, -REPLY:]))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def accuracy(self, model: nn.Module, generator: torch.Generator) -> float:
        """Share of right replies, the least of the lessons: every state, each with four start states drawn at random."""
        shares = []
        for lesson in self.lessons:
            states_B = torch.arange(len(self.states_N2)).repeat(4)
            starts_B = torch.randint(len(self.states_N2), states_B.shape, generator=generator)
            ids_BL = self._texts(lesson, states_B, starts_B)
            shares.append(
                float((_reply_logits(model, ids_BL).argmax(-1) == ids_BL[:, -REPLY:]).all(-1).double().mean())
            )
        return min(shares)

    def _texts(self, lesson: Lesson, states_B: Tensor, starts_B: Tensor) -> Tensor:
        """Prompts with their replies, ids_BL. A prompt without a slot is about its start state."""
        starts_B = starts_B if lesson.has_slot else states_B
        slot = [self.states_N2[states_B]] if lesson.has_slot else []
        parts = [lesson.before_NL[starts_B], *slot, lesson.after_NL[starts_B], self.replies_N3[states_B]]
        return torch.cat(parts, dim=1)


def _lesson(pack: PromptPack, role: str, relay: Relay, backbone: HFBackbone, filled: frozenset[str]) -> Lesson:
    """The prompt of a role for every start state, cut at its slot."""
    sides: tuple[list[list[int]], list[list[int]]] = ([], [])
    for start in relay.states:
        prompt = pack.render(role, question(start), backbone.tokenizer, filled=filled)
        parts = [prompt.head, *prompt.body]
        cut = next((i for i, part in enumerate(parts) if isinstance(part, Slot)), len(parts))
        for side, cut_out in zip(sides, (parts[:cut], parts[cut + 1 :]), strict=True):
            side.append([token for part in cut_out if not isinstance(part, Slot) for token in part])
    before_NL, after_NL = (torch.tensor(side, dtype=torch.int64) for side in sides)
    return Lesson(before_NL, after_NL, bool(filled))


def _reply_logits(model: nn.Module, ids_BL: Tensor) -> Tensor:
    """The logits of the last REPLY tokens, each from the position before it."""
    logits_BLV: Tensor = model(input_ids=ids_BL, use_cache=False).logits
    return logits_BLV[:, -REPLY - 1 : -1]
