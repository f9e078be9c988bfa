"""What the samples of a question vote for: answers that say the same are one ballot."""

from collections.abc import Sequence

from rmas.eval.grade import GRADERS, Grade
from rmas.eval.task import Format, Target

_MOST_BALLOTS = 20  # of a question's, that an answer is compared with
_MOST_UNSETTLED = 3  # comparisons of a question that may run into their time limit


def ballots(texts: Sequence[str], grades: Sequence[Grade], target: Target, format: Format) -> list[str | None]:
    """What each sample of a question votes for: of the answers that say the same as its own, the one said first.

    Two say the same where, one being the target, the other would be graded correct; of `target` only the options are
    looked at. None: unparsed, or a program.
    """
    if format not in GRADERS:
        return [None] * len(texts)
    found: dict[str, str] = {}
    num_unsettled = 0
    for text, given in zip(texts, grades, strict=True):
        if given.extracted is None or given.extracted in found:
            continue
        ballot = given.extracted
        for other in list(dict.fromkeys(found.values()))[:_MOST_BALLOTS]:
            if num_unsettled == _MOST_UNSETTLED:
                break
            reading = GRADERS[format](text, Target(answers=(other,), options=target.options))
            num_unsettled += bool(reading.detail)
            if reading.verdict == "correct":
                ballot = other
                break
        found[given.extracted] = ballot
    return [None if given.extracted is None else found[given.extracted] for given in grades]
