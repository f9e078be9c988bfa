"""Equality of answers: what is settled at once, and that the rest holds its limit, on any text and in any thread."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from rmas.eval.grade import grade
from rmas.eval.maths import equal
from rmas.eval.notation import number_of, tidy
from rmas.eval.prover import Prover
from rmas.eval.task import Target


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1,234.50", "-2469/2"),
        (".5", "1/2"),
        ("5.", "5"),
        (r"-\frac{1}{2}", "-1/2"),
        (r"\frac{-1}{2}", "-1/2"),
        (r"3\frac{1}{2}", "7/2"),
        ("-3 1/2", "-7/2"),
        (r"-10^{-2}", "-1/100"),
        ("2e3", "2000"),
        ("2.5 million", "2500000"),
        ("1,234 thousand", "1234000"),
        ("3 hundred thousand", "300000"),
        ("2 1/2 dozen", "30"),
        ("5 thirds", "5/3"),
        (r"0.\overline{3}", "1/3"),
        (r"-2.1\overline{6}", "-13/6"),
        (r".\overline{09}", "1/11"),
    ],
)
def test_a_numeral_has_its_exact_value(text: str, value: str) -> None:
    assert str(number_of(tidy(text))) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1,23",
        "1/0",
        "1 2",
        "--1",
        "1e999999999",
        "9" * 5000,
        "3*4",
        "1.2.3",
        "e5",
        "million",
        "1 2 million",
        r"\overline{3}",
    ],
)
def test_what_is_no_numeral_has_no_value(text: str) -> None:
    assert number_of(tidy(text)) is None


class _Silent:
    """Stands in for the prover where it must not be asked."""

    seconds = 1.0

    def prove(self, *_: object, **__: object) -> None:
        raise AssertionError("asked")


@pytest.mark.parametrize(
    ("gold", "given"),
    [("42", "43"), ("0.5", "1/2"), ("(1,2)", "(1,3)"), ("x=5", "5"), (r"\text{a b}", "c"), ("3,5", "5,3")],
)
def test_plain_answers_never_reach_the_prover(gold: str, given: str) -> None:
    equal(gold, given, prover=_Silent())  # type: ignore[arg-type]


def test_plain_numbers_take_microseconds() -> None:
    start = time.process_time()
    for number in range(2000):
        grade(rf"So the sum is \boxed{{{number}}}.", Target(answers=("1000",)), "math")
    assert time.process_time() - start < 1  # 0.5 ms each, on a busy machine; about 20 µs on a quiet one


@pytest.fixture(scope="module")
def prover() -> Iterator[Prover]:
    made = Prover(seconds=0.5)
    yield made
    made.close()


MONSTERS = (
    "9^{9^{9^{9}}}",
    r"10^{10^{10}}!",
    "999999999!",
    "((((((2^{99})^{99})^{99})^{99})^{99})^{99})^{99}",
    r"\sum_{n=1}^{10^{9}} \frac{1}{n^{n}}",
    r"\int_0^1 \sin(x^{x^{x}}) dx",
    r"\binom{10^{9}}{10^{8}}",
    "(a+b+c+d+e)^{5000}-(a+b+c+d+f)^{5000}",
    r"\sqrt" * 600 + "{2}",
    "(" * 900 + "x" + ")" * 900,
    "x^{" * 400 + "2" + "}" * 400,
    "+".join(f"x_{{{n}}}" for n in range(200)),
    "\ud800 1",
)


@pytest.mark.parametrize("text", MONSTERS, ids=lambda text: text[:30])
def test_a_monster_is_wrong_within_the_limit(text: str, prover: Prover) -> None:
    start = time.process_time()
    found = equal(r"\sqrt{2}+1", text, prover=prover)
    assert not found.is_equal
    assert time.process_time() - start < 0.5  # of this process; the other one is stopped by its own clock


def test_after_a_monster_the_prover_proves_again() -> None:
    prover = Prover(seconds=0.5)
    assert "not settled" in equal("5", MONSTERS[0], prover=prover).detail
    prover.seconds = 10.0
    assert equal(r"\sqrt{8}", r"2\sqrt{2}", prover=prover) == (True, "")
    prover.close()


def test_all_pieces_of_an_answer_share_one_limit(prover: Prover) -> None:
    gold, given = (",".join([part] * 40) for part in (r"\sqrt{2}+x", MONSTERS[0]))
    start = time.process_time()
    assert "not settled within 0.5 s" in equal(gold, given, prover=prover).detail
    assert time.process_time() - start < 0.5


def test_threads_may_compare_at_once() -> None:
    prover, found = Prover(), []
    pairs = [(rf"\sqrt{{{n * n * 2}}}", rf"{n}\sqrt{{2}}") for n in range(3, 9)]
    threads = [threading.Thread(target=lambda pair=pair: found.append(equal(*pair, prover=prover))) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    prover.close()
    assert found == [(True, "")] * len(pairs)


def test_a_prover_that_something_ended_is_started_again(prover: Prover) -> None:
    prover.seconds = 10.0
    assert prover.prove(r"\sqrt{12}", r"2\sqrt{3}").is_equal
    process = prover._process
    assert process
    process.terminate()
    process.wait()
    assert prover.prove(r"\sqrt{27}", r"3\sqrt{3}").is_equal
    prover.seconds = 0.5


def test_the_prover_ends_with_the_process_that_asked() -> None:
    script = (
        "from rmas.eval.prover import shared_prover\n"
        "assert shared_prover().prove('x+x', '2x').is_equal\n"
        "print(shared_prover()._process.pid)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert subprocess.run(["kill", "-0", done.stdout.strip()], capture_output=True, check=False).returncode != 0
