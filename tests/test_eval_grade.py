"""Graders as tables of rows: what a model might write, the gold, the verdict. Most rows are wrong answers."""

from collections import Counter
from typing import NamedTuple

import pytest

from rmas.errors import ConfigError
from rmas.eval import prover as prover_module
from rmas.eval.grade import GRADERS, Verdict, grade, plain_words
from rmas.eval.lenient import is_accepted
from rmas.eval.task import FORMATS, Format, Target


class Row(NamedTuple):
    format: Format
    text: str
    gold: str
    verdict: Verdict
    options: tuple[str, ...] = ()


def rows(format: Format, verdict: Verdict, *pairs: tuple[str, str], options: tuple[str, ...] = ()) -> list[Row]:
    """Rows of (text, gold) with one verdict."""
    return [Row(format, text, gold, verdict, options) for text, gold in pairs]


def boxed(verdict: Verdict, *pairs: tuple[str, str]) -> list[Row]:
    """Rows of (answer, gold), the answer in a box."""
    return [Row("math", rf"so it is $\boxed{{{answer}}}$.", gold, verdict) for answer, gold in pairs]


# What the release takes for right, though it is wrong: (answer, gold).
FALSE_ACCEPTS = (
    (r"\frac{3}{5}", r"\frac{3}{4}"),
    ("3.9", "3.5"),
    ("2", r"2\sqrt{5}"),
    (r"11\sqrt{3}", r"11\sqrt{2}"),
    ("6+5i", "6-5i"),
    ("x^2-7", "x^2+2x"),
    (r"\frac{1}{2}", r"\frac{4}{5}"),
    ("-1", "1"),
    ("1.2", "1.8"),
    (r"2\sqrt{3}", "2"),
)

