"""Any family of reasoning-gym as a task: `reasoning_gym:chain_sum?size=500&seed=1`.

An answer counts if it is the one that the generator gives. Families with several right answers come out too low.
"""

from rmas.errors import ConfigError
from rmas.eval.task import Sample, Target, Task
from rmas.eval.tasks.fields import ANSWER, QUESTION, identity, text_of
from rmas.prompt import Question
from rmas.rows import Row, parse_address, read_size


def gym_task(name: str) -> Task:
    """The task of `reasoning_gym:FAMILY[?options]`. Raises ConfigError for options that are none; no item is drawn."""
    family, options = parse_address(name.partition(":")[2])
    if not family:
        raise ConfigError(f"task {name!r} names no family. Write reasoning_gym:chain_sum, for example.")
    return Task(
        name=name,
        format="exact",
        kind="open",
        source=name,
        read=read_gym,
        size=read_size(f"reasoning_gym:{family}", options),
        max_new_tokens=1000,
        about=f"Items of reasoning-gym's generator {family}; repeated questions are left out.",
        citation="Stojanovski et al. 2025, arXiv:2505.24760",
        version="1",
    )


def read_gym(row: Row) -> Sample:
    """`question` and `answer`, as the generators give them."""
    asked = text_of(row, QUESTION, "the question").strip()
    return Sample(
        id=identity(row, asked),
        question=Question(text=asked, kind="open"),
        target=Target(answers=(text_of(row, ANSWER, "the answer", numbers=True).strip(),)),
    )
