"""Records that older graders made, graded anew from their texts: no model is asked again."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from rmas.errors import ConfigError
from rmas.eval.code import grade_texts
from rmas.eval.config import EvalConfig
from rmas.eval.record import Record
from rmas.eval.task import Sample, Task
from rmas.eval.votes import ballots
from rmas.tools.sandbox import Sandbox


def regraded(
    records: Iterable[Record], samples: Sequence[Sample], task: Task, config: EvalConfig, sandbox: Sandbox | None
) -> list[Record]:
    """The same records with today's verdicts and ballots; what a judge said stays.

    Raises ConfigError where a text was taken out, as runs are kept that must not show questions.
    """
    ordered = sorted(records, key=lambda record: record.key)
    if gone := [record.id for record in ordered if not record.text and record.verdict != "unparsed"]:
        raise ConfigError(
            f"{task.name}: the texts of {len(gone)} samples, such as {gone[0]!r}, were taken out, so today's graders "
            "cannot read them. Run it anew in a new folder."
        )
    known = {sample.id: sample.target for sample in samples}
    grades = grade_texts(
        task,
        [record.text for record in ordered],
        [known[record.id] for record in ordered],
        sandbox=sandbox,
        jobs=config.jobs,
        names=[record.id for record in ordered],
    )
    found = []
    for name, pairs in groupby(zip(ordered, grades, strict=True), key=lambda pair: pair[0].id):
        group = list(pairs)
        votes = ballots([record.text for record, _ in group], [grade for _, grade in group], known[name], task.format)
        for (record, grade), ballot in zip(group, votes, strict=True):
            changed = {key: value for key, value in vars(grade).items() if key != "scores"}
            found.append(replace(record, **changed, scores=dict(grade.scores), ballot=ballot))
    return found
