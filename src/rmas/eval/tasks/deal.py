"""Split information as a task: `deal:number_sorting?size=1000&seed=5&to=pro,con&kind=search`.

Each role of `to` holds a share of the facts as private context; the question is bare. With `form=whole` the facts stand
in front of the question instead. `kind` picks the wording of the prompts. The relay, `relay:places?…`, is read alike.
"""

import hashlib
from collections.abc import Collection
from functools import partial

from rmas.errors import ConfigError, unknown
from rmas.eval.task import Sample, Target, Task
from rmas.eval.tasks.fields import ANSWER, QUESTION, text_of
from rmas.prompt import KINDS, Kind, Question
from rmas.rows import DEALS, RELAYS, Row, parse_address, read_size


def deal_task(name: str) -> Task:
    """The task of `deal:FAMILY[?options]`. Raises ConfigError for a family or options that are none; draws no item."""
    return _task(
        name,
        DEALS,
        about="Items of reasoning-gym's generator {}, the facts dealt out to agents as private context.",
        citation="Stojanovski et al. 2025, arXiv:2505.24760",
    )


def relay_task(name: str) -> Task:
    """The task of `relay:FAMILY[?options]`. Raises ConfigError for a family or options that are none; draws no item."""
    return _task(name, RELAYS, about="The relay in words, family {}: every agent holds one list.", citation="rmas")


def _task(name: str, families: Collection[str], *, about: str, citation: str) -> Task:
    source, _, address = name.partition(":")
    family, options = parse_address(address)
    if family not in families:
        raise ConfigError(f"task {name!r}: " + unknown(source, family, families))
    given = dict(options)
    wanted = given.pop("kind", "open")
    kind: Kind | None = next((known for known in KINDS if known == wanted), None)
    if kind is None:
        raise ConfigError(f"task {name!r}: " + unknown("task kind", wanted, KINDS))
    return Task(
        name=name,
        format="exact",
        kind=kind,
        source=f"{source}:{family}?" + "&".join(f"{option}={value}" for option, value in given.items()),
        read=partial(read_deal, kind=kind),
        size=read_size(f"{source}:{family}", given),
        max_new_tokens=1000,
        about=about.format(family),
        citation=citation,
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
