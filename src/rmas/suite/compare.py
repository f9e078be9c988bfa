"""Runs a suite: trains what has to be trained, evaluates every cell, and goes on after whatever fails.

A cell's folder is one that `rmas eval` could have filled, a training's one of `rmas train`; so each resumes as those
do, and what is finished is not opened again. The surprising thing: nothing else is kept. Which cells are done is read
from their folders every time.
"""

import fnmatch
import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rmas.errors import ConfigError, RmasError, unknown
from rmas.eval.code import sandbox_for
from rmas.eval.record import replace_file
from rmas.eval.run import Report, evaluate_into
from rmas.eval.task import Sample, asked, find_task, keys_of, load_samples
from rmas.runfolder import CONFIG, claim_folder, has_begun
from rmas.sources import Progress, silent
from rmas.suite.cell import open_cell, tools_of
from rmas.suite.config import Cell, Suite, bundle_of, trainings_of
from rmas.suite.standing import (
    MADE_OF,
    TRAINED,
    cell_stands,
    config_of,
    facts_in,
    free_of,
    ground_of,
    made_of,
    training_stands,
)
from rmas.suite.training import Training
from rmas.system import load_system
from rmas.systemfile import load_spec
from rmas.tomlfile import read_toml
from rmas.train.config import InnerConfig, OuterConfig
from rmas.train.data import load_examples
from rmas.train.resolve import spec_for
from rmas.train.stages import STAGES
from rmas.weights import Backbones

FAILED = "failed.json"
_ADD_UP = ("parameters", "tflop", "seconds", "examples")  # facts of a training that count what it is based on


class Machine(NamedTuple):
    """Where models run, for roles that name nothing themselves, where weights are kept, and a search service's key."""

    cache: Path
    device: str = "auto"
    dtype: str = "auto"
    key: str = ""


class Outcome(NamedTuple):
    """Cells and trainings that are finished, by folder, and why others are not."""

    done: tuple[str, ...]
    failed: dict[str, str]


def compare(
    suite: Suite,
    out: Path,
    machine: Machine,
    *,
    report: Report,
    progress: Progress = silent,
    only: Sequence[str] = (),
) -> Outcome:
    """Do all that the suite asks for and `out` lacks. What fails is told in the outcome and in `failed.json`.

    `only`: patterns of cells, as `selected` reads them, for a part of a suite a machine. Raises KeyboardInterrupt, and
    ConfigError where `out` cannot be written or a pattern fits no cell; what is finished then stays.
    """
    cells = selected(suite, only)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(f"{out}: cannot be written ({problem.strerror}). Choose another folder.") from None
    done: list[str] = []
    tried, told_before = set[str](), failures_in(out)
    failed: dict[str, str] = {}

    def keep() -> None:
        """In the file, beside what other parts of the suite have told there: they may run at the same time."""
        others = failures_in(out) if only else {}
        told = {name: why for name, why in others.items() if name not in tried} | failed
        replace_file(out / FAILED, json.dumps(told, indent=2, ensure_ascii=False))

    @contextmanager
    def attempt(name: Path) -> Iterator[None]:
        tried.add(str(name))
        if str(name) in told_before:
            keep()
        try:
            yield
            done.append(str(name))
        except RmasError as problem:
            failed[str(name)] = str(problem)
        except Exception as problem:  # noqa: BLE001 (one broken cell must not cost the others)
            where = traceback.extract_tb(problem.__traceback__)[-1]
            why = " ".join(str(problem).split())
            failed[str(name)] = f"{type(problem).__name__}: {why} ({Path(where.filename).name}:{where.lineno})"
        keep()

    for training in trainings_of(cells):
        with attempt(training.folder):
            _train(training, out, machine, report=report, progress=progress)
    lessons: dict[Path, frozenset[str]] = {}
    backbones: Backbones = {}
    for cell in cells:
        if cell.training is not None and str(cell.training.folder) in failed:
            failed[str(cell.folder)] = f"{cell.training.folder} failed, so it has no bundle."
            continue
        with attempt(cell.folder):
            _evaluate(cell, out, machine, lessons, backbones, report=report, progress=progress)
    keep()
    return Outcome(tuple(done), failed)


