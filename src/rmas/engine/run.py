"""The interpreter: schedule × mailbox. Training, inference, serving and the text baseline all walk this loop."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from rmas.conversation import Prompt
from rmas.engine.channel import Channel, Thought
from rmas.engine.trace import Call, Trace, Turn, Verb
from rmas.engine.turn import Agent, Heads, Inbox, Payload, Read, read
from rmas.errors import ConfigError, NumericsError, QuestionError
from rmas.pattern import Edge, Pattern
from rmas.prompt import Question
from rmas.settings import Memory

T = TypeVar("T")


class Runnable(Protocol):
    """What the interpreter needs of a System."""

    @property
    def pattern(self) -> Pattern: ...

    @property
    def agents(self) -> Mapping[str, Agent]: ...

    @property
    def memory(self) -> Memory: ...

    def link(self, edge: Edge) -> Callable[[Tensor], Tensor]: ...

    def render(self, role: str, question: Question, filled: frozenset[str]) -> Prompt: ...


S = TypeVar("S", bound=Runnable)


class StandIn(Generic[S]):
    """A system in the place of another: as that is, but for its `agents` and for what a subclass does otherwise."""

    def __init__(self, system: S, agents: Mapping[str, Agent] | None = None) -> None:
        self.system, self.pattern, self.memory = system, system.pattern, system.memory
        self.agents = system.agents if agents is None else agents

    def link(self, edge: Edge) -> Callable[[Tensor], Tensor]:
        return self.system.link(edge)

    def render(self, role: str, question: Question, filled: frozenset[str]) -> Prompt:
        return self.system.render(role, question, filled)


@dataclass(frozen=True, kw_only=True)
class Log:
    """The turns of a batch as they happen: one list a question."""

    turns: tuple[list[Turn], ...]

    def add(
        self,
        *,
        round: int,
        role: str,
        verb: Verb,
        seconds: float,
        latent_steps: int,
        tokens: Sequence[tuple[int, int]],
        steps: Sequence[int] = (),
        calls: Sequence[tuple[Call, ...]] = (),
    ) -> None:
        """One turn of the whole batch; `tokens`: (in, out) per question; so are `steps`, where not all took
        `latent_steps`, and `calls`, where somebody had tools."""
        thought, made = steps or [latent_steps] * len(tokens), calls or [()] * len(tokens)
        for turns, (tokens_in, tokens_out), taken, own in zip(self.turns, tokens, thought, made, strict=True):
            turns.append(
                Turn(
                    round=round,
                    role=role,
                    verb=verb,
                    tokens_in=tokens_in,
                    latent_steps=taken,
                    tokens_out=tokens_out,
                    seconds=seconds,
                    calls=own,
                )
            )

    def traces(self, notes: tuple[str, ...] = ()) -> list[Trace]:
        return [Trace(turns=tuple(turns), notes=notes) for turns in self.turns]


@dataclass(frozen=True, kw_only=True)
class LastTurn:
    """The answerer's turn as it would speak, ready to be read: what a `speak` is given, and an `early`."""

    agent: Agent
    questions: Sequence[Question]
    prompts: Sequence[Prompt]
    inbox: Inbox
    heads: Heads | None
    round: int
    log: Log

    def read(self, *, cached: bool = True) -> Read:
        return read(self.agent, self.prompts, self.inbox, heads=self.heads, cached=cached)


