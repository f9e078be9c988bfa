"""Graders on texts that nobody would write: random pieces, and a few characters a great many times."""

import random
import time
from collections.abc import Iterator

import pytest

from rmas.eval.grade import GRADERS, grade
from rmas.eval.maths import equal
from rmas.eval.prover import Proof, Prover
from rmas.eval.task import Format, Target

_PIECES = (
    *(
        r"\boxed{",
        r"\fbox{",
        "}",
        "{",
        r"\{",
        r"\frac",
        r"\sqrt",
        r"\text{",
        r"\left(",
        r"\right]",
        r"\pm",
        r"\cup",
        "$",
    ),
    *(
        "$$",
        r"\[",
        r"\]",
        r"\(",
        r"\)",
        "\\",
        "####",
        "answer is",
        "Answer:",
        "whether the answer is",
        "correct",
        "not",
        "Option A",
        "(B)",
        "**",
        "```",
        "<think>",
    ),
    *(
        "</think>",
        "<answer>",
        "\n",
        "\n\n",
        " ",
        ",",
        ";",
        "=",
        "<",
        "^",
        "_",
        "%",
        "°",
        "5",
        "12,345",
        "1/0",
        "x",
        "π",
    ),
    *(
        "\x00",
        "\ud800",
        "é",
        "𝟓",
        "٤",
        "²",
        "½",
        "\u202e",
        "\u2028",
        "🙂",
        r"\begin{pmatrix}",
        r"\\",
        "&",
        r"\end{pmatrix}",
    ),
)


def _random_texts(count: int) -> Iterator[str]:
    draw = random.Random(0)
    for _ in range(count):
        yield "".join(draw.choice(_PIECES) for _ in range(draw.randrange(40)))


@pytest.mark.parametrize("format", GRADERS)
def test_random_texts_are_graded(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rmas.eval.maths.shared_prover", lambda: _Never())
    for text in _random_texts(400):
        found = grade(text, Target(answers=("77",), options=("one", "two", "77")), format)
        assert found.verdict in ("wrong", "unparsed") or "77" in (found.extracted or "") or format == "choice"


_FORMULA = (
    r"\\frac{",
    r"\\sqrt{",
    "}{",
    "}",
    "(",
    ")",
    "[",
    "^{",
    "_{",
    "+",
    "-",
    "=",
    "<",
    ",",
    r"\\pi",
    "x",
    "i",
    "2",
    "7.5",
    "!",
)


def test_random_formulas_are_compared_within_the_limit() -> None:
    draw, prover = random.Random(1), Prover(seconds=0.5)
    for _ in range(40):
        gold, given = ("".join(draw.choice(_FORMULA) for _ in range(draw.randrange(1, 9))) for _ in range(2))
        assert equal(gold, given, prover=prover).is_equal in (True, False)
    prover.close()


class _Never:
    """A prover that proves nothing, at once."""

    seconds = 1.0

    def prove(self, *_: object, **__: object) -> Proof:
        return Proof(False)


LONG = 50_000
LONG_TEXTS = (
    "a" * LONG,
    "9" * LONG,
    "9," * (LONG // 2),
    " " * LONG + "5",
    "\n" * LONG + "5",
    "{" * LONG,
    r"\boxed{" * (LONG // 7),
    r"\boxed{" * (LONG // 14) + "5" + "}" * (LONG // 14),
    r"\boxed{ {" * (LONG // 9),
    "}" * (LONG // 2) + "{" * (LONG // 2),
    r"\boxed{5}" * (LONG // 9),
    "answer is " * (LONG // 10),
    "answer: " * (LONG // 8),
    r"answer is\(" * (LONG // 11),
    "Answer:\n- " * (LONG // 10),
    "**Answer: " * (LONG // 10),
    "the answer is about " * (LONG // 20),
    "answer is B (or " * (LONG // 16),
    "whether the answer is correct: no " * (LONG // 34),
    "if the " * (LONG // 7) + "answer is valid",
    "if the answer " * (LONG // 14),
    "answer is indeed " * (LONG // 17),
    "The answer is (A). " * (LONG // 19),
    "Option A " * (LONG // 9),
    "$" * LONG,
    "$x$ " * (LONG // 4),
    r"\(" * (LONG // 2),
    "**" * (LONG // 2),
    "**A** " * (LONG // 6),
    "`" * LONG,
    "```\n" * (LONG // 4),
    "<think>" * (LONG // 7),
    "<answer>" * (LONG // 8),
    "#### " * (LONG // 5),
    "####\n" * (LONG // 5),
    "(" * LONG,
    "1/" * (LONG // 2),
    r"\frac{1}{" * (LONG // 9),
    "so " * (LONG // 3),
    "word " * (LONG // 5) + "is 5.",
    r"\boxed{" + "x" * LONG + "}",
    r"\boxed{" + "(" * 1000 + "1" + ")" * 900 + "}",
    r"\boxed{" + ",".join(["1"] * 900) + "}",
    r"\boxed{" + r"\text{" * 300 + "}" * 300 + "}",
)


@pytest.mark.parametrize("format", GRADERS)
def test_long_texts_take_time_in_proportion(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rmas.eval.maths.shared_prover", lambda: _Never())
    slow = []
    for text in LONG_TEXTS:
        start = time.process_time()
        grade(text, Target(answers=("77",), options=("one", "two")), format)
        seconds = time.process_time() - start
        if seconds > 0.5:  # most take a few milliseconds; what grows with the square of the length takes minutes
            slow.append((text[:20], seconds))
    assert slow == []
