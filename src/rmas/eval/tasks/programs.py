"""HumanEval, MBPP and MBPP+: a function to write, and Python that tests it.

MBPP's files hold 974 problems; the test split is those with a task_id from 11 to 510.
"""

import builtins
import re

from rmas.eval.task import CodeTests, Sample, Target, Task
from rmas.eval.tasks.fields import code_of, find, identity, text_of, texts_of, wrong
from rmas.prompt import Question
from rmas.rows import Row

# Put before a script of MBPP+: its numpy.allclose compares the shapes, too, and takes nothing but numbers.
_SHAPES = """\
def _compare_shapes():
    import numbers
    import numpy

    lists, allclose = (list, tuple, range, numpy.ndarray), numpy.allclose

    def has_shape(out, exp):
        if isinstance(exp, lists):
            return isinstance(out, lists) and len(out) == len(exp) and all(map(has_shape, out, exp))
        return isinstance(out, numbers.Number)

    numpy.allclose = lambda out, exp, *given, **named: has_shape(out, exp) and allclose(out, exp, *given, **named)

_compare_shapes()

"""
SHOWN = 3  # asserts in the question: they say what the function is called and what it takes
TEST_SPLIT = range(11, 511)


def read_humaneval(row: Row) -> Sample:
    """`prompt` (a signature and its docstring), `test` (defines `check`), `entry_point`."""
    prompt = text_of(row, ("prompt",), "the code to complete")
    test = text_of(row, ("test",), "the tests")
    function = text_of(row, ("entry_point",), "the name of the function").strip()
    shown = prompt.strip("\n")  # not its indentation
    asked = f"Complete this Python function. Write it out whole, with its imports.\n\n```python\n{shown}\n```"
    tests = CodeTests(kind="script", script=f"{test.rstrip()}\n\ncheck({function})\n", function=function, prompt=prompt)
    return _sample(row, asked, tests, prompt, function)


def read_mbpp(row: Row) -> Sample | None:
    """`text` or `prompt`, `test_list`, `test_imports`, `test_setup_code`. None: a task_id of another split."""
    name, number = find(row, ("task_id",), "a whole number")
    if not str(number).isdecimal():
        raise wrong(row, name, number, "a whole number")
    if int(number) not in TEST_SPLIT:
        return None
    asserts = texts_of(row, ("test_list",), "a list of asserts")
    setup = [code for name in ("test_imports", "test_setup_code") if (code := code_of(row, name))]
    return _function(row, asserts, "\n".join([*setup, *asserts]))


def read_mbpp_plus(row: Row) -> Sample:
    """`prompt` or `text`, `test_list` (what is shown), `test` (the script that counts).

    The scripts compare floats by numpy.allclose, which broadcasts: an empty list is close to every number, and every
    number to an empty list. As published, they let both pass; here a result has to have the shape that is expected.
    """
    asserts = texts_of(row, ("test_list",), "a list of asserts")
    script = text_of(row, ("test",), "the script of all tests")
    return _function(row, asserts, f"{_SHAPES}{script}" if "allclose" in script else script)


def _function(row: Row, asserts: tuple[str, ...], script: str) -> Sample:
    wanted = text_of(row, ("text", "prompt"), "what the function does").strip()
    shown = "\n".join(line.strip() for line in asserts[:SHOWN])
    asked = f"{wanted}\n\nYour code should pass these tests:\n\n```python\n{shown}\n```"
    tests = CodeTests(kind="script", script=script.replace("\r\n", "\n").rstrip() + "\n")
    return _sample(row, asked, tests, wanted, _called(row, asserts[0]))


def _called(row: Row, shown: str) -> str:
    """The function that an assert calls: one that the row's solution defines, else the first that is no builtin."""
    calls = re.findall(r"(?<![\w.])(\w+)\(", shown)
    defined = re.findall(r"^def +(\w+)", code_of(row, "code"), re.MULTILINE)
    others = [name for name in calls if not hasattr(builtins, name)]
    return next((name for name in calls if name in defined), others[0] if others else "")


def _sample(row: Row, asked: str, tests: CodeTests, stem: str, function: str) -> Sample:
    question = Question(text=asked, kind="code", function=function)
    return Sample(id=identity(row, stem, "task_id"), question=question, target=Target(tests=tests))


HUMANEVAL = Task(
    name="humaneval",
    format="code",
    kind="code",
    source=(
        "hf:openai/openai_humaneval?name=openai_humaneval&split=test&revision=7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"
    ),
    read=read_humaneval,
    size=164,
    max_new_tokens=1000,
    about="Python functions to complete from signature and docstring.",
    citation="Chen et al. 2021, arXiv:2107.03374",
    version="1",
)
MBPP = Task(
    name="mbpp",
    format="code",
    kind="code",
    source="hf:google-research-datasets/mbpp?name=full&split=test&revision=4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    read=read_mbpp,
    size=500,
    max_new_tokens=1000,
    about="Short Python functions, zero-shot; the three asserts that count are also the three that are shown.",
    citation="Austin et al. 2021, arXiv:2108.07732",
    version="1",
)
MBPP_PLUS = Task(
    name="mbpp_plus",
    format="code",
    kind="code",
    source="hf:evalplus/mbppplus?split=test&revision=b2d74c91837c3f2a20c1299ae98133cbe7cfa077",
    read=read_mbpp_plus,
    size=378,
    max_new_tokens=4000,
    about="MBPP's repaired problems with many more tests; the test scripts need numpy.",
    citation="Liu et al. 2023, arXiv:2305.01210",
    version="2",
)
