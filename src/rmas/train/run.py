"""A training as a checkpoint holds it: parameters, optimiser and counters, one step after another.

Nothing here holds hidden state: whatever is random in a step is drawn from (seed, step), so the position in the data
and the random state are the step's number, and a resumed run ends with the same bits as one that was never stopped.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from rmas.errors import CheckpointError, NumericsError
from rmas.train.config import Cost, LoopConfig
from rmas.train.journal import Journal
from rmas.train.operations import Operations
from rmas.train.store import Store
from rmas.train.team import Team

_COUNTED = 8  # the first steps whose operations are counted, and how far apart those are that follow


class StepResult(NamedTuple):
    """What one step made, besides gradients: the mean loss of this process's share, times its share of the batch."""

    loss: float
    tokens: int
    figures: Mapping[str, float] = {}


class DevResult(NamedTuple):
    """`score` is compared, higher is better; `figures` are written down."""

    score: tuple[float, ...]
    figures: Mapping[str, float]


class FitResult(NamedTuple):
    """`best_step` and `score` are those of the best parameters so far: what a complete run ends with.

    `cost`: of the steps, over all sessions; dev evaluations are not in it.
    """

    steps: int
    best_step: int
    score: tuple[float, ...]
    is_complete: bool
    cost: Cost


def num_trained(parameters: Mapping[str, nn.Parameter]) -> int:
    """How many numbers `parameters` hold."""
    return sum(parameter.numel() for parameter in parameters.values())


