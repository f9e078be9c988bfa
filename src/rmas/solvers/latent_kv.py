"""LatentMAS (Zou et al. 2025, arXiv:2511.20639): agents of one model hand over its key-value cache. Nothing is trained.

Each agent reads its prompt behind all that the agents before it have read and thought, thinks M latents, and leaves its
cache to the next; the last agent of the last round speaks. So nothing is compressed, and nothing can cross from one
model to another. A latent comes from the system's inner link; `start = "align"` is a closed form, without training.

Not the paper's: agents of one step go one after the other, and rounds can be repeated.
"""

import time
from collections.abc import Sequence
from typing import final

import torch

from rmas.backbone import State
from rmas.engine import Agent, LastTurn, Log, Read, check_finite, read
from rmas.errors import ConfigError, QuestionError
from rmas.prompt import Question
from rmas.settings import RunConfig, Sampling
from rmas.solver import Answer, solve_by_length
from rmas.solvers.kind import Kind, Load
from rmas.solvers.recursive import finish_turn
from rmas.spec import SystemSpec
from rmas.system import System


@final
class LatentKVSolver:
    """Runs a System whose roles share one model. Holds no state between calls."""

    def __init__(self, system: System, config: RunConfig | None = None, sampling: Sampling | None = None) -> None:
        config, spec = config or RunConfig(), system.spec
        _check_models(spec)
        self.system = system
        self.sampling = sampling or Sampling(max_new_tokens=spec.max_new_tokens)
        self.rounds = config.rounds or spec.rounds
        self.latent_steps = spec.latent_steps if config.latent_steps is None else config.latent_steps
        self.batch_size = config.batch_size

    def solve(self, questions: Sequence[Question]) -> list[Answer]:
        """n questions -> n answers, in order. Questions of like length share a batch."""
        self.check(questions)
        size = self.batch_size if self._may_batch(questions) else 1
        return solve_by_length(questions, size, self._solve)

    def check(self, questions: Sequence[Question]) -> None:
        """Refuse a question with which the cache would grow beyond the context. Raises QuestionError: by how much."""
        context = self.system.agents[self.system.pattern.answerer].backbone.context
        for question in questions:
            question.check_roles((*self.system.pattern.roles, *self.system.spec.team))
            if (excess := self._length(question) - context) > 0:
                raise QuestionError(
                    f"the question is too long for a shared cache: {excess} positions more than the context of "
                    f"{context}. Shorten it, or take fewer rounds or latent steps."
                )

    def _length(self, question: Question) -> int:
        """How long the cache gets at most."""
        roles, system = self.system.pattern.roles, self.system
        prompts = sum(system.render(role, question, frozenset()).num_tokens for role in roles)
        return self.rounds * (prompts + len(roles) * self.latent_steps) + self.sampling.max_new_tokens

    def _may_batch(self, questions: Sequence[Question]) -> bool:
        """Prompts of unequal length leave padding inside the cache, which not every family can pass over."""
        limit = min(agent.backbone.gap_limit for agent in self.system.agents.values())
        return max(map(self._length, questions), default=0) <= limit

    @torch.inference_mode()
    def _solve(self, questions: Sequence[Question]) -> list[Answer]:
        system, pattern = self.system, self.system.pattern
        log = Log(turns=tuple([] for _ in questions))
        state: State = system.agents[pattern.answerer].backbone.start()
        for number in range(1, self.rounds + 1):
            for role in pattern.roles:
                agent, began = system.agents[role], time.perf_counter()
                prompts = [system.render(role, question, frozenset()) for question in questions]
                start = read(agent, prompts, {}, behind=state)
                if number == self.rounds and role == pattern.answerer:
                    last = LastTurn(
                        agent=agent, questions=questions, prompts=prompts, inbox={}, heads=None, round=number, log=log
                    )
                    columns = finish_turn(last, self.sampling, system.notes, start=start)
                    del start, state  # which would hold what was read until all is written
                    *_, (_, answers) = columns
                    return answers or []
                state = _think(agent, start, self.latent_steps)
                log.add(
                    round=number,
                    role=role,
                    verb="think",
                    seconds=time.perf_counter() - began,
                    latent_steps=self.latent_steps,
                    tokens=[(length, 0) for length in start.lengths],
                )
        raise AssertionError("a validated pattern always reaches its answerer")


def _think(agent: Agent, start: Read, latent_steps: int) -> State:
    """The state with M latents in it: each the inner link's map of the state before it."""
    h_BD, state = start.h_BD, start.state
    for _ in range(latent_steps):
        z_B1D = agent.inner(h_BD)[:, None]
        check_finite(z_B1D)
        h_B1D, state = agent.backbone.extend(state, z_B1D)
        h_BD = h_B1D[:, 0]
    return state


def _check_models(spec: SystemSpec) -> None:
    models = {entry.model for entry in spec.roles.values()}
    if len(models) > 1:
        raise ConfigError(
            f"{spec.name}: latent_kv hands over one model's cache, and the roles have {len(models)} models. "
            "Name a system of one model, such as smol-qwen."
        )
    if spec.halts:
        raise ConfigError(
            f"{spec.name}: its thoughts halt, and latent_kv hands over all latent steps. Leave halts out."
        )


def _checked(spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]:
    _check_models(spec)
    return spec, config


def _open(spec: SystemSpec, config: RunConfig, sampling: Sampling | None, load: Load) -> LatentKVSolver:
    return LatentKVSolver(load(spec), config, sampling)


KIND = Kind(
    about="LatentMAS: agents of one model hand over its key-value cache; nothing is trained",
    variant=_checked,
    open=_open,
    has_messages=False,
    lacks=("message_tokens", "tools"),
)
