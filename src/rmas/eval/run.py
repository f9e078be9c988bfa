"""Evaluation: a solver answers a task's questions in batches, each is graded and written down, and the run goes on.

The surprising thing: batches are cut once, from stretches of the list of samples sorted by length, whatever was
answered before. A resumed run asks a batch that is not whole again as it was, so that every answer has the company that
it would have had, and writes only what is missing. A run that grows leaves its earlier stretches as they were; where
that cuts through batches and no answer depends on them, it asks what is missing alone.
"""

import hashlib
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from rmas.errors import ConfigError, QuestionError
from rmas.eval.code import grade_texts, sandbox_for
from rmas.eval.config import EvalConfig
from rmas.eval.grade import GRADING, Grade
from rmas.eval.judge import Judge, Judgement, judge_for
from rmas.eval.machine import Session, versions
from rmas.eval.record import (
    SESSIONS,
    Record,
    append_records,
    check_origin,
    note_origin,
    note_session,
    origin_of,
    read_records,
    read_sessions,
    rewrite_records,
    write_summary,
)
from rmas.eval.regrade import regraded
from rmas.eval.summary import running, summarise
from rmas.eval.task import Sample, Task, find_task, load_samples
from rmas.eval.votes import ballots
from rmas.solver import Answer, CheckingSolver, Solver
from rmas.tools.sandbox import Sandbox

_STRETCH = 4  # batches that are sorted by length together
_GRADERS = "graders"  # in a run's origin: which version its verdicts are of
# Of a system's facts -> what it is called.
_DECISIVE = {
    "digest": "links",
    "dtype": "dtype",
    "prompts": "prompts",
    "searched": "searched texts",
    "made_of": "system or bundle",
}
Report = Callable[[str, int, int, Mapping[str, float]], None]  # stage, done, total, figures such as the accuracy