MATH = [
    *boxed(
        "correct",
        (r"\frac{5}{4}", r"\frac54"),
        (r"\dfrac{5}{4}", r"\frac{5}{4}"),
        ("5/4", r"\frac{5}{4}"),
        ("1.25", r"\frac{5}{4}"),
        (r"1\frac{1}{4}", r"\frac{5}{4}"),
        ("1 1/4", r"\frac{5}{4}"),
        (r"-1\frac{1}{4}", r"-\frac{5}{4}"),
        ("0.50", r"\frac12"),
        ("7.0", "7"),
        ("007", "7"),
        ("12,345", "12345"),
        ("12{,}345", "12,345"),
        (r"12\,345", r"12,\!345"),
        (r"1.5 \times 10^{-3}", "0.0015"),
        ("1.5e-3", "0.0015"),
        (r"\sqrt{45}", r"3\sqrt{5}"),
        (r"3\sqrt5", r"3 \sqrt{5}"),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
        (r"2\pi + 7", r"7+2\pi"),
        ("7 + 2π", r"7+2\pi"),
        (r"(x+3)(x-3)", "x^2-9"),
        (r"x^2 - 9", "(x-3)(x+3)"),
        ("-q+p", "p - q"),
        (r"3 + 4i", "4i+3"),
        (r"(1+i)^2", "2i"),
        (r"\left(2, \frac{\pi}{3}\right)", r"(2,\pi/3)"),
        ("(1,-2)", r"\left( 1, -2 \right)"),
        (r"\begin{bmatrix} 1 \\ -2 \end{bmatrix}", r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}"),
        (r"\begin{pmatrix} 0.5 & 1 \\ 0 & 2 \end{pmatrix}", r"\begin{pmatrix} 1/2 & 1 \\ 0 & 2 \end{pmatrix}"),
        ("[2,5)", "[2, 5)"),
        (r"2 \le x < 5", "[2,5)"),
        ("x>4", r"(4,\infty)"),
        (r"(1,\infty) \cup (-\infty,0)", r"(-\infty,0) \cup (1,\infty)"),
        (r"x < 0 \text{ or } x > 1", r"(-\infty,0)\cup(1,\infty)"),
        (r"x \in [0,1]", "[0,1]"),
        ("-3, 2", "2,-3"),
        (r"2 \text{ and } -3", "2,-3"),
        ("x = 2 or x = -3", "2,-3"),
        (r"\{2,-3\}", "-3,2"),
        (r"\{3, 1, 2\}", r"\{1,2,3\}"),
        (r"2+\sqrt{3},\ 2-\sqrt{3}", r"2 \pm \sqrt{3}"),
        (r"2 \pm \sqrt{3}", r"2 \pm \sqrt3"),
        ("x=9", "9"),
        ("9", "x=9"),
        ("f(2) = 9", "9"),
        ("12 - 3 = 9", "9"),
        ("y = 3x - 1", "3x-1"),
        ("6x - 2y - 2 = 0", "3x - y - 1 = 0"),
        (r"\frac{1}{3} \approx 0.333", r"\frac{1}{3}"),
        (r"40^\circ", "40"),
        ("40", r"40^\circ"),
        ("40°", r"40^{\circ}"),
        (r"\sin 30^\circ = \frac12", r"\frac{1}{2}"),
        (r"25\%", "25"),
        ("25", r"25\%"),
        (r"25\%", "0.25"),
        (r"\$7.50", r"\$7.50"),
        ("7.50 dollars", r"\$7.50"),
        (r"15 \text{ cm}^2", r"15\mbox{ cm}^2"),
        ("15", r"15\mbox{ cm}^2"),
        ("15 square centimeters", r"15\mbox{ cm}^2"),
        (r"3\sqrt{2} \text{ units}", r"3\sqrt{2}"),
        ("31_5", "31_{5}"),
        (r"31_{5}", "31_5"),
        (r"\text{Nadia}", r"\text{Nadia}"),
        ("Nadia", r"\text{Nadia}"),
        (r"\textbf{west}", r"\text{west}"),
        ("an ellipse", r"\text{ellipse}"),
        ("(C)", r"\text{(C)}"),
        (r"\text{C}", r"\text{(C)}"),
        (r"\emptyset", r"\{\}"),
    ),
    *boxed("wrong", *FALSE_ACCEPTS),
    *boxed(
        "wrong",
        (r"\frac{4}{5}", r"\frac{5}{4}"),
        (r"1\frac{1}{4}", r"\frac{1}{4}"),
        (r"2\frac{1}{2}", "1"),
        ("21/2", "2 1/2"),
        ("-5", "5"),
        ("0.333333", r"\frac{1}{3}"),
        ("0.3333333333333333", r"\frac{1}{3}"),
        ("3.14", r"\pi"),
        ("3.14159265358979", r"\pi"),
        (r"\frac{22}{7}", r"\pi"),
        ("1.414", r"\sqrt{2}"),
        (r"\sqrt{2} + 10^{-20}", r"\sqrt{2}"),
        (r"10^{-40}\sqrt{3}", r"10^{-40}\sqrt{2}"),
        ("12", "12,000"),
        ("1, 234", "1,234"),
        ("100200", "100, 200"),
        ("1.5e3", "0.0015"),
        (r"3\sqrt{5}", r"5\sqrt{3}"),
        (r"\sqrt{10}", r"3\sqrt{5}"),
        ("7", r"7+2\pi"),
        ("x^2-9x", "x^2-9"),
        ("x^2+9", "x^2-9"),
        ("3r^2", "3R^2"),
        ("q-p", "p - q"),
        ("3-4i", "3+4i"),
        ("5", "3+4i"),
        ("(2,1)", "(1,2)"),
        ("[1,2]", "(1,2)"),
        ("(1,2)", "[1,2]"),
        ("[1,2)", "(1,2]"),
        (r"\{1,2\}", "(1,2)"),
        ("(1,2)", r"\{1,2\}"),
        ("1,2", "(1,2)"),
        ("1,2", "[1,2]"),
        ("(1,2,3)", "(1,2)"),
        ("(1,2)", "(1,2),(3,4)"),
        (r"2 \le x \le 5", "[2,5)"),
        ("x<4", r"(4,\infty)"),
        (r"(4,\infty)", r"[4,\infty)"),
        (r"(-\infty,0)", r"(-\infty,0)\cup(1,\infty)"),
        (r"(-\infty,0]\cup(1,\infty)", r"(-\infty,0)\cup(1,\infty)"),
        ("2", "2,-3"),
        ("2,3", "2,-3"),
        ("2,-3,4", "2,-3"),
        (r"2+\sqrt{3}", r"2 \pm \sqrt{3}"),
        (r"2 \pm \sqrt{5}", r"2 \pm \sqrt{3}"),
        ("x=2, y=1", "(1,2)"),
        ("y=9", "x=9"),
        ("2x=9", "9"),
        ("12-4=9", "9"),
        ("x=8=9", "9"),
        (r"x \approx 0.333", r"\frac{1}{3}"),
        ("y = 3x + 1", "3x-1"),
        ("6x - 2y + 2 = 0", "3x - y - 1 = 0"),
        ("x^2 = -2", "x^2 = -1"),
        ("3x - y - 1", "3x - y - 1 = 0"),
        (r"40^\circ", "50"),
        (r"0.5\%", "0.5"),
        (r"25\%", "0.5"),
        (r"2.5\%", "25"),
        ("0.25", "25"),
        ("15 cm", r"15\mbox{ cm}^2"),
        ("15 m^2", r"15\mbox{ cm}^2"),
        ("7.50 cents", r"\$7.50"),
        ("31", "31_5"),
        ("16", "31_5"),
        ("31_6", "31_5"),
        ("5m", "5"),
        ("2i", "2"),
        ("Nadja", r"\text{Nadia}"),
        ("5", r"\text{Nadia}"),
        (r"\text{west}", r"\text{east}"),
        ("seat", r"\text{east}"),
        ("(B)", r"\text{(C)}"),
        (r"\begin{pmatrix} -2 \\ 1 \end{pmatrix}", r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 & -2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}", r"\begin{pmatrix} 1 & 0 \\ 0 & -1 \end{pmatrix}"),
        (r"\cot x", r"\tan x"),
        ("3:30", "1:10"),
        ("nobody can know", "9"),
        (r"\text{The answer is } \frac{1}{2} +* 3", r"\frac{1}{2}"),
        (r"\frac{1}{0}", "0"),
        ("", "0"),
    )[:-1],
    *rows(
        "math",
        "correct",
        (r"First \boxed{3}. No: \boxed{4}", "4"),
        (r"\boxed{\boxed{4}}", "4"),
        (r"\fbox{4}", "4"),
        (r"\boxed 4", "4"),
        (r"The result is \boxed{42", "42"),
        (r"\boxed{31}_5", "31_5"),
        (r"<think>\boxed{7}</think>\boxed{4}", "4"),
        ("4", "4"),
        ("$x = 4$", "4"),
        ("The answer is $4$.", "4"),
        ("The answer is 4.\nWe double check whether the answer is correct: yes.", "4"),
        ("Answer: 4\n\nCheck: the answer is consistent.", "4"),
        ("The answer is 4. Is it? I also asked whether the answer is 5.", "4"),
        ("**Final Answer**\n\n$$\\frac{1}{2}$$", "0.5"),
        ("We add 1 and 3.\nTherefore, the sum is $4$.", "4"),
        ("<answer>4</answer>", "4"),
    ),
    *rows(
        "math",
        "wrong",
        (r"First \boxed{4}. No: \boxed{3}", "4"),
        (r"<think>\boxed{4}</think>\boxed{3}", "4"),
        (r"The answer is 4, or in a box \boxed{5}", "4"),
        ("5", "4"),
        ("The answer is $5$.", "4"),
        ("The answer is 4 or 5.", "4"),
        ("The answer is 5.\nWe checked whether the answer is 4.", "4"),
        ("Answer: 5\nThe answer is right, and not 4.", "4"),
        ("Answer: 4\nThe answer is incorrect.", "4"),
        ("Answer: 4\nWe check whether the answer is correct: no.", "4"),
        ("Answer: 4\nNo, the answer is 5, and this answer is verified.", "4"),
        ("I don't know", "4"),
    ),
    *rows(
        "math",
        "unparsed",
        ("", "4"),
        (" \n ", "4"),
        (r"<think>It must be \boxed{4}", "4"),
        ("First 4, then 5.\nThis needs more thought.", "4"),
        (r"\boxed{}", "4"),
        (r"\boxed{\frac{4}{1", "4"),
        ("Put the answer in \\boxed{}.\n\nLet me see.\n", "4"),
    ),
]

