"""What a model card may say about a bundle and its training, gathered from the run itself. No torch."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from rmas.graph import draw
from rmas.packs import known_packs
from rmas.spec import SystemSpec
from rmas.train.config import LoopConfig

_PACKAGES = ("rmas", "torch", "transformers")


@dataclass(frozen=True, kw_only=True)
class AgentFacts:
    """One role, its model, and its inner link. `hub_id` and `revision`: None for a model that is not from the hub."""

    role: str
    backbone: str
    hub_id: str | None
    revision: str | None
    width: int
    inner: str
    num_parameters: int


@dataclass(frozen=True, kw_only=True)
class EdgeFacts:
    """One edge and its outer link."""

    edge: str
    design: str
    num_parameters: int


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """How a bundle was trained. `dev`: figures of the kept step by their names in the log; None: never evaluated."""

    stage: Literal["inner", "outer"]
    trained: str  # which links, in words
    config: Mapping[str, Any]
    num_train: int
    num_dev: int
    steps: int
    best_step: int
    is_complete: bool
    dev: Mapping[str, float] | None
    num_dev_evaluations: int
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()
    has_curves: bool = False


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """All that a card says. `training`: None where the bundle does not tell of one."""

    name: str
    pattern: str
    picture: str  # of the pattern, as text
    answerer: str
    rounds: int
    latent_steps: int
    agents: tuple[AgentFacts, ...]
    edges: tuple[EdgeFacts, ...]
    digest: str
    own_prompts: bool = False  # the bundle brings its wording
    halts: bool = False  # messages end where a text would
    is_constant: bool = False  # learned constants in the messages' place
    training: TrainingFacts | None = None


def gather(
    spec: SystemSpec,
    manifest: Mapping[str, Any],
    parameters: Mapping[str, int],
    training: TrainingFacts | None = None,
) -> CardFacts:
    """The facts of a bundle. `manifest` as it lies in there; `parameters`: counts by "inner.ROLE", "outer.EDGE"."""
    agents = tuple(
        AgentFacts(
            role=role,
            backbone=row["backbone"],
            hub_id=spec.roles[role].source.hub_id,
            revision=row["revision"],
            width=row["width"],
            inner=row["inner"],
            num_parameters=parameters.get(f"inner.{role}", 0),
        )
        for role, row in manifest["roles"].items()
    )
    return CardFacts(
        name=spec.name,
        pattern=spec.pattern.name,
        picture=draw(spec.pattern),
        answerer=spec.pattern.answerer,
        rounds=spec.rounds,
        latent_steps=spec.latent_steps,
        halts=spec.halts,
        agents=agents,
        edges=tuple(
            EdgeFacts(edge=edge, design=design, num_parameters=parameters.get(f"outer.{edge}", 0))
            for edge, design in manifest["outer"].items()
        ),
        digest=manifest["digest"],
        own_prompts=spec.pack.name not in known_packs(),
        is_constant=spec.is_constant,
        training=training,
    )


def gather_training(
    config: LoopConfig,
    log: Sequence[Mapping[str, Any]],
    *,
    stage: Literal["inner", "outer"],
    trained: str,
    num_train: int,
    num_dev: int,
    steps: int,
    best_step: int,
    is_complete: bool,
    notes: Iterable[str] = (),
    has_curves: bool = False,
) -> TrainingFacts:
    """The facts of a training that has ended, or stopped."""
    evaluations = [line for line in log if line["event"] == "dev"]
    kept = [line for line in evaluations if line["step"] == best_step]
    return TrainingFacts(
        stage=stage,
        trained=trained,
        config={key: value for key, value in vars(config).items() if value is not None and value not in ({}, ())},
        num_train=num_train,
        num_dev=num_dev,
        steps=steps,
        best_step=best_step,
        is_complete=is_complete,
        dev=kept[-1] if kept else None,
        num_dev_evaluations=len(evaluations),
        versions={"python": platform.python_version(), **{name: _installed(name) for name in _PACKAGES}},
        notes=tuple(notes),
        has_curves=has_curves,
    )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its sources
        return "not installed"
