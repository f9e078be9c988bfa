"""Tiny systems and thin wrappers for the tests: one small wording for every pattern, frozen backbones built once.

Backbones are immutable, so tests share them; a System owns its links, so each call of `tiny_system` makes a new one.
`RELAXED` is the one place that says how exact an equality can be.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rmas.backbone import TINY, Backbone, HFBackbone, State, tiny_backbone
from rmas.conversation import Prompt
from rmas.engine import Agent, Around, Heads, LastTurn, LatentChannel, Row, Sampling, run, speak
from rmas.engine.channel import Thought
from rmas.engine.turn import Inbox, Payload
from rmas.packs import load_pack
from rmas.pattern import Pattern, known_patterns, load_pattern
from rmas.prompt import KINDS, PromptPack, Question, RoleText, Section
from rmas.sources import parse_source
from rmas.spec import RoleSpec, SystemSpec
from rmas.system import System

FAMILIES = sorted(TINY)
PATTERNS = known_patterns()
LOOPS = [name for name in PATTERNS if name != "solo"]  # the patterns that pass messages
M, NEW_TOKENS = 3, 5  # latent steps and written tokens of a `latent_run`
HYBRID = [name for name in FAMILIES if "linear_attention" in TINY[name]["config"].get("layer_types", ())]

# Equalities hold to rounding in float64: 1e-15 is usual. transformers computes norms in float32, the same way on both
# sides; only where a float64 difference of 1e-16 happens to cross a float32 step does 1e-8 appear. The torch kernels
# of hybrid families compute their linear attention in float32, in chunks whose borders move with the padding: 1e-5.
EXACT, RELAXED = 1e-6, 1e-4


def tolerance(*families: str) -> float:
    """The largest difference that an equality on these families may show."""
    return RELAXED if set(families) & set(HYBRID) else EXACT


@cache
def backbone(family: str, seed: int = 0) -> HFBackbone:
    """A tiny float64 backbone; the same object at every call."""
    return tiny_backbone(family, seed=seed)


def tiny_pack(pattern: Pattern) -> PromptPack:
    """Short prompts for any pattern: question, private context, one optional section a slot, a last line."""
    roles: dict[tuple[str, str], RoleText] = {}
    for role in pattern.roles:
        sections: list[tuple[str, ...]] = [("Ask: ", "question", ""), ("Know: ", "context", "")]
        sections += [(f"From {edge.source}:\n", edge.source, "\nUse it.") for edge in pattern.into(role)]
        sections.append((f"{role.capitalize()}, go.",))
        text = RoleText(f"You: {role}.", tuple(Section(parts) for parts in sections))
        roles |= {(role, kind): text for kind in KINDS}
    tasks: dict[str, dict[str, str]] = {kind: {"brief": "Think.", "answer": "Answer."} for kind in KINDS}
    return PromptPack(name="tiny", path=Path("tiny.toml"), tasks=tasks, roles=roles)


def tiny_system(
    pattern: str,
    families: Sequence[str] = ("llama", "gemma3_text", "qwen2"),
    *,
    inner: str = "mlp_ln_res",
    outer: str = "mlp_ln_res",
    pack: str = "tiny",
    seed: int = 0,
) -> System:
    """A system of random float64 links; the roles take the families in turn. `pack`: tiny, or a shipped one."""
    shape = load_pattern(pattern)
    family_of = {role: families[number % len(families)] for number, role in enumerate(shape.roles)}
    spec = SystemSpec(
        name=f"tiny-{pattern}",
        path=Path("tiny.toml"),
        pattern=shape,
        pack=tiny_pack(shape) if pack == "tiny" else load_pack(pack, pattern),
        roles={
            role: RoleSpec(source=parse_source(f"tiny:{family}", base=Path()), inner=inner)
            for role, family in family_of.items()
        },
        outer=dict.fromkeys(shape.edges, outer),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return System(spec, {role: backbone(family) for role, family in family_of.items()}).double()


QUESTION = Question(text="How many legs have 3 spiders?")
QUESTIONS = (
    QUESTION,
    Question(text="Why?"),
    Question(text="Name a river that flows north, and say where it ends.", kind="search"),
)


def with_context(question: Question, pattern: Pattern) -> Question:
    """The question with private context for its pattern's first role."""
    return Question(text=question.text, kind=question.kind, context={pattern.roles[0]: "A spider has eight."})