NUMBER = [
    *rows(
        "number",
        "correct",
        ("3 + 4 = 7\n#### 7", "7"),
        ("#### 1,234", "1234"),
        (r"\boxed{1{,}234}", "1234"),
        ("The answer is $18.", "18"),
        ("The answer is 18 dollars.", "18"),
        ("The answer is **18** (9 times 2 eggs).", "18"),
        ("She makes 9 * 2 = 18 dollars.", "18"),
        ("There were 3 boxes.\nSo Ann has 18 apples left.", "18"),
        ("So in all, 9 trees bear **18** pears.", "18"),
        ("18", "18"),
        ("18.00", "18"),
        ("-3", "-3"),
        ("Answer: 3/4", "0.75"),
        ("#### 50%", "50"),
        ("Final Answer: 070", "70"),
    ),
    *rows(
        "number",
        "wrong",
        ("3 + 4 = 8\n#### 8", "7"),
        ("#### 7\n#### 8", "7"),
        ("#### 12,340", "1234"),
        ("18.5", "18"),
        ("1.8", "18"),
        ("-18", "18"),
        ("The answer is 18 thousand 5 hundred", "18"),
        ("She makes 9 * 2 = 19 dollars.", "18"),
        ("So Ann has 17 apples left.", "18"),
        (r"\boxed{18x}", "18"),
        ("The answer is 9 * 2 = 17.", "18"),
        ("The answer is twice 9.", "18"),
        ("The answer is 17.\nThe answer is correct, since 9 + 9 = 18.", "18"),
    ),
    *rows(
        "number",
        "unparsed",
        ("So 9 trees bear 18 pears.", "18"),
        ("She makes 9 * 2 =", "18"),
        ("Ann thinks about it.", "18"),
        ("", "18"),
    ),
]

