"""The reading of the authors' release, with its flaws: a letter that is not there is A, a first number decides."""

import pytest

from rmas.eval.grade import grade
from rmas.eval.task import Format, Target

LENIENT: list[tuple[Format, str, str, bool]] = [
    ("math", r"\boxed{3.9}", "3.5", True),
    ("math", "It is 3, or so.", "3", True),
    ("math", r"\boxed{7} and \boxed{\frac{1}{2}}", "7", True),  # the last box without braces inside
    ("math", r"\boxed{\frac{1}{2}}", r"\frac{4}{5}", True),
    ("math", r"\boxed{\frac{9}{2}}", "4", True),
    ("math", r"\boxed{\text{Nadia}}", r"\text{Nadia}", True),
    ("math", r"<think>\boxed{4}", "4", True),
    ("math", r"\boxed{x + 1}", "x+1", True),
    ("math", r"\boxed{x+1}", "2", False),
    ("math", "nothing", r"\text{Nadia}", False),
    ("math", "", "4", False),
    ("math", "17", "4", False),
    ("choice", "", "A", True),
    ("choice", "no idea", "A", True),
    ("choice", "no idea", "B", False),
    ("choice", r"\boxed{\text{B}}", "B", False),
    ("choice", r"\boxed{\text{B}}", "A", True),
    ("choice", "You would have to answer a lot.", "A", True),
    ("choice", "The answer is (C).", "C", True),
    ("choice", "Final Choice: (D)", "D", True),
    ("choice", "d) Tromsø", "D", True),
    ("choice", r"\boxed{B} and then \boxed{C}", "C", True),
    ("short", r"\boxed{The Hague}", "hague", True),
    ("short", "7 November 1867", "November 7, 1867", True),
    ("short", "8 November 1867", "November 7, 1867", False),
    ("short", "The answer is Oslo.", "Oslo", False),
    ("number", r"\boxed{18}", "18", True),
    ("number", "18.0", "18", False),
    ("exact", "1 2 3", "1 2 3", True),
    ("exact", "1, 2, 3!", "1 2 3", True),
]


@pytest.mark.parametrize(("format", "text", "gold", "is_right"), LENIENT)
def test_the_lenient_verdict(format: Format, text: str, gold: str, is_right: bool) -> None:
    found = grade(text, Target(answers=(gold,)), format)
    assert found.lenient == ("correct" if is_right else "wrong")