@dataclass(frozen=True)
class Recorder(Around):
    """A Channel that keeps what passes through it: the thoughts by turn, and every payload that an edge carried."""

    thoughts: list[tuple[str, Thought]] = field(default_factory=list)
    carried: list[Payload] = field(default_factory=list)

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        thought = self.channel.think(agent, prompts, inbox, heads, salt)
        self.thoughts.append((salt, thought))
        return thought

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        payload = self.channel.carry(link, thought, receiver)
        self.carried.append(payload)
        return payload

    @property
    def latents(self) -> list[tuple[str, Tensor]]:
        """("round role", z_BMD) of every think turn, in order."""
        return [(salt, message_tensor(thought)) for salt, thought in self.thoughts]


def written(thought: Thought) -> list[Row]:
    """The texts of a thought, one row a question."""
    assert isinstance(thought.message, list)
    return [row for row in thought.message if isinstance(row, Row)]


def message_tensor(thought: Thought) -> Tensor:
    """The latents of a thought: z_BMD."""
    assert isinstance(thought.message, Tensor)
    return thought.message


class CountingBackbone:
    """A Backbone that counts its reads: `reads` holds the batch and the new positions of each `extend`,
    `logits_of` the shape of each state that the head was asked about.

    `eos_ids` may be replaced, so that a random model ends its replies where a test wants it to.
    """

    def __init__(self, inner: HFBackbone, *, eos_ids: frozenset[int] | None = None) -> None:
        self.inner = inner
        self.name, self.dim, self.context = inner.name, inner.dim, inner.context
        self.dtype, self.device = inner.dtype, inner.device
        self.grad_through_cache, self.gap_limit = inner.grad_through_cache, inner.gap_limit
        self.end_id = inner.end_id
        self.eos_ids = inner.eos_ids if eos_ids is None else eos_ids
        self.reads: list[tuple[int, int]] = []
        self.logits_of: list[tuple[int, ...]] = []

    @property
    def head_trains(self) -> bool:
        return self.inner.head_trains

    def start(self, *, cached: bool = True) -> State:
        return self.inner.start(cached=cached)

    def embed(self, ids_BL: Tensor) -> Tensor:
        return self.inner.embed(ids_BL)

    def extend(self, state: State, x_BLD: Tensor, mask_BL: Tensor | None = None) -> tuple[Tensor, State]:
        self.reads.append((x_BLD.shape[0], x_BLD.shape[1]))
        return self.inner.extend(state, x_BLD, mask_BL)

    def logits(self, h: Tensor) -> Tensor:
        self.logits_of.append(tuple(h.shape))
        return self.inner.logits(h)

    def expected_embedding(self, p: Tensor) -> Tensor:
        return self.inner.expected_embedding(p)

    def encode(self, text: str) -> list[int]:
        return self.inner.encode(text)

    def decode(self, ids: Sequence[int], *, control: bool = False) -> str:
        return self.inner.decode(ids, control=control)


class Finished(NamedTuple):
    """A run's last turn and the rows it wrote."""

    last: LastTurn
    rows: list[Row]

    @property
    def ids(self) -> list[list[int]]:
        return [row.ids for row in self.rows]


def greedily(max_new_tokens: int, *, cached: bool = True) -> Callable[[LastTurn], Finished]:
    """A `speak` for `run`: greedy text of at most `max_new_tokens` tokens."""

    def finish(last: LastTurn) -> Finished:
        sampling = Sampling(max_new_tokens=max_new_tokens)
        generators = [torch.Generator() for _ in last.questions]
        *_, rows = speak(last.agent.backbone, last.read(cached=cached), sampling, generators)
        return Finished(last, rows)

    return finish


def assert_close(ours: Tensor, theirs: Tensor, atol: float) -> None:
    """Same shape, and nowhere further apart than atol (absolute)."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that later changes leave alone."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Float64 normal numbers of their own seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def latent_run(
    system: System, questions: tuple[Question, ...], *, rounds: int = 2, cached: bool = True, share_heads: bool = True
) -> tuple[list[tuple[str, Tensor]], Finished]:
    """Every think turn's ("round role", z_BMD), and the end of the run."""
    recorder = Recorder(LatentChannel(latent_steps=M, cached=cached))
    finish = greedily(NEW_TOKENS, cached=cached)
    with torch.inference_mode():
        end = run(system, questions, rounds=rounds, channel=recorder, speak=finish, share_heads=share_heads)
    return recorder.latents, end


@cache
def pair(family: str) -> System:
    """Two roles of one family, in a loop. Shared, so: not to be changed."""
    return tiny_system("deliberation", [family])


def assert_same_turns(ours: list[tuple[str, Tensor]], theirs: list[tuple[str, Tensor]], atol: float) -> None:
    """The same turns in the same order, each with the same latents."""
    assert [turn for turn, _ in ours] == [turn for turn, _ in theirs]
    for (_, z), (_, expected) in zip(ours, theirs, strict=True):
        assert_close(z, expected, atol)