CITIES = ("Oslo", "Bergen", "Stavanger", "Tromsø")
DOSES = ("5 mg", "50 mg", "B cells", "T cells")

CHOICE = [
    *rows(
        "choice",
        "correct",
        ("B", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("**B**", "B"),
        ("**B. Bergen**", "B"),
        ("B) Bergen", "B"),
        ("b", "B"),
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{\textbf{(B)}}", "B"),
        (r"\boxed{\text{B. Bergen}}", "B"),
        (r"\boxed{Bergen}", "B"),
        ("The answer is (B).", "B"),
        ("The answer is B because it rains there.", "B"),
        ("Answer: B", "B"),
        ("**Answer:** B", "B"),
        ("Final choice: B", "B"),
        ("The correct option is B.", "B"),
        ("Option B is correct.", "B"),
        ("I would go with (B).", "B"),
        ("Therefore, B.", "B"),
        ("(B) is the right answer, since A is dry.", "B"),
        ("Option A is wrong. Option B is correct.", "B"),
        ("The answer is Bergen.", "B"),
        ("Bergen", "B"),
        ("The answer is option B: Bergen", "B"),
        ("<think>The answer is A</think>The answer is B", "B"),
        ("A patient man would say Oslo.\nThe answer is **B**.", "B"),
        (r"Not \boxed{A} but \boxed{B}", "B"),
        options=CITIES,
    ),
    *rows("choice", "correct", ("The answer is B cells.", "C"), ("5 mg", "A"), ("C", "C"), options=DOSES),
    *rows("choice", "correct", ("The answer is (H).", "H")),
    *rows(
        "choice",
        "wrong",
        ("A", "B"),
        (r"\boxed{A}", "B"),
        ("The answer is C.", "B"),
        ("The answer is Oslo.", "B"),
        ("Option B is wrong. The answer is A.", "B"),
        (r"\boxed{B} ... no, \boxed{C}", "B"),
        ("Not (B). The correct answer is (D).", "B"),
        ("Although B is tempting, option C is correct.", "B"),
        options=CITIES,
    ),
    *rows("choice", "wrong", ("The answer is B cells.", "B"), ("50 mg", "A"), options=DOSES),
    *rows(
        "choice",
        "unparsed",
        ("", "A"),
        ("I cannot tell.", "A"),
        ("You would have to answer a lot of questions first.", "A"),
        ("The answer is a matter of taste.", "A"),
        ("The answer is A good question.", "A"),
        ("A patient man would wait.", "A"),
        ("The answer is A or B.", "A"),
        ("Answer: A, B", "A"),
        ("The answer is A. Wait, the answer is B.", "B"),
        (r"\boxed{A, B}", "A"),
        (r"\boxed{A \text{ and } B}", "A"),
        ("The answer is not A.", "A"),
        ("The answer is E.", "A"),
        (r"\boxed{E}", "A"),
        ("Option A is wrong.", "A"),
        ("Option A is not correct.", "A"),
        ("It is not known whether the answer is A.", "A"),
        ("We would see if option A is correct.", "A"),
        ("A. Oslo\nB. Bergen\nC. Stavanger\nD. Tromsø", "A"),
        ("Options: A, B, C, D", "A"),
        ("<think>The answer is A", "A"),
        (r"\boxed{Oslo or Bergen}", "A"),
        ("I do not choose A.", "A"),
        options=CITIES,
    ),
    *rows("choice", "unparsed", ("The answer is 5.", "A"), ("The answer is 500 mg.", "B"), options=DOSES),
]

SHORT = [
    *rows(
        "short",
        "correct",
        ("Marie Curie", "marie curie"),
        ("The answer is Marie Curie.", "Marie Curie"),
        (r"It follows: \boxed{\text{Marie Curie}}.", "Marie Curie"),
        (r"\boxed{Marie\ Curie}", "Marie Curie"),
        ("**Final Answer**: The Hague", "hague"),
        ("Answer: a Nobel Prize", "the Nobel prize"),
        ("She was born in 1867.\nSo the final answer is: 7 November 1867", "7 November 1867"),
        ("The answer is St. John's. It is on the coast.", "St. John's"),
        ("1,234 m", "1234 m"),
        (r"\boxed{320 \text{ km/h}}", "320 km/h"),
        ("“Teach the children”", "Teach the Children"),
        ("<think>Pierre?</think>Marie Curie", "Marie Curie"),
        ("Yes.", "yes"),
        ("40 m²", "40 m2"),
    ),
    *rows(
        "short",
        "wrong",
        ("Pierre Curie", "Marie Curie"),
        ("The answer is Pierre Curie.", "Marie Curie"),
        ("Curie", "Marie Curie"),
        ("Marie Curie or Pierre Curie", "Marie Curie"),
        ("It was Marie Curie", "Marie Curie"),
        ("108", "10.8"),
        ("5", "-5"),
        ("$5", "€5"),
        ("1867", "7 November 1867"),
        ("no", "yes"),
        ("Yes and no", "yes"),
        ("The answer is left. No, the answer is right.", "left"),
        ("The answer is valid. No, the answer is wrong.", "valid"),
        (r"\boxed{1868}", "1867"),
        ("i do not know", "Marie Curie"),
        ("40 m3", "40 m²"),
        ("An", "A"),
        ("<think>Marie Curie</think>Pierre Curie", "Marie Curie"),
    ),
    *rows(
        "short",
        "unparsed",
        ("", "Marie Curie"),
        ("<think>Marie Curie", "Marie Curie"),
        ("She won two prizes.\nMarie Curie did.", "Marie Curie"),
        (r"\boxed{}", "yes"),
    ),
]

EXACT = [
    *rows(
        "exact",
        "correct",
        ("1 2 3", "1 2 3"),
        ("\n1 2 3 \n", "1 2 3"),
        ("a b\nc d\n", "a b\nc d"),
        ("```\na b\nc d\n```", "a b\nc d"),
        ("The answer is 42.", "42"),
        ("I sorted them.\n\nAnswer: -3, 4, 5", "-3, 4, 5"),
        ("Final answer:\na b\nc d", "a b\nc d"),
        ("<answer>a b\nc d</answer>", "a b\nc d"),
        (r"\boxed{42}", "42"),
        ("<think>41?</think>\n42", "42"),
        ("#.\n.#", "#.\n.#"),
    ),
    *rows(
        "exact",
        "wrong",
        ("1 2  3", "1 2 3"),
        ("1 3 2", "1 2 3"),
        ("1 2 3 4", "1 2 3"),
        ("True", "true"),
        ("a b\nd c", "a b\nc d"),
        ("a b c d", "a b\nc d"),
        ("42.0", "42"),
        ("The answer is 43.", "42"),
        ("It may be 42", "42"),
        (r"\boxed{4 2}", "42"),
        ("<answer>42</answer> <answer>43</answer>", "42"),
    ),
    *rows("exact", "unparsed", ("", "42"), ("<think>42", "42")),
]

ROWS = [*MATH, *NUMBER, *CHOICE, *SHORT, *EXACT]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.format}: {row.text[-40:]!r} for {row.gold!r}")
def test_the_strict_verdict(row: Row) -> None:
    found = grade(row.text, Target(answers=(row.gold,), options=row.options), row.format)
    assert (found.verdict, found.detail) == (row.verdict, "")
    assert (found.extracted is None) == (found.verdict == "unparsed")