def failures_in(out: Path) -> dict[str, str]:
    """What `failed.json` tells, by folder; nothing where there is no such file, or none that can be read."""
    try:
        found = json.loads((out / FAILED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def selected(suite: Suite, only: Sequence[str]) -> tuple[Cell, ...]:
    """The cells whose TASK/METHOD, with -seedN where the method is trained, fits one of `only`; all without any.

    Patterns are those of a shell: `*/lora-seed0`, `gsm8k/*`. Raises ConfigError for one that fits none.
    """
    names = [f"{cell.task}/{cell.name}" for cell in suite.cells]
    wanted = set[str]()
    for pattern in only:
        fits = fnmatch.filter(names, pattern)
        if not fits:
            raise ConfigError(f"only: {unknown('cell', pattern, names)}")
        wanted.update(fits)
    return tuple(cell for cell, name in zip(suite.cells, names, strict=True) if not only or name in wanted)


def _train(training: Training, out: Path, machine: Machine, *, report: Report, progress: Progress) -> None:
    if training_stands(training, out):
        return
    folder, ground = out / training.folder, ground_of(training, out)
    told = load_spec(training.system if training.base is None else str(out / training.base.folder))
    stage, config = STAGES[training.stage], training.config
    spec = spec_for(config, told).placed(device=machine.device, dtype=machine.dtype)
    system = load_system(spec, cache=machine.cache, start=config.start, seed=config.seed, progress=progress)
    result = stage.trainer(system, config, folder, resume=has_begun(folder), report=report)
    if not result.is_complete:
        raise ConfigError(f"{folder}: stopped after {result.steps} steps (minutes). The same command goes on.")
    facts = {
        "stage": training.stage,
        "system": training.system,
        MADE_OF: ground,
        "steps": result.steps,
        "parameters": result.num_parameters,
        "tflop": result.cost.operations / 1e12,
        "seconds": result.cost.seconds,
        **result.figures,
    }
    if not isinstance(config, InnerConfig):  # whose batches are of vectors
        facts["examples"] = result.steps * config.batch_size + (0 if training.base else examples_before(training))
    if training.base is not None:
        before = facts_in(out / training.base.folder)
        if any(one.config.trains_links for one in training.base.lineage):
            before["parameters"] -= result.num_links  # the same links, which train again
        if spec.begun is not None:
            before["parameters"] -= result.num_parameters - result.num_links  # and the same adapter
        facts |= {key: facts.get(key, 0) + before.get(key, 0) for key in _ADD_UP}
    if not (folder / TRAINED).exists():  # who trained beside this one came first, and cells stand on it
        replace_file(folder / TRAINED, json.dumps(facts, indent=2))


def examples_before(training: Training) -> int:
    """How many examples were seen by the bundles that it starts from: its system, and its constants."""
    links = load_spec(training.system).links
    constants = training.config.constants if isinstance(training.config, OuterConfig) else None
    return sum(_examples_of(folder) for folder in (links and links.parent, constants and Path(constants)) if folder)


def _examples_of(bundle: Path) -> int:
    """What its config tells; 0 where there is none, and for vectors of an inner stage."""
    if not (bundle / CONFIG).exists():
        return 0
    table = read_toml(bundle / CONFIG, ConfigError).table
    own = 0 if "norm_weight" in table else table.get("steps", 0) * table.get("batch_size", 0)
    return int(own) + (_examples_of(Path(table["constants"])) if "constants" in table else 0)


def _evaluate(
    cell: Cell,
    out: Path,
    machine: Machine,
    lessons: dict[Path, frozenset[str]],
    backbones: Backbones,
    *,
    report: Report,
    progress: Progress,
) -> None:
    """`lessons`: what trainings asked, by their folder; filled as cells need it. `backbones`: of the cell before."""
    if cell_stands(cell, out):
        return
    config, folder = config_of(cell), out / cell.folder
    task = find_task(config.task)
    samples = load_samples(task, data=config.data, limit=config.limit, without=config.without)
    if cell.training is not None:
        if cell.training.folder not in lessons:
            lessons[cell.training.folder] = _questions_of(cell.training)
        _hold_out(samples, cell.training, cell.task, lessons[cell.training.folder])
    settings = bundle_of(cell, out)
    tools = tools_of(settings, cache=machine.cache, key=machine.key)
    claim_folder(folder, config, resume=has_begun(folder), free=free_of(config))
    sandbox = sandbox_for(task, allow_unsafe=config.unsafe_run_code_without_sandbox)
    solver, facts = open_cell(
        settings,
        device=machine.device,
        dtype=machine.dtype,
        cache=machine.cache,
        tools=tools,
        backbones=backbones,
        progress=progress,
    )

    def told(stage: str, number: int, total: int, figures: Mapping[str, float]) -> None:
        report(str(cell.folder), number, total, figures)

    facts = facts | {MADE_OF: made_of(cell, out)}
    evaluate_into(folder, solver, task, config, samples=samples, facts=facts, sandbox=sandbox, report=told)


def _hold_out(samples: Sequence[Sample], training: Training, task: str, seen: frozenset[str]) -> None:
    """Refuse questions that the system was trained on: those of `seen`."""
    if common := sum(not seen.isdisjoint(keys_of(sample)) for sample in samples):
        raise ConfigError(
            f"{common} of {len(samples)} questions of {task} stand in the training data of {training.folder.name}. "
            f'Leave them out: without = "{training.config.data:.60}…" in tasks.{task}.'
        )


def _questions_of(training: Training) -> frozenset[str]:
    roles = load_spec(training.system).pattern.roles
    examples = [example for one in training.lineage for example in load_examples(one.config, roles=roles)]
    return frozenset(key for example in examples for key in (asked(example.question), example.key[:16]))