def run(
    system: Runnable,
    questions: Sequence[Question],
    *,
    rounds: int,
    channel: Channel,
    speak: Callable[[LastTurn], T],
    early: Callable[[LastTurn], None] | None = None,
    heads: Heads | None = None,
    share_heads: bool = True,
) -> T:
    """Walk the schedule for `rounds` rounds and hand the answerer's last turn to `speak`.

    Raises ConfigError for rounds < 1, and NumericsError naming turn and step for a latent that is not finite.

    With a silent channel nobody thinks, and the answerer speaks with empty slots. `early` is called in every round
    but the last with the turn in which the answerer would end a shorter run. `heads`: shared with other runs of the
    same questions and prompts. `share_heads=False` reads every prompt whole in every round: the slow twin.
    """
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}, expected 1 or more.")
    pattern, log = system.pattern, Log(turns=tuple([] for _ in questions))
    if heads is None and share_heads and (rounds > 1 or len(questions) > 1):
        heads = Heads()
    mailbox: dict[Edge, Payload] = {}
    for round_number in range(rounds if channel.is_silent else 1, rounds + 1):
        for role in pattern.roles:
            answers = role == pattern.answerer
            speaks = round_number == rounds and answers
            if channel.is_silent and not speaks:
                continue
            inbox = {edge.source: mailbox[edge] for edge in pattern.into(role) if edge in mailbox}
            prompts = [system.render(role, question, frozenset(inbox)) for question in questions]
            agent = system.agents[role]
            if answers:
                turn = LastTurn(
                    agent=agent,
                    questions=questions,
                    prompts=prompts,
                    inbox=inbox,
                    heads=heads,
                    round=round_number,
                    log=log,
                )
                if speaks:
                    return speak(turn)
                if early is not None:
                    early(turn)
            began = time.perf_counter()
            with _naming(f"round {round_number}, {role} ({agent.backbone.name})"):
                thought = channel.think(agent, prompts, inbox, heads, f"{round_number} {role}")
            for edge in pattern.out_of(role):
                with _naming(f"round {round_number}, outer link {edge}"):
                    payload = channel.carry(system.link(edge), thought, system.agents[edge.target].backbone)
                    mailbox[edge] = remember(system.memory, mailbox.get(edge), payload)
            _note(log, round_number, role, thought, time.perf_counter() - began)
    raise AssertionError("a validated pattern always reaches its answerer")


def remember(memory: Memory, old: Payload | None, new: Payload) -> Payload:
    """What an edge holds once `new` was written on it: the latest message, the sum of all, or all, oldest first."""
    if old is None or memory == "latest":
        return new
    if memory == "all":
        if isinstance(old, Tensor) and isinstance(new, Tensor):
            return torch.cat([old, new], dim=1)
        return [torch.cat(pair) for pair in zip(old, new, strict=True)]
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        return old + new
    raise ConfigError("memory is 'sum', but only latents can be added. Use latest or all for text messages.")


def check_lengths(
    system: Runnable,
    questions: Sequence[Question],
    *,
    channel: Channel,
    max_new_tokens: int,
    rounds: int = 1,
    spare: Mapping[str, int] | None = None,
) -> None:
    """Refuse a question that some agent could not read whole, before any work. Raises QuestionError: by how much.

    `spare`: by role, what there has to be room for beside what it reads and writes.
    """
    answerer = system.pattern.answerer
    message_length = channel.message_length * (rounds if system.memory == "all" else 1)
    roles = (answerer,) if channel.is_silent else system.pattern.roles
    for number, question in enumerate(questions):
        for role in roles:
            backbone = system.agents[role].backbone
            sources = frozenset(edge.source for edge in system.pattern.into(role))
            steps = max(channel.message_length, max_new_tokens if role == answerer else 0) + (spare or {}).get(role, 0)
            prompt = system.render(role, question, sources).num_tokens + len(sources) * message_length
            if (excess := prompt + steps - backbone.context) > 0:
                which = f"question {number + 1}" if len(questions) > 1 else "the question"
                raise QuestionError(
                    f"{which} is too long for {role} ({backbone.name}): {prompt} positions of prompt and "
                    f"messages plus {steps} to come, its context is {backbone.context}: {excess} too many. "
                    "Shorten the question or its context, or give the role a model with a longer context."
                )


@contextmanager
def _naming(turn: str) -> Iterator[None]:
    """Put the turn in front of what it says about a latent that is not finite."""
    try:
        yield
    except NumericsError as problem:
        raise NumericsError(f"{turn}: {problem}") from None


def _note(log: Log, round_number: int, role: str, thought: Thought, seconds: float) -> None:
    if thought.message is None:
        return
    log.add(
        round=round_number,
        role=role,
        verb="think" if thought.latent_steps else "speak",
        seconds=seconds,
        latent_steps=thought.latent_steps,
        tokens=list(zip(thought.tokens_in, thought.tokens_out, strict=True)),
        steps=thought.steps,
        calls=thought.calls,
    )