def test_the_table_is_long_and_mostly_of_answers_that_must_not_pass() -> None:
    counts = Counter(row.verdict == "correct" for row in ROWS)
    assert len(ROWS) >= 150
    assert counts[False] >= counts[True]
    assert {row.format for row in ROWS} == set(GRADERS) == set(FORMATS) - {"code"}
    assert len(set(ROWS)) == len(ROWS)


@pytest.mark.parametrize(("answer", "gold"), FALSE_ACCEPTS)
def test_the_release_accepts_what_the_strict_reading_rejects(answer: str, gold: str) -> None:
    found = grade(rf"Thus \boxed{{{answer}}}", Target(answers=(gold,)), "math")
    in_plain = grade(f"The answer is {answer}", Target(answers=(gold,)), "math")
    assert found.verdict == in_plain.verdict == "wrong"
    assert is_accepted(answer, gold, "math")
    assert found.lenient == in_plain.lenient == "correct"


@pytest.mark.parametrize(
    ("text", "golds", "f1"),
    [
        ("Marie Skłodowska Curie", ("Marie Curie",), 0.8),
        ("Marie Curie", ("Pierre", "Curie, Marie"), 1.0),
        ("the the the", ("Marie",), 0.0),
        ("Oslo", ("Bergen",), 0.0),
        ("", ("Bergen",), 0.0),
    ],
)
def test_f1_is_the_best_over_the_accepted_answers(text: str, golds: tuple[str, ...], f1: float) -> None:
    assert grade(text, Target(answers=golds), "short").scores == {"f1": pytest.approx(f1)}


