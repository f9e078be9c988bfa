"""The loop: steps, checkpoints, dev evaluations, and a stop that loses nothing."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from rmas.errors import NumericsError
from rmas.precision import flushed
from rmas.train.config import LoopConfig, Report
from rmas.train.journal import Journal
from rmas.train.run import DevResult, FitResult, Run, StepResult
from rmas.train.store import Store
from rmas.train.team import ALONE, Team

_log = logging.getLogger(__name__)


def fit(
    parameters: Mapping[str, nn.Parameter],
    step: Callable[[int], StepResult],
    config: LoopConfig,
    out: Path,
    *,
    evaluate: Callable[[int], DevResult] | None = None,
    report: Report,
    stage: str,
    batch_of: Callable[[int], Any] | None = None,
    minutes: float | None = None,
    team: Team = ALONE,
    groups: Iterable[Iterable[str]] = (),
    relative: Mapping[str, float] | None = None,
    frozen: str = "",
) -> FitResult:
    """Train `parameters` in place: step(i) leaves the gradients of global batch i. Ends with the best by `evaluate`.

    Goes on from the newest checkpoint in `out`, a folder that exists, and keeps checkpoints and the log there.
    `groups`: names that are clipped together (default: all). `relative`: by name, rates of their own, shares of a
    tensor's size, as all rates are with `relative_lr`. `batch_of(i)`: what to keep on disk when step i is not finite.
    `frozen`: a digest of what does not train. Raises CheckpointError for a checkpoint that was made beside another one,
    and NumericsError after keeping the batch; the last checkpoint then still stands.
    """
    run = Run(parameters, config, team, frozen, relative or {})
    store = Store(out / "checkpoints")
    stored = store.latest()
    if stored is not None:
        run.restore(stored.step, stored.tensors, stored.state)
    with flushed(), ExitStack() as open_files:
        journal = None
        if team.is_first:
            journal = Journal(out, resume_from=None if stored is None else stored.step)
            open_files.callback(journal.close)
        began, clip_groups = time.monotonic(), [list(group) for group in groups] or [list(parameters)]
        if evaluate is not None and run.done == 0 and not run.score:  # a run out of time at once was judged already
            run.judge(evaluate(0), journal)
        while run.done < config.steps and not run.is_patience_out:
            if minutes is not None and team.any(time.monotonic() - began > 60 * minutes):
                run.save(store)
                run.take_best()
                return FitResult(run.done, run.best_step, run.score, is_complete=False, cost=run.cost)
            started = time.monotonic()
            try:
                result = run.advance(step, clip_groups)
            except NumericsError as problem:
                raise _keep_batch(out, run.done, problem, batch_of) from None
            took = max(time.monotonic() - started, 1e-9)
            run.seconds += took
            rate = result.tokens / took
            figures = {"loss": result.loss, "tokens_per_second": rate} | dict(result.figures)
            if journal is not None:
                journal.write(run.done, "step", figures | {"lr": run.rate(run.done - 1)})
            report(stage, run.done, config.steps, figures)
            is_last = run.done == config.steps
            if evaluate is not None and (run.done % config.dev_every == 0 or is_last):
                run.judge(evaluate(run.done), journal)
            if run.done % config.save_every == 0 or is_last or run.is_patience_out:
                run.save(store)
        if evaluate is not None:
            run.take_best()
        best_step = run.best_step if evaluate else run.done
        return FitResult(run.done, best_step, run.score, is_complete=True, cost=run.cost)


def _keep_batch(
    folder: Path, step: int, problem: NumericsError, batch_of: Callable[[int], Any] | None
) -> NumericsError:
    """Write what step `step` was given beside the run; the error that says where."""
    path = folder / f"failed-step-{step + 1:08d}.json"
    batch = None if batch_of is None else batch_of(step)
    try:
        path.write_text(json.dumps({"step": step + 1, "problem": str(problem), "batch": batch}, indent=2) + "\n")
    except OSError as full:
        return NumericsError(f"step {step + 1}: {problem} Its batch could not be kept in {path} ({full.strerror}).")
    _log.warning("step %d is not finite; its batch is in %s", step + 1, path)
    return NumericsError(
        f"step {step + 1}: {str(problem).rstrip('.')}. Its batch is in {path}; "
        "the last checkpoint stands: lower lr and start anew, or resume to see whether it comes again."
    )