def evaluate(
    solver: Solver,
    task: Task | str,
    config: EvalConfig | None = None,
    *,
    samples: Sequence[Sample] | None = None,
    out: Path | None = None,
    sandbox: Sandbox | None = None,
    judge: Judge | None = None,
    report: Report | None = None,
    origin: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Answer and grade every sample of `task`, or of the task of that name; -> the figures of `summarise`.

    `samples`: where they are loaded already. `out`: a folder that exists; its records are kept, and those that stand
    there are not made again. They are refused where they are of other questions, or of another `origin`: names and
    digests of what else the answers depend on. `sandbox`: what code tasks need; None: this machine's. `judge`: None:
    the one of `config`, without a key. Of `config` the solver's own part (rounds, sampling) is not looked at: a solver
    has its settings. Raises ConfigError, QuestionError with the sample's id where the solver can tell beforehand, and
    whatever the solver raises; batches that were finished stay on disk.
    """
    task = find_task(task) if isinstance(task, str) else task
    config = EvalConfig(task=task.name) if config is None else config
    if sandbox is None:
        sandbox = sandbox_for(task, allow_unsafe=config.unsafe_run_code_without_sandbox)
    if judge is None:
        judge = judge_for(task, config)
    if samples is None:
        samples = load_samples(task, data=config.data, limit=config.limit, without=config.without)
    if out is not None:
        asked = f"{config.judge_model} at {config.judge_url}" if config.judge_model else "none"
        check_origin(out, {"task's version": task.version, "judge": asked, **(origin or {})})
    records = {} if out is None else dict(read_records(out))
    wanted = {(sample.id, number) for sample in samples for number in range(config.samples)}
    records = {key: record for key, record in records.items() if key in wanted}
    if out is not None:
        _check_questions(out, records, samples)
        if origin_of(out).get(_GRADERS) != GRADING:  # texts stay, verdicts are those of today
            records |= {record.key: record for record in regraded(records.values(), samples, task, config, sandbox)}
            rewrite_records(out, records)
            note_origin(out, {_GRADERS: GRADING})
    missing = {name for name, _ in wanted - records.keys()}
    unfinished = _unfinished(batches(samples, config.batch_size), missing, is_free=config.is_batch_free)
    _check(solver, [sample for batch in unfinished for sample in batch])
    for batch in unfinished:
        answers = solver.solve([sample.question for sample in batch])
        for answer in answers:
            if len(answer.samples) != config.samples:
                raise ConfigError(
                    f"the solver gives {len(answer.samples)} samples a question, the evaluation wants "
                    f"{config.samples}. Set both alike."
                )
        made = [r for r in graded(batch, answers, task, config, sandbox, judge) if r.key not in records]
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
    judge: Judge | None = None,
    report: Report | None = None,
) -> dict[str, Any]:
    """`evaluate` into the run folder `out`, and write `summary.json`: the result, and all that it depends on.

    Raises what `evaluate` does, and ConfigError where the folder holds more samples than are asked for now.

    `facts`: of the solver's system; `device` has the device of each role. What the machine gave is noted after every
    batch and when the session ends, finished or not; a session that asks nothing leaves no note.
    """
    wanted = len(samples) * config.samples
    if (held := len(read_records(out))) > wanted:
        raise ConfigError(
            f"{out}: holds {held} samples, {wanted} are asked for: a run may grow, not shrink. Raise limit."
        )
    session, is_noted = Session(facts.get("device", {}).values()), not (out / SESSIONS).exists()

    def noted(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        nonlocal is_noted
        is_noted = True
        note_session(out, session.facts())
        if report is not None:
            report(stage, done, total, figures)

    try:
        result = evaluate(
            solver,
            task,
            config,
            samples=samples,
            out=out,
            sandbox=sandbox,
            judge=judge,
            report=noted,
            origin=_origin(facts),
        )
    except BaseException:
        note_session(out, session.facts())
        raise
    if is_noted:
        note_session(out, session.facts())
    source = config.data or task.source
    summary = {
        "result": result,
        "config": {key: value for key, value in vars(config).items() if value is not None},
        "task": {"name": task.name, "version": task.version, "format": task.format, "source": source},
        "system": dict(facts),
        "sandbox": None if sandbox is None else sandbox.name,
        "graders": GRADING,
        "versions": versions(),
        "sessions": read_sessions(out),
    }
    write_summary(out, summary)
    return summary


def _check(solver: Solver, samples: Sequence[Sample]) -> None:
    """Raises QuestionError for the first sample that the solver, if it can tell, could not answer."""
    if not isinstance(solver, CheckingSolver):
        return
    for sample in samples:
        try:
            solver.check([sample.question])
        except QuestionError as problem:
            raise QuestionError(f"sample {sample.id}: {problem}") from None


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
    """Samples of like length together, within stretches of `_STRETCH` batches; what is left joins the last stretch.

    By length, then by id, so that their order within a stretch does not matter. As few batches as `size` allows, all
    alike in size to one: a last one of one question would have nobody to shuffle messages with.
    """
    cut: list[list[Sample]] = []
    length = size * _STRETCH
    starts = range(0, max(len(samples) // length, 1) * length, length)
    for start in starts:
        stretch = samples[start:] if start == starts[-1] else samples[start : start + length]
        ordered = sorted(stretch, key=lambda sample: (len(sample.question.text), sample.id))
        count = -(-len(ordered) // size)
        cut += [ordered[len(ordered) * i // count : len(ordered) * (i + 1) // count] for i in range(count)]
    return cut


def _unfinished(whole: Sequence[list[Sample]], missing: Container[str], *, is_free: bool) -> list[list[Sample]]:
    """The batches to ask: whole, in the company that they had, or where that is lost and `is_free`, what is missing.

    A kill leaves one batch in part. More are in part where the run has grown, or its batches have another size now.
    """
    left = [[sample for sample in batch if sample.id in missing] for batch in whole]
    in_part = sum(0 < len(rest) < len(batch) for rest, batch in zip(left, whole, strict=True))
    return [rest if is_free and in_part > 1 else batch for rest, batch in zip(left, whole, strict=True) if rest]


def graded(
    batch: Sequence[Sample],
    answers: Sequence[Answer],
    task: Task,
    config: EvalConfig,
    sandbox: Sandbox | None,
    judge: Judge | None = None,
) -> list[Record]:
    """One record for each sample of each answer."""
    pairs = list(zip(batch, answers, strict=True))
    said = [(sample, answer, number) for sample, answer in pairs for number in range(len(answer.samples))]
    texts = [answer.samples[number] for _, answer, number in said]
    targets = [sample.target for sample, _, _ in said]
    names = [sample.id for sample, _, _ in said]
    grades = grade_texts(task, texts, targets, sandbox=sandbox, jobs=config.jobs, names=names)
    found = iter(grades)
    votes = [
        ballot
        for sample, answer in pairs
        for ballot in ballots(answer.samples, list(islice(found, len(answer.samples))), sample.target, task.format)
    ]
    judgements: Sequence[Judgement | None] = [None] * len(said)
    if judge is not None:
        with ThreadPoolExecutor(config.jobs, thread_name_prefix="judge") as pool:
            judgements = list(pool.map(judge, [sample.question.text for sample, _, _ in said], texts, targets))
    return [_record(*row) for row in zip(said, grades, votes, judgements, strict=True)]


def _record(place: tuple[Sample, Answer, int], found: Grade, ballot: str | None, judgement: Judgement | None) -> Record:
    sample, answer, number = place
    judged, reply = judgement or (None, "")
    trace, usage, is_first = answer.trace, answer.trace.usage, number == 0
    own = sum(trace.sample_tokens[number : number + 1])
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
        ballot=ballot,
        judged=judged,
        judge_reply=reply,
        detail=found.detail,
        scores=dict(found.scores),
        prompt_tokens=usage.prompt_tokens if is_first else 0,
        latent_steps=usage.latent_steps if is_first else 0,
        completion_tokens=usage.completion_tokens - sum(trace.sample_tokens[1:]) if is_first else own,
        sequential_steps=trace.sequential_steps if is_first else 0,
        seconds=usage.seconds if is_first else 0.0,
        turns=tuple(answer.trace.to_json()) if is_first else (),
    )