def test_any_accepted_answer_will_do() -> None:
    target = Target(answers=("Oslo", "Kristiania"))
    assert [grade(text, target, "short").verdict for text in ("kristiania", "oslo", "bergen")] == [
        "correct",
        "correct",
        "wrong",
    ]


def test_short_words_keep_what_tells_numbers_apart() -> None:
    texts = ("1,234.5", "1234.5", "12345", "-5", "5", "3-5", "35")
    assert [plain_words(text) for text in texts] == ["1234.5", "1234.5", "12345", "-5", "5", "35", "35"]


@pytest.mark.parametrize(
    ("format", "target", "message"),
    [
        ("code", Target(answers=("x",)), "unknown format 'code'"),
        ("maths", Target(answers=("x",)), "Did you mean 'math'?"),
        ("math", Target(), "a target of format math has no answer"),
    ],
)
def test_what_cannot_be_graded_is_one_line(format: Format, target: Target, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        grade("4", target, format)


@pytest.mark.parametrize("format", ["math", "number"])
def test_without_math_verify_no_answer_is_graded(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prover_module, "_has_math_verify", lambda: False)
    with pytest.raises(ConfigError, match=r"needs the math-verify package: pip install 'rmas\[eval\]'\.$"):
        grade("", Target(answers=("4",)), format)
