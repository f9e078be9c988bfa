"""Evaluation: a solver answers a task's questions in batches, each is graded and written down, and the run goes on.

The surprising thing: batches are cut once, from the whole list of samples sorted by length, whatever was answered
before. A resumed run asks a batch that is not whole again as it was, so that every answer has the company that it
would have had, and writes only what is missing.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rmas.errors import ConfigError
from rmas.eval.code import grade_texts, sandbox_for
from rmas.eval.config import EvalConfig
from rmas.eval.grade import Grade
from rmas.eval.machine import Session, measured, versions
from rmas.eval.record import (
    Record,
    append_records,
    check_origin,
    note_session,
    read_records,
    read_sessions,
    write_summary,
)
from rmas.eval.statistics import wilson
from rmas.eval.summary import summarise
from rmas.eval.task import Sample, Task, find_task, load_samples
from rmas.solver import Answer, Solver
from rmas.tools.sandbox import Sandbox

_DECISIVE = {"digest": "links", "dtype": "dtype", "prompts": "prompts"}  # of a system's facts -> what it is called
Report = Callable[[str, int, int, Mapping[str, float]], None]  # stage, done, total, figures such as the accuracy


def evaluate(
    solver: Solver,
    task: Task | str,
    config: EvalConfig | None = None,
    *,
    samples: Sequence[Sample] | None = None,
    out: Path | None = None,
    sandbox: Sandbox | None = None,
    report: Report | None = None,
    origin: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Answer and grade every sample of `task`, or of the task of that name; -> the figures of `summarise`.

    `samples`: where they are loaded already. `out`: a folder that exists; its records are kept, and those that stand
    there are not made again. They are refused where they are of other questions, or of another `origin`: names and
    digests of what else the answers depend on. `sandbox`: what code tasks need; None: this machine's. Of `config` the
    solver's own part (rounds, sampling) is not looked at: a solver has its settings. Raises ConfigError, and whatever
    the solver raises; batches that were finished stay on disk.
    """
    task = find_task(task) if isinstance(task, str) else task
    config = EvalConfig(task=task.name) if config is None else config
    if sandbox is None:
        sandbox = sandbox_for(task, allow_unsafe=config.unsafe_run_code_without_sandbox)
    samples = load_samples(task, data=config.data, limit=config.limit) if samples is None else samples
    if out is not None:
        check_origin(out, {"task's version": task.version, **(origin or {})})
    records = {} if out is None else dict(read_records(out))
    wanted = {(sample.id, number) for sample in samples for number in range(config.samples)}
    records = {key: record for key, record in records.items() if key in wanted}
    if out is not None:
        _check_questions(out, records, samples)
    for batch in batches(samples, config.batch_size):
        missing = [sample for sample in batch if any((sample.id, n) not in records for n in range(config.samples))]
        if not missing:
            continue
        answers = solver.solve([sample.question for sample in batch])
        for answer in answers:
            if len(answer.samples) != config.samples:
                raise ConfigError(
                    f"the solver gives {len(answer.samples)} samples a question, the evaluation wants "
                    f"{config.samples}. Set both alike."
                )
        made = [r for r in graded(batch, answers, task, config, sandbox) if r.key not in records]
        if out is not None:
            append_records(out, made)
        records |= {record.key: record for record in made}
        if report is not None:
            report(task.name, len(records), len(wanted), running(list(records.values())))
    return summarise(list(records.values()))


def evaluate_into(
    out: Path,
    solver: Solver,
    task: Task,
    config: EvalConfig,
    *,
    samples: Sequence[Sample],
    facts: Mapping[str, Any],
    sandbox: Sandbox | None = None,
    report: Report | None = None,
) -> dict[str, Any]:
    """`evaluate` into the run folder `out`, and write `summary.json`: the result, and all that it depends on.

    `facts`: of the solver's system. What the machine gave is noted for every session, finished or not.
    """
    session = Session()
    try:
        with measured(session):
            result = evaluate(
                solver, task, config, samples=samples, out=out, sandbox=sandbox, report=report, origin=_origin(facts)
            )
    finally:
        note_session(out, session)
    source = config.data or task.source
    summary = {
        "result": result,
        "config": {key: value for key, value in vars(config).items() if value is not None},
        "task": {"name": task.name, "version": task.version, "format": task.format, "source": source},
        "system": dict(facts),
        "sandbox": None if sandbox is None else sandbox.name,
        "versions": versions(),
        "sessions": read_sessions(out),
    }
    write_summary(out, summary)
    return summary


def _check_questions(out: Path, records: Mapping[tuple[str, int], Record], samples: Sequence[Sample]) -> None:
    """Raises ConfigError where a record is of another question, or of another target, than the sample of its name."""
    digests = {sample.id: _digest(sample) for sample in samples}
    for record in records.values():
        if record.question != digests[record.id]:
            raise ConfigError(
                f"{out}: {record.id} was another question, or had another answer, when it was asked. Go on with the "
                "data that the run began with, or use a new folder."
            )


def _digest(sample: Sample) -> str:
    text = repr((sample.question, sample.target))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _origin(facts: Mapping[str, Any]) -> dict[str, str]:
    """What of a system's facts its answers depend on."""
    return {told: str(facts[name]) for name, told in _DECISIVE.items() if name in facts}


def batches(samples: Sequence[Sample], size: int) -> list[list[Sample]]:
    """Samples of like length together: by length, then by id, so that their order does not matter.

    As few batches as `size` allows, all alike in size to one: a last one of one question would have nobody to shuffle
    messages with.
    """
    ordered = sorted(samples, key=lambda sample: (len(sample.question.text), sample.id))
    count = -(-len(ordered) // size)
    return [ordered[len(ordered) * i // count : len(ordered) * (i + 1) // count] for i in range(count)]


def graded(
    batch: Sequence[Sample], answers: Sequence[Answer], task: Task, config: EvalConfig, sandbox: Sandbox | None
) -> list[Record]:
    """One record for each sample of each answer."""
    pairs = list(zip(batch, answers, strict=True))
    said = [(sample, answer, number) for sample, answer in pairs for number in range(len(answer.samples))]
    texts = [answer.samples[number] for _, answer, number in said]
    targets = [sample.target for sample, _, _ in said]
    grades = grade_texts(task, texts, targets, sandbox=sandbox, jobs=config.jobs)
    return [_record(*place, verdict) for place, verdict in zip(said, grades, strict=True)]


def running(records: Sequence[Record]) -> dict[str, float]:
    """Accuracy so far, with Wilson's interval: what the progress bar shows."""
    right = sum(record.verdict == "correct" for record in records)
    low, high = wilson(right, len(records))
    return {"accuracy": right / len(records), "low": low, "high": high}


def _record(sample: Sample, answer: Answer, number: int, found: Grade) -> Record:
    usage, is_first = answer.trace.usage, number == 0
    return Record(
        id=sample.id,
        sample=number,
        question=_digest(sample),
        prompt=answer.prompt,
        text=answer.samples[number],
        extracted=found.extracted,
        verdict=found.verdict,
        lenient=found.lenient,
        finish=answer.finishes[number] if answer.finishes else "",
        detail=found.detail,
        scores=dict(found.scores),
        prompt_tokens=usage.prompt_tokens if is_first else 0,
        latent_steps=usage.latent_steps if is_first else 0,
        completion_tokens=usage.completion_tokens if is_first else 0,
        seconds=usage.seconds if is_first else 0.0,
        turns=tuple(asdict(turn) for turn in answer.trace.turns) if is_first else (),
    )
