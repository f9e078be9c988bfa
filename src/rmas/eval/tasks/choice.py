"""GPQA and MedQA: a question, lettered options, one right letter.

The surprising thing: GPQA's rows name the right answer first, so the options are put in an order of our own: by the
sha256 of "0::stem::option". It depends on the question and on nothing else. The release draws an order from the md5 of
"seed::stem", which gives other letters.
"""

import hashlib
import re
from collections.abc import Sequence
from string import ascii_uppercase

from rmas.errors import ConfigError
from rmas.eval.task import Sample, Target, Task
from rmas.eval.tasks.fields import QUESTION, find, identity, look_up, text, text_of, wrong
from rmas.prompt import Question
from rmas.rows import Row

_STEM = (*QUESTION, "query")
_RIGHT, _WRONG = "correct_answer", ("incorrect_answer_1", "incorrect_answer_2", "incorrect_answer_3")
_OPTIONS = ("options", "choices")
_LETTERED = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]+(\S.*)$", re.MULTILINE)


def read_gpqa(row: Row) -> Sample:
    """`Question`, `Correct Answer`, `Incorrect Answer 1` to `3`; or options in their order, as MedQA's."""
    if look_up(row, (_RIGHT,)) is None and look_up(row, _OPTIONS) is not None:
        return read_medqa(row)
    stem = text_of(row, _STEM, "the question").strip()
    right = text_of(row, (_RIGHT,), "the right answer", numbers=True).strip()
    options = [right, *(text_of(row, (name,), "a wrong answer", numbers=True).strip() for name in _WRONG)]
    order = sorted(range(len(options)), key=lambda index: (_digest(stem, options[index]), index))
    return _sample(row, stem, [options[index] for index in order], ascii_uppercase[order.index(0)])


def read_medqa(row: Row) -> Sample:
    """`question` or `query`; `options`: a list, a mapping letter -> text, {key, value} pairs, or lettered lines of the
    question; `answer_idx`, a letter, or `answer`, a letter or an option's text.
    """
    stem = text_of(row, _STEM, "the question").strip()
    options = _options(row) if look_up(row, _OPTIONS) else _lettered(stem) or _options(row)
    return _sample(row, stem, options, _letter(row, options))


def _sample(row: Row, stem: str, options: Sequence[str], letter: str) -> Sample:
    lines = "\n".join(f"{mark}. {option}" for mark, option in zip(ascii_uppercase, options, strict=False))
    # A stem may have lettered lines that are no options, so only the options themselves are not shown twice.
    asked = stem if _lettered(stem) == list(options) else f"{stem}\n\n{lines}"
    return Sample(
        id=identity(row, stem, "record_id", "id", "qid"),
        question=Question(text=asked, kind="choice"),
        target=Target(answers=(letter,), options=tuple(options)),
    )


def _digest(stem: str, option: str) -> str:
    return hashlib.sha256(f"0::{stem}::{option}".encode()).hexdigest()


def _options(row: Row) -> list[str]:
    """The options' texts, in order; a letter that every one of them starts with is cut."""
    name, value = find(row, _OPTIONS, "the options")
    expected = "a list of texts, or a mapping from A, B, ... to texts"
    if isinstance(value, list) and all(isinstance(item, dict) and {"key", "value"} <= set(item) for item in value):
        value = {item["key"]: item["value"] for item in value}
    if isinstance(value, dict):
        # A dataset with one column a letter fills the letters that a row lacks with None.
        value = {key: item for key, item in value.items() if item is not None}
        if sorted(value) != list(ascii_uppercase[: len(value)]):
            raise wrong(row, name, value, expected)
        value = [value[key] for key in sorted(value)]
    if not isinstance(value, list) or not 2 <= len(value) <= len(ascii_uppercase):
        raise wrong(row, name, value, expected)
    options = [text(row, name, item, expected, numbers=True).strip() for item in value]
    found = [_LETTERED.fullmatch(option) for option in options]
    bare = [match[2] for match, mark in zip(found, ascii_uppercase, strict=False) if match and match[1] == mark]
    return bare if len(bare) == len(options) else options


def _lettered(stem: str) -> list[str]:
    """The texts of lines `A. text`, `B) text`, ... that count from A without a gap; two or more, else none."""
    found = _LETTERED.findall(stem)
    letters = "".join(letter for letter, _ in found)
    return [line.strip() for _, line in found] if len(found) > 1 and ascii_uppercase.startswith(letters) else []


def _letter(row: Row, options: Sequence[str]) -> str:
    marks = ascii_uppercase[: len(options)]
    expected = f"a letter from A to {marks[-1]}, or the text of one option"
    name, value = find(row, ("answer_idx", "answer"), expected)
    answer = text(row, name, value, expected, numbers=True).strip()
    named = {mark for mark in marks if answer in (mark, f"({mark})", f"{mark}.", f"{mark})")}
    if name != "answer_idx":
        for mark, option in zip(marks, options, strict=True):
            if _plain(answer) in (_plain(option), *(_plain(f"{mark}{sign} {option}") for sign in ".):")):
                named.add(mark)
    if len(named) > 1:
        raise ConfigError(f"{row.place}: {name} {answer!r} fits several options. Give the letter as answer_idx.")
    if not named:
        raise wrong(row, name, value, expected)
    return named.pop()


def _plain(option: str) -> str:
    return " ".join(option.casefold().split())


GPQA_DIAMOND = Task(
    name="gpqa_diamond",
    format="choice",
    kind="choice",
    source="hf:Idavidrein/gpqa?name=gpqa_diamond&split=train&revision=633f5ee89ab8ad4522a9f850766b73f62147ffdd",
    read=read_gpqa,
    size=198,
    max_new_tokens=4000,
    about="198 questions of biology, physics and chemistry that experts agree on and others fail; four options.",
    citation="Rein et al. 2023, arXiv:2311.12022",
    version="1",
    is_gated=True,
    how_to_get=(
        "It is gated: accept its terms at https://huggingface.co/datasets/Idavidrein/gpqa, then run `hf auth login`."
    ),
)
MEDQA = Task(
    name="medqa",
    format="choice",
    kind="choice",
    source="hf:GBaker/MedQA-USMLE-4-options?split=test&revision=0fb93dd23a7339b6dcd27e241cb9b5eca62d4d18",
    read=read_medqa,
    size=1273,
    max_new_tokens=4000,
    about="Questions of the US medical licence, four options. The release has a file of 300: read it with --data.",
    citation="Jin et al. 2020, arXiv:2009.13081",
    version="1",
)