def learning_rate(config: LoopConfig, step: int) -> float:
    """The rate of 0-based `step`: a linear warm-up, then half a cosine to 0 (or constant)."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.decay == "constant":
        return config.lr
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def units(parameters: Mapping[str, nn.Parameter]) -> dict[str, float]:
    """What a relative learning rate is a share of: each tensor's root mean square, as training finds it.

    One rate then moves links between models of unlike width and embedding size alike. A tensor of zeros, such as a
    bias, takes the largest of its link, and 1 where that is 0 as well.
    """

    def link_of(name: str) -> str:
        return name.removesuffix(".message_MD") if name.endswith(".message_MD") else name.rsplit(".", 2)[0]

    sizes = {name: float(p.detach().double().square().mean().sqrt()) for name, p in parameters.items()}
    largest: dict[str, float] = {}
    for name, size in sizes.items():
        link = link_of(name)
        largest[link] = max(size, largest.get(link, 0.0))
    return {name: size or largest[link_of(name)] or 1.0 for name, size in sizes.items()}


@final
class Run:
    """Parameters, optimiser and counters: all that a checkpoint holds."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        config: LoopConfig,
        team: Team,
        frozen: str,
        relative: Mapping[str, float],
    ) -> None:
        self.parameters, self._config, self._team, self._frozen = parameters, config, team, frozen
        rates = dict.fromkeys(parameters, config.lr)
        sizes = units(parameters if config.relative_lr else {name: parameters[name] for name in relative})
        rates.update(relative)
        if config.constant_lr is not None:
            rates |= dict.fromkeys((name for name in parameters if name.endswith("message_MD")), config.constant_lr)
        self.units = {name: sizes.get(name, 1.0) * rate / config.lr for name, rate in rates.items()}
        decays = {name: config.weight_decay if p.ndim > 1 else 0.0 for name, p in parameters.items()}  # matrices alone
        self.optimizer = torch.optim.AdamW(
            [{"params": [p], "name": name, "weight_decay": decays[name]} for name, p in parameters.items()],
            lr=config.lr,
            betas=config.betas,
            foreach=False,
        )
        self.done, self.best_step, self.worse = 0, 0, 0
        self.operations, self.latest = 0, 0  # this process's share: of all steps; of the last that was counted
        self.seconds = 0.0
        self.score: tuple[float, ...] = ()
        self.best: dict[str, Tensor] = {}

    @property
    def is_patience_out(self) -> bool:
        return 0 < self._config.patience <= self.worse

    @property
    def cost(self) -> Cost:
        return Cost(float(self.operations) * self._team.size, self.seconds)

    def rate(self, step: int) -> float:
        return learning_rate(self._config, step)

    def advance(self, step: Callable[[int], StepResult], clip_groups: list[list[str]]) -> StepResult:
        """One optimiser step. Raises NumericsError for a loss or gradient that is not finite; changes nothing then."""
        self.optimizer.zero_grad(set_to_none=True)
        problem = None
        try:
            result = self._counted(step)
        except NumericsError as found:  # the other processes wait for this one's share: it is not a number
            problem, result = found, StepResult(math.nan, 0)
        loss, tokens = self._team.sum_up(list(self.parameters.values()), result.loss, result.tokens)
        if problem is not None:
            raise problem
        norms = [self._clip(names) for names in clip_groups]
        norm = math.hypot(*norms)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise NumericsError(f"the loss is {loss}, the gradient's norm {norm}.")
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.done) * self.units[group["name"]]
        self.optimizer.step()
        self.done += 1
        return StepResult(loss, tokens, {"gradient_norm": norm} | dict(result.figures))

    def _counted(self, step: Callable[[int], StepResult]) -> StepResult:
        """The step, and its operations: counted, or those of the last that were."""
        if self.done >= _COUNTED and self.done % _COUNTED:
            result = step(self.done)
        else:
            with Operations() as counted:
                result = step(self.done)
            self.latest = counted.total
        self.operations += self.latest
        return result

    def _clip(self, names: list[str]) -> float:
        chosen = [self.parameters[name] for name in names if self.parameters[name].grad is not None]
        return float(torch.nn.utils.clip_grad_norm_(chosen, self._config.clip, foreach=False)) if chosen else 0.0

    def judge(self, dev: DevResult, journal: Journal | None) -> None:
        """Write a dev evaluation down, and keep the parameters if it is the best."""
        if journal is not None:
            journal.write(self.done, "dev", dev.figures)
        score = tuple(-math.inf if math.isnan(value) else value for value in dev.score)
        if score > self.score or not self.score:
            self.score, self.best_step, self.worse = score, self.done, 0
            self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        else:
            self.worse += 1

    @torch.no_grad()
    def take_best(self) -> None:
        for name, tensor in self.best.items():
            self.parameters[name].copy_(tensor)

    def save(self, store: Store) -> None:
        if not self._team.is_first:
            return
        tensors = {f"parameter.{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        state = {"best_step": self.best_step, "score": list(self.score), "worse": self.worse, "units": self.units}
        state |= {"operations": self.operations, "latest": self.latest, "seconds": self.seconds}
        store.save(self.done, tensors, state | {"seed": self._config.seed, "frozen": self._frozen})

    @torch.no_grad()
    def restore(self, done: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        ours = {f"parameter.{name}": tuple(p.shape) for name, p in self.parameters.items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name.startswith("parameter.")}
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                raise CheckpointError(
                    f"the checkpoint of step {done} holds {name} {theirs.get(name, 'not at all')}, this system has "
                    f"{ours.get(name, 'no such link')}. Resume with the system that it was made with."
                )
        if (made_with := state.get("frozen", "")) != self._frozen:
            raise CheckpointError(
                f"the checkpoint of step {done} was made beside other frozen models, links, words or examples "
                f"({made_with[:16]}…, here {self._frozen[:16]}…). Resume with what it was made with."
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[f"parameter.{name}"])
            if f"best.{name}" in tensors:
                self.best[name] = tensors[f"best.{name}"].to(parameter.device)
            adam = {
                key: tensors[f"adam.{key}.{name}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{key}.{name}" in tensors
            }
            if adam:
                self.optimizer.state[parameter] = {
                    key: value if key == "step" else value.to(parameter.device) for key, value in adam.items()
                }
        self.done, self.best_step = done, int(state["best_step"])
        self.score, self.worse = tuple(state["score"]), int(state["worse"])
        self.units = dict(state.get("units", self.units))
        self.operations, self.latest = int(state.get("operations", 0)), int(state.get("latest", 0))
        self.seconds = float(state.get("seconds", 0.0))
