"""`rmas train STAGE SYSTEM`: what can be refused is refused before weights load; what is interrupted resumes."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from rmas.cli.fetch import make_ready, named
from rmas.cli.group import INTERRUPTED, leave
from rmas.cli.options import SYSTEM_HELP, CacheOption, DeviceOption, DtypeOption, cache_folder
from rmas.cli.screen import note, progress, training_progress
from rmas.errors import ConfigError
from rmas.train.stages import STAGES

if TYPE_CHECKING:
    from rmas.spec import SystemSpec
    from rmas.system import System
    from rmas.train.config import DataConfig, TrainResult
    from rmas.train.stages import Name, StageConfig

train = typer.Typer(
    name="train",
    help="Train the links of a system: inner, then outer. Or its answerer: agent, or prompt.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_System = Annotated[str, typer.Argument(help=SYSTEM_HELP)]
_Out = Annotated[Path, typer.Option(metavar="DIR", help="Where the bundle goes, with checkpoints, log and curves.")]
_Data = Annotated[
    str | None, typer.Option(metavar="SOURCE", help="A JSONL file, hf:DATASET, reasoning_gym:FAMILY or deal:FAMILY.")
]
_Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings as TOML.")]
_Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, over those of the file. Repeatable."),
]
_Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in DIR.")]


def _verb(name: "Name") -> None:
    """The command of a stage."""

    def run(
        system: _System,
        out: _Out,
        data: _Data = None,
        config: _Config = None,
        sets: _Sets = None,
        resume: _Resume = False,
        device: DeviceOption = "auto",
        dtype: DtypeOption = "auto",
        cache: CacheOption = None,
    ) -> None:
        _train(name, system, _Given(data, config, sets), out, resume=resume, place=_Place(device, dtype, cache))

    train.command(name, help=STAGES[name].about)(run)


_verb("inner")


@train.command(help=STAGES["outer"].about)
def outer(
    system: _System,
    out: _Out,
    data: _Data = None,
    config: _Config = None,
    sets: _Sets = None,
    resume: _Resume = False,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Measure gradients and latents as they are now; train nothing.")
    ] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    cache: CacheOption = None,
) -> None:
    given, place = _Given(data, config, sets), _Place(device, dtype, cache)
    _train("outer", system, given, out, resume=resume, place=place, diagnose=diagnose)


_verb("agent")
_verb("prompt")


class _Given(NamedTuple):
    """Where settings come from."""

    data: str | None
    config: Path | None
    sets: list[str] | None


class _Place(NamedTuple):
    device: str
    dtype: str
    cache: Path | None


def _train(
    name: "Name", system: str, given: _Given, out: Path, *, resume: bool, place: _Place, diagnose: bool = False
) -> None:
    """What every verb does; `diagnose` measures instead."""
    from rmas.configfile import load_config
    from rmas.systemfile import load_spec
    from rmas.train.config import OuterConfig
    from rmas.train.resolve import resolved, spec_for

    stage = STAGES[name]
    spec = load_spec(named(system, cache_folder(place.cache))).placed(device=place.device, dtype=place.dtype)
    settings = load_config(stage.config, given.config, given.sets or (), data=given.data)
    spec = spec_for(settings, spec)
    if isinstance(settings, OuterConfig):
        settings = resolved(settings, spec)
    _begin(spec, settings, out, resume=resume, place=place)

    from rmas.precision import flushed

    with flushed():  # before the first product
        loaded = _load(spec, settings, place)
        with _resumable(out), training_progress(is_shown=_is_first()) as report:
            if diagnose and isinstance(settings, OuterConfig):
                from rmas.train.diagnose import diagnose as measure

                print(measure(loaded, settings, out, report=report))
                return
            result = stage.trainer(loaded, settings, out, resume=resume, report=report)
    _tell(result, out)


def _begin(spec: "SystemSpec", config: "StageConfig", out: Path, *, resume: bool, place: _Place) -> None:
    """Print the resolved config, refuse what can be refused without torch, claim the folder."""
    from rmas.runfolder import claim_folder
    from rmas.train.config import FREE, InnerConfig
    from rmas.train.resolve import trained_roles

    cache = cache_folder(place.cache)
    if _is_first():
        shown = {"system": spec.name, **vars(config), "out": out, **place._asdict(), "cache": cache}
        note(" ".join(f"{name}={_shown(value)}" for name, value in shown.items() if value is not None))
    if not spec.roles:
        raise ConfigError(f"{spec.name}: solver {spec.solver!r} has no links to train. Try rmas train outer smol.")
    if isinstance(config, InnerConfig):
        trained_roles(spec, config.roles)
    _check_files(config, spec)
    if _is_first():  # another process may come after the first has begun to fill the folder
        claim_folder(out, config, resume=resume, free=FREE)


def _load(spec: "SystemSpec", config: "StageConfig", place: _Place) -> "System":
    from rmas.system import load_system
    from rmas.train.team import join_team

    cache = cache_folder(place.cache)
    join_team()  # gives each process of a launcher a GPU of its own: before weights go there
    with progress() as report:
        make_ready(spec, cache, report)
        return load_system(
            spec,
            cache=cache,
            device=place.device,
            dtype=place.dtype,
            start=config.start,
            seed=config.seed,
            progress=report,
        )


def _check_files(config: "DataConfig", spec: "SystemSpec") -> None:
    """Read the data where it lies in files. Generators and the hub take longer; training itself asks them."""
    from rmas.train.data import SOURCES, load_examples

    if not any(source.strip().partition(":")[0] in SOURCES for source in config.data.split(" + ")):
        load_examples(config, roles=spec.pattern.roles)


@contextmanager
def _resumable(out: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise leave(f"interrupted. The same command with --resume goes on in {out}.", INTERRUPTED) from None


def _tell(result: "TrainResult", out: Path) -> None:
    if not _is_first():
        return
    figures = "".join(f", {name} {value:.4g}" for name, value in result.figures.items())
    print(f"{result.steps} steps{figures}")
    if result.is_complete:
        print(f'{out} is a bundle: rmas ask {out} "Your question"')
    else:
        print(f"Not finished: the same command with --resume goes on in {out}.")


def _is_first() -> bool:
    """Whether this is the process that speaks: the only one, or the first of those that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def _shown(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
