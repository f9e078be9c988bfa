"""Split information as a task: `deal:number_sorting?size=1000&seed=5&to=pro,con&kind=search`.

Each role of `to` holds a share of the facts as private context; the question is bare. With `form=whole` the facts stand
in front of the question instead. `kind` picks the wording of the prompts.
"""

import hashlib
from functools import partial

from rmas.errors import ConfigError, unknown
from rmas.eval.task import Sample, Target, Task
from rmas.eval.tasks.fields import ANSWER, QUESTION, text_of
from rmas.prompt import KINDS, Kind, Question
from rmas.rows import DEALS, Row, parse_address, read_size


def deal_task(name: str) -> Task:
    """The task of `deal:FAMILY[?options]`. Raises ConfigError for a family or options that are none; draws no item."""
    family, options = parse_address(name.partition(":")[2])
    if family not in DEALS:
        raise ConfigError(f"task {name!r}: " + unknown("deal", family, DEALS))
    given = dict(options)
    wanted = given.pop("kind", "open")
    kind: Kind | None = next((known for known in KINDS if known == wanted), None)
    if kind is None:
        raise ConfigError(f"task {name!r}: " + unknown("task kind", wanted, KINDS))
    return Task(
        name=name,
        format="exact",
        kind=kind,
        source=f"deal:{family}?" + "&".join(f"{option}={value}" for option, value in given.items()),
        read=partial(read_deal, kind=kind),
        size=read_size(f"deal:{family}", given),
        max_new_tokens=1000,
        about=f"Items of reasoning-gym's generator {family}, the facts dealt out to agents as private context.",
        citation="Stojanovski et al. 2025, arXiv:2505.24760",
        version="1",
    )


def read_deal(row: Row, *, kind: Kind) -> Sample:
    """`question`, `answer` and a private context a role. The id is the item's, in whatever form it is dealt."""
    context = {
        key.removeprefix("context."): text_of(row, (key,), "what a role knows")
        for key in row.fields
        if key.startswith("context.")
    }
    return Sample(
        id=hashlib.sha256(row.item.encode()).hexdigest()[:16],
        question=Question(text=text_of(row, QUESTION, "the question").strip(), kind=kind, context=context),
        target=Target(answers=(text_of(row, ANSWER, "the answer", numbers=True).strip(),)),
    )
