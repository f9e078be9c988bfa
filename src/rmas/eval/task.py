"""Task, Sample and Target: what a benchmark is made of, and how its samples are loaded. No torch.

The surprising thing: a task reads rows, not files. Its `read` takes the hub's columns and the common local ones alike,
so the default source, a download and a file of your own go through one function.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from rmas.errors import ConfigError, unknown
from rmas.prompt import Kind, Question
from rmas.rows import Row, deal_rows, gym_rows, read_file, read_hub, relay_rows
from rmas.settings import require

_log = logging.getLogger(__name__)

Format = Literal["math", "number", "choice", "short", "code", "exact"]
FORMATS: tuple[Format, ...] = get_args(Format)
GYM, DEAL, RELAY = "reasoning_gym", "deal", "relay"

# Prefix of a source -> who reads the rest. Whatever has no prefix is a file.
_SOURCES: Mapping[str, Callable[[str], Iterable[Row]]] = {
    "hf": read_hub,
    GYM: gym_rows,
    DEAL: deal_rows,
    RELAY: relay_rows,
}


@dataclass(frozen=True, kw_only=True)
class CodeTests:
    """Hidden tests of a program.

    script: Python that runs after the program and raises where it is wrong. stdin: the program is run once a case.
    function: `function` is called once a case; where the program defines a class `Solution`, its method of that name.
    """

    kind: Literal["script", "stdin", "function"]
    script: str = ""
    function: str = ""  # the function that is called; also HumanEval's entry point
    cases: tuple[
        tuple[str, str], ...
    ] = ()  # stdin: input, expected output; function: both JSON, a list of arguments first
    prompt: str = ""  # code that stands before the answer where a task completes it
    seconds: float = 10.0  # per program (script) or per case
    # Further cases as LiveCodeBench publishes them: base64 of zlib of a pickled JSON text, which `read_cases` of
    # rmas.eval.tasks.livecode takes. Whoever unpickles it runs foreign code: only ever inside the sandbox.
    blob: str = ""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an answer is graded by. It never reaches a solver."""

    answers: tuple[str, ...] = ()  # accepted ones; math, number, choice and exact have exactly one
    tests: CodeTests | None = None
    options: tuple[str, ...] = ()  # choice: the texts in the order shown; the answer is a letter, A for the first


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One question of a task. `id` is the source's own, else a hash of what is asked: unique within the task."""

    id: str
    question: Question
    target: Target


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark: where its rows are, how one is read, and how an answer is graded.

    `read` raises ConfigError with the row's place, and gives None for a row of another split.
    """

    name: str
    format: Format  # of the answer; picks the grader
    kind: Kind  # picks the wording of the prompts
    source: str  # "hf:OWNER/NAME?split=test&revision=SHA", or a generator's address
    read: Callable[[Row], Sample | None]
    size: int | None  # samples in the published set; None: not fixed
    max_new_tokens: int  # decode budget
    about: str
    citation: str
    version: str
    is_gated: bool = False
    how_to_get: str = ""  # one line, for gated or unreachable data; empty: its page on the hub


def find_task(name: str) -> Task:
    """A task by its name in TASKS, or `reasoning_gym:FAMILY[?options]`, or `deal:` so. Raises ConfigError: the nearest.

    Family and options are checked where the items are drawn, in `load_samples`.
    """
    from rmas.eval.tasks import GENERATED, TASKS  # these are made of what stands here

    if name in TASKS:
        return TASKS[name]
    prefix, colon, _ = name.partition(":")
    if colon and prefix in GENERATED:
        return GENERATED[prefix](name)
    raise ConfigError(unknown("task", name, [*TASKS, *(f"{prefix}:FAMILY" for prefix in GENERATED)]))


def load_samples(
    task: Task, *, data: str | None = None, limit: int | None = None, without: str | None = None
) -> list[Sample]:
    """The samples of `task` in stored order, the first `limit` of them; ids are unique. No row is asked for after them.

    `without`: sources as `data` names them; no question of theirs, or of their ids, is among the samples.

    `data` takes the place of the task's source: a .jsonl or .json file, hf:OWNER/NAME?options, hf:./folder, a generator
    or several joined by ` + `. Raises ConfigError: the row's place and field, or how to get data that is gated
    or cannot be reached.
    """
    require(limit is None or limit >= 1, "limit", limit, "1 or more")
    rows = _own_rows(task) if data is None else _rows(data)
    known = set() if without is None else {key for row in _rows(without) for key in keys_of(task.read(row))}
    num_rows = 0
    samples: dict[str, Sample] = {}
    places: dict[str, str] = {}
    for row in rows:
        num_rows += 1
        sample = task.read(row)
        if sample is None or not known.isdisjoint(keys_of(sample)):
            continue
        if sample.id not in samples:
            samples[sample.id], places[sample.id] = sample, row.place
        elif not _is_generated(data or task.source):
            raise ConfigError(
                f"{row.place}: {task.name}: a second sample {sample.id!r} (the first: {places[sample.id]}). Keep one."
            )
        if len(samples) == limit:
            break
    if not samples:
        raise ConfigError(
            f"{task.name}: none of the {num_rows} rows of {data or task.source} is a sample of it (all are of another "
            f"split{', or of what is left out' if without else ''}). Give the whole file, or another one."
        )
    if limit is None and without is None and task.size not in (None, len(samples)):
        _log.warning("%s: %d samples were read, the whole set has %d", task.name, len(samples), task.size)
    return list(samples.values())


def keys_of(sample: Sample | None) -> set[str]:
    """By what a sample is known again: what is asked, and its id where that is a digest of what is asked."""
    if sample is None:
        return set()
    own = asked(sample.question)
    return {own, sample.id} if re.fullmatch("[0-9a-f]{16}", sample.id) else {own}


def asked(question: Question) -> str:
    """All that is asked and told, by which a question is known again."""
    return repr((question.text, sorted(question.context.items())))


def _own_rows(task: Task) -> Iterator[Row]:
    """The rows of the task's own source. A hub that does not give them is an error that says what to do."""
    try:
        yield from _rows(task.source)
    except ConfigError as problem:
        if not task.source.startswith("hf:"):
            raise
        page = task.source.removeprefix("hf:").partition("?")[0]
        how = task.how_to_get or f"It is at https://huggingface.co/datasets/{page}."
        raise ConfigError(
            f"{task.name}: {problem} {how} A copy of your own is read with --data PATH (.jsonl, .json or hf:./folder)."
        ) from None


def _rows(data: str) -> Iterator[Row]:
    for source in data.split(" + "):
        yield from _rows_of(source.strip())


def _rows_of(source: str) -> Iterable[Row]:
    prefix, colon, rest = source.partition(":")
    if colon and prefix in _SOURCES:
        return _SOURCES[prefix](rest)
    if source.endswith((".jsonl", ".json")):
        return read_file(source)
    raise ConfigError(
        f"data: {source!r} is no source. Expected a .jsonl or .json file, hf:OWNER/NAME, hf:./folder, {GYM}:FAMILY, "
        f"{DEAL}:FAMILY or {RELAY}:FAMILY, or several of them joined by ' + '."
    )


def _is_generated(data: str) -> bool:
    """A generator of few items repeats some of them; the first one stays."""
    return all(source.strip().startswith((f"{GYM}:", f"{DEAL}:", f"{RELAY}:")) for source in data.split(" + "))
