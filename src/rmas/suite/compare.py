"""Runs a suite: trains what has to be trained, evaluates every cell, and goes on after whatever fails.

A cell's folder is one that `rmas eval` could have filled, a training's one of `rmas train`; so each resumes as those
do, and what is finished is not opened again. The surprising thing: nothing else is kept. Which cells are done is read
from their folders every time.
"""

import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rmas.errors import ConfigError, RmasError
from rmas.eval.code import sandbox_for
from rmas.eval.config import FREE
from rmas.eval.record import SUMMARY, replace_file
from rmas.eval.run import Report, evaluate_into
from rmas.eval.task import Sample, asked, find_task, load_samples
from rmas.runfolder import CONFIG, claim_folder
from rmas.sources import Progress, silent
from rmas.spec import load_spec
from rmas.suite.cell import open_cell
from rmas.suite.config import Cell, Suite, Training, bundle_of
from rmas.system import load_system
from rmas.train.config import FREE as TRAINING_FREE
from rmas.train.data import load_examples
from rmas.train.stages import STAGES

FAILED, TRAINED = "failed.json", "trained.json"


class Machine(NamedTuple):
    """Where models run, for roles that name nothing themselves, and where weights are kept."""

    cache: Path
    device: str = "auto"
    dtype: str = "auto"


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
) -> Outcome:
    """Do all that the suite asks for and `out` lacks. What fails is told in the outcome and in `failed.json`.

    Raises KeyboardInterrupt, and ConfigError where `out` cannot be written; what is finished then stays.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(f"{out}: cannot be written ({problem.strerror}). Choose another folder.") from None
    done: list[str] = []
    failed: dict[str, str] = {}

    @contextmanager
    def attempt(name: Path) -> Iterator[None]:
        try:
            yield
            done.append(str(name))
        except RmasError as problem:
            failed[str(name)] = str(problem)
        except Exception as problem:  # noqa: BLE001 (one broken cell must not cost the others)
            where = traceback.extract_tb(problem.__traceback__)[-1]
            failed[str(name)] = f"{type(problem).__name__}: {problem} ({Path(where.filename).name}:{where.lineno})"
        replace_file(out / FAILED, json.dumps(failed, indent=2, ensure_ascii=False))

    for training in suite.trainings:
        with attempt(training.folder):
            _train(training, out / training.folder, machine, report=report, progress=progress)
    lessons: dict[Path, frozenset[str]] = {}
    for cell in suite.cells:
        if cell.training is not None and str(cell.training.folder) in failed:
            failed[str(cell.folder)] = f"{cell.training.folder} failed, so it has no bundle."
            continue
        with attempt(cell.folder):
            _evaluate(cell, out, machine, lessons, report=report, progress=progress)
    replace_file(out / FAILED, json.dumps(failed, indent=2, ensure_ascii=False))
    return Outcome(tuple(done), failed)


def _train(training: Training, out: Path, machine: Machine, *, report: Report, progress: Progress) -> None:
    resume = (out / CONFIG).exists()
    if resume:
        claim_folder(out, training.config, resume=True, free=TRAINING_FREE)
        if (out / TRAINED).exists():
            made_with = json.loads((out / TRAINED).read_text(encoding="utf-8"))["system"]
            if made_with != training.system:
                raise ConfigError(f"{out}: trained on {made_with}, now {training.system}. Use a new folder.")
            return
    spec = load_spec(training.system).placed(device=machine.device, dtype=machine.dtype)
    stage = STAGES[training.stage]
    spec = spec.alone() if stage.is_alone else spec
    config = training.config
    system = load_system(spec, cache=machine.cache, start=config.start, seed=config.seed, progress=progress)
    result = stage.trainer(system, config, out, resume=resume, report=report)
    if not result.is_complete:
        raise ConfigError(f"{out}: stopped after {result.steps} steps (minutes). The same command goes on.")
    facts = {
        "stage": training.stage,
        "system": training.system,
        "steps": result.steps,
        "parameters": result.num_parameters,
        "examples": result.steps * config.batch_size,
        "tflop": result.cost.operations / 1e12,
        "seconds": result.cost.seconds,
        **result.figures,
    }
    replace_file(out / TRAINED, json.dumps(facts, indent=2))


def _evaluate(
    cell: Cell,
    out: Path,
    machine: Machine,
    lessons: dict[Path, frozenset[str]],
    *,
    report: Report,
    progress: Progress,
) -> None:
    """`lessons`: what trainings asked, by their folder; filled as cells need it."""
    config, folder = bundle_of(cell, out), out / cell.folder
    if (folder / SUMMARY).exists():
        claim_folder(folder, config, resume=True, free=FREE)
        return
    task = find_task(config.task)
    samples = load_samples(task, data=config.data, limit=config.limit, without=config.without)
    if cell.training is not None:
        if cell.training.folder not in lessons:
            lessons[cell.training.folder] = _questions_of(cell.training)
        _hold_out(samples, cell.training, cell.task, lessons[cell.training.folder])
    claim_folder(folder, config, resume=(folder / CONFIG).exists(), free=FREE)
    sandbox = sandbox_for(task, allow_unsafe=config.unsafe_run_code_without_sandbox)
    solver, facts = open_cell(
        config, device=machine.device, dtype=machine.dtype, cache=machine.cache, progress=progress
    )

    def told(stage: str, number: int, total: int, figures: Mapping[str, float]) -> None:
        report(str(cell.folder), number, total, figures)

    evaluate_into(folder, solver, task, config, samples=samples, facts=facts, sandbox=sandbox, report=told)


def _hold_out(samples: Sequence[Sample], training: Training, task: str, seen: frozenset[str]) -> None:
    """Refuse questions that the system was trained on: those of `seen`."""
    if common := sum(asked(sample.question) in seen for sample in samples):
        raise ConfigError(
            f"{common} of {len(samples)} questions of {task} stand in the training data of {training.folder.name}. "
            f'Leave them out: without = "{training.config.data:.60}…" in tasks.{task}.'
        )


def _questions_of(training: Training) -> frozenset[str]:
    roles = load_spec(training.system).pattern.roles
    return frozenset(asked(example.question) for example in load_examples(training.config, roles=roles))
