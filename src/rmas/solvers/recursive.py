"""The method itself: agents think in latents (or in text, as the baseline), the answerer speaks."""

import hashlib
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import final

import torch

from rmas.engine import (
    NEED_ONE_LENGTH,
    Channel,
    Controlled,
    Heads,
    LastTurn,
    LatentChannel,
    Read,
    Row,
    Runnable,
    TextChannel,
    Trace,
    check_lengths,
    least_tokens,
    run,
    speak,
)
from rmas.errors import ConfigError
from rmas.prompt import Question
from rmas.settings import RunConfig, Sampling
from rmas.solver import Answer, Column, solve_by_length
from rmas.solvers.kind import Kind, Load
from rmas.solvers.retry import retried
from rmas.spec import SystemSpec
from rmas.system import System, Writing


@final
class RecursiveSolver:
    """Runs a System on questions. Opens its tools; holds no state between calls."""

    def __init__(self, system: System, config: RunConfig | None = None, sampling: Sampling | None = None) -> None:
        config, spec = config or RunConfig(), system.spec
        self.system = system
        self.sampling = sampling or Sampling(max_new_tokens=spec.max_new_tokens)
        self.rounds = config.rounds or spec.rounds
        self.batch_size = config.batch_size
        self._runs: Runnable = system if config.channel == "latent" else Writing(system)
        self._tools = {role: agent.tools for role, agent in self._runs.agents.items() if agent.tools is not None}
        for box in self._tools.values():
            box.open()
        self.notes = system.notes + _idle(system, self._tools)
        self.channel: Channel
        if config.channel == "latent":
            steps = spec.latent_steps if config.latent_steps is None else config.latent_steps
            self.channel = system.channel(steps)
        else:
            tokens = config.message_tokens or spec.message_tokens or self.sampling.max_new_tokens
            self.channel = TextChannel(sampling=_message_sampling(self.sampling, tokens))
        if config.control == "alone":
            self.channel = LatentChannel(latent_steps=0)
        elif config.control != "none":
            self.channel = Controlled(channel=self.channel, control=config.control, seed=self.sampling.seed)

    def solve(self, questions: Sequence[Question]) -> list[Answer]:
        """n questions -> n answers, in order. Questions of like length share a batch."""
        self.check(questions)
        return solve_by_length(questions, self.batch_size, self._solve)

    def stream(self, question: Question) -> Iterator[Column]:
        """One question, its text as it grows; the last column carries the answer. With samples, the first streams."""
        self.check([question])
        for rows, answers in self._stream([question]):
            yield Column(answers[0].text if answers else rows[0].text, answers[0] if answers else None)

    def _solve(self, questions: Sequence[Question]) -> list[Answer]:
        *_, (_, answers) = self._stream(questions)
        return answers or []

    def check(self, questions: Sequence[Question]) -> None:
        """Refuse a question that some agent could not read whole. Runs no model. Raises QuestionError: by how much."""
        for question in questions:
            question.check_roles((*self.system.pattern.roles, *self.system.spec.team))
        backbones = self.system.backbones
        check_lengths(
            self._runs,
            questions,
            channel=self.channel,
            max_new_tokens=self.sampling.max_new_tokens,
            rounds=self.rounds,
            spare={role: least_tokens(backbones[role], box) for role, box in self._tools.items()},
        )

    @torch.inference_mode()
    def _stream(self, questions: Sequence[Question]) -> Iterator[tuple[list[Row], list[Answer] | None]]:
        def finish(last: LastTurn) -> Iterator[tuple[list[Row], list[Answer] | None]]:
            return finish_turn(last, self.sampling, self.notes)

        results = max((box.config.tokens for box in self._tools.values()), default=0)
        room = max(self.channel.message_length, self.sampling.max_new_tokens) + results
        heads = Heads(room, turns=self.rounds)
        columns = run(self._runs, questions, rounds=self.rounds, channel=self.channel, speak=finish, heads=heads)
        for rows, answers in columns:
            yield rows, None if answers is None else self._retried(answers, questions)

    def _retried(self, answers: list[Answer], questions: Sequence[Question]) -> list[Answer]:
        system = self.system
        agent, backbone = system.agents[system.pattern.answerer], system.backbones[system.pattern.answerer]
        return retried(answers, questions, system.spec.retries, agent=agent, backbone=backbone, sampling=self.sampling)


def open_recursive(spec: SystemSpec, config: RunConfig, sampling: Sampling | None, load: Load) -> RecursiveSolver:
    return RecursiveSolver(load(spec), config, sampling)


def _checked(spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]:
    """Where thoughts halt, messages have no common length, and some controls need one."""
    if spec.halts and config.control in NEED_ONE_LENGTH:
        raise ConfigError(
            f"control is {config.control}, which is for latents of one length, and thoughts of {spec.name} halt. "
            "Use shuffled or zeroed."
        )
    return spec, config


KIND = Kind(
    about="the method: agents pass latent thoughts, the answerer speaks",
    variant=_checked,
    open=open_recursive,
    lacks=("message_tokens",),
)


def finish_turn(
    last: LastTurn, sampling: Sampling, notes: tuple[str, ...], *, start: Read | None = None
) -> Iterator[tuple[list[Row], list[Answer] | None]]:
    """The last turn as columns; the final one carries the answers. `start`: where it was read already."""
    began = time.perf_counter()
    start = last.read() if start is None else start
    generators = [g for question in last.questions for g in sampling.generators(question.text)]
    lengths, columns = start.lengths, speak(last.agent.backbone, start, sampling, generators, tools=last.agent.tools)
    del start  # which would hold what was read until all is written
    rows: list[Row] = []
    for rows in columns:
        yield rows, None
    per_question = [rows[i : i + sampling.samples] for i in range(0, len(rows), sampling.samples)]
    written = [tuple(len(row.ids) for row in group) for group in per_question]
    calls = [
        tuple(replace(call, sample=number) for number, row in enumerate(group) for call in row.calls)
        for group in per_question
    ]
    read = [
        length + sum(row.result_tokens for row in group) for length, group in zip(lengths, per_question, strict=True)
    ]
    last.log.add(
        round=last.round,
        role=last.agent.role,
        verb="speak",
        seconds=time.perf_counter() - began,
        latent_steps=0,
        tokens=list(zip(read, map(sum, written), strict=True)),
        calls=calls,
    )
    traces: list[Trace] = last.log.traces(notes)
    yield (
        rows,
        [
            Answer(
                samples=tuple(row.text for row in group),
                trace=replace(trace, sample_tokens=tokens),
                finishes=tuple(row.finish or "length" for row in group),
                prompt=hashlib.sha256(repr(prompt).encode()).hexdigest()[:16],
            )
            for group, trace, tokens, prompt in zip(per_question, traces, written, last.prompts, strict=True)
        ],
    )


def _idle(system: System, called: Collection[str]) -> tuple[str, ...]:
    """A note on each role that has tools and never gets to call them."""
    told = {} if system.tools is None else {role: tuple(tools) for role, tools in system.tools.roles.items()}
    return tuple(
        f"{role} has tools ({', '.join(names)}) and calls none: with latents it writes nothing"
        for role, names in (told | dict(system.spec.tools.roles)).items()
        if names and role not in called
    )


def _message_sampling(sampling: Sampling, tokens: int) -> Sampling:
    """Messages are drawn like the answer, once, up to `tokens` tokens, and stop strings do not cut them."""
    return replace(sampling, max_new_tokens=tokens, stop=(), samples=1)
