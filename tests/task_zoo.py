"""Golden rows of every task: one question in all the forms that its task reads. All rows are our own."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rmas.eval.task import CodeTests, Target
from rmas.eval.tasks import TASKS


class Golden(NamedTuple):
    """One question in all its forms, the hub's first; what it reads to; a right and a wrong answer to it."""

    forms: list[dict[str, Any]]
    id: str  # of the hub's form
    question: str
    target: Target
    right: str
    wrong: str
    hidden: tuple[str, ...] = ()  # must not be in the question


def answers(*texts: str) -> Target:
    return Target(answers=texts)


def boxed(text: str) -> str:
    return f"So it is \\boxed{{{text}}}."


def fenced(code: str) -> str:
    return f"Here it is:\n\n```python\n{code}```\n"


HALF = "Let $x = \\frac{1}{4} + \\frac{1}{4}.$ What is $x?$"
SHEEP = "A farmer has 1,200 sheep and sells 30 a day for 20 days. How many are left?"
SHEEP_SOLUTION = "He sells 30*20 = <<30*20=600>>600.\nThat leaves 1,200 - 600 = <<1200-600=600>>600.\n#### 600"
ADD = "State the answer: 4 + 3 ="
METAL = "Which of these metals is liquid at 25 °C?"
ORGAN = "A 30-year-old woman has colicky pain in the flank. Which organ is affected?"
ORGANS = ("Liver", "Spleen", "Kidney", "Lung")
ORGAN_SHOWN = f"{ORGAN}\n\nA. Liver\nB. Spleen\nC. Kidney\nD. Lung"
RIVER = "Which river flows through the capital of the country where Ada Ostrander was born?"

HALVE_PROMPT = 'def halve(n: int) -> int:\n    """Half of an even n.\n    >>> halve(8)\n    4\n    """\n'
HALVE_CHECK = "METADATA = {'author': 'us'}\n\n\ndef check(candidate):\n    assert candidate(90210) == 45105\n"
HALVE_SHOWN = (
    f"Complete this Python function. Write it out whole, with its imports.\n\n```python\n{HALVE_PROMPT.rstrip()}\n```"
)
TWICE_TEXT = "Write a function to double a number."
TWICE_ASSERTS = ["assert twice(2) == 4", "assert twice(-3) == -6", "assert twice(0) == 0"]
TWICE_SHOWN = (
    f"{TWICE_TEXT}\n\nYour code should pass these tests:\n\n"
    "```python\nassert twice(2) == 4\nassert twice(-3) == -6\nassert twice(0) == 0\n```"
)
TWICE_SCRIPT = (
    "inputs = [[77], [1.5]]\nresults = [154, 3.0]\nfor i, o in zip(inputs, results):\n    assert twice(*i) == o\n"
)
SUM_TEXT = "You are given two integers A and B. Print A + B."
SUM_SHOWN = (
    f"{SUM_TEXT}\n\n"
    "Write a Python program that reads the input from standard input and prints the output to standard output."
)
SUM_PUBLIC = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
SUM_PRIVATE = [{"input": "40 2\n", "output": "42\n", "testtype": "stdin"}]
SUM_CASES = (("1 2\n", "3\n"), ("40 2\n", "42\n"))
COUNT_TEXT = "Count how often k stands in nums."
COUNT_STARTER = "class Solution:\n    def count(self, nums: List[int], k: int) -> int:\n        "
COUNT_SHOWN = (
    f"{COUNT_TEXT}\n\nComplete this Python code. Write it out whole, with its imports.\n\n"
    f"```python\n{COUNT_STARTER.rstrip()}\n```"
)
COUNT_CASE = {"input": "[5, 6, 5]\n5", "output": "2", "testtype": "functional"}
BLOB = base64.b64encode(b"stands for a compressed pickle").decode()

GOLDEN: Mapping[str, list[Golden]] = {
    "math500": [
        Golden(
            [
                {"problem": HALF, "solution": "Add.", "answer": "\\frac{1}{2}", "unique_id": "test/algebra/1.json"},
                {"question": f"{HALF}\n", "answer": " \\frac{1}{2}"},
            ],
            "test/algebra/1.json",
            HALF,
            answers("\\frac{1}{2}"),
            boxed("\\frac{1}{2}"),
            boxed("\\frac{4}{5}"),
            ("\\frac{1}{2}",),
        )
    ],
    "aime2025": [
        Golden(
            [
                {"problem": "Find the sum of all such primes.", "answer": "336^\\circ", "id": "7"},
                {"problem": "Find the sum of all such primes.", "answer": 336, "id": "7"},
                {"question": "Find the sum of all such primes.", "answer": "$336$"},
            ],
            "7",
            "Find the sum of all such primes.",
            answers("336"),
            boxed("336"),
            boxed("335"),
            ("336",),
        )
    ],
    "aime2026": [
        Golden(
            [
                {"problem_idx": 3, "problem": "Find $m+n.$", "answer": 25, "problem_type": ["Algebra"]},
                {"problem": "Find $m+n.$", "answer": "025"},
            ],
            "3",
            "Find $m+n.$",
            answers("25"),
            boxed("25"),
            boxed("250"),
            ("25",),
        )
    ],
    "gsm8k": [
        Golden(
            [
                {"question": SHEEP, "answer": SHEEP_SOLUTION},
                {"question": SHEEP, "answer": "600"},
                {"problem": SHEEP, "answer": 600.0},
            ],
            hashlib.sha256(SHEEP.encode()).hexdigest()[:16],
            SHEEP,
            answers("600"),
            boxed("600"),
            boxed("1,200"),
            ("600",),
        ),
        Golden(
            [{"question": "How much?", "answer": "A loss.\n#### -1,234.5"}],
            hashlib.sha256(b"How much?").hexdigest()[:16],
            "How much?",
            answers("-1234.5"),
            boxed("-1,234.5"),
            boxed("1234.5"),
        ),
    ],
    "gpqa_diamond": [
        Golden(
            [
                {
                    "Record ID": "rec1",
                    "Question": f"{METAL}\n",
                    "Correct Answer": "mercury\n",
                    "Incorrect Answer 1": "zinc",
                    "Incorrect Answer 2": "tin",
                    "Incorrect Answer 3": "lead",
                },
                {
                    "question": METAL,
                    "correct_answer": "mercury",
                    "incorrect_answer_1": "lead",
                    "incorrect_answer_2": "zinc",
                    "incorrect_answer_3": "tin",
                },
                {"question": METAL, "options": ["tin", "mercury", "zinc", "lead"], "answer": "B"},
            ],
            "rec1",
            f"{METAL}\n\nA. tin\nB. mercury\nC. zinc\nD. lead",
            Target(answers=("B",), options=("tin", "mercury", "zinc", "lead")),
            boxed("B"),
            boxed("A"),
        )
    ],
    "medqa": [
        Golden(
            [
                {
                    "question": ORGAN,
                    "answer": "Kidney",
                    "options": dict(zip("ABCD", ORGANS, strict=True)),
                    "meta_info": "step1",
                    "answer_idx": "C",
                },
                {"query": ORGAN, "options": list(ORGANS), "answer": "kidney "},
                {"query": ORGAN_SHOWN, "answer": "(C)"},
                {"query": ORGAN_SHOWN, "options": list(ORGANS), "answer": "C. Kidney"},
                {"query": ORGAN, "options": ["A) Liver", "B) Spleen", "C) Kidney", "D) Lung"], "answer": "C"},
                {
                    "question": ORGAN,
                    "options": [{"key": key, "value": text} for key, text in zip("ABCD", ORGANS, strict=True)],
                    "answer": "C",
                },
                {"question": ORGAN, "options": dict(zip("ABCDE", (*ORGANS, None), strict=True)), "answer": "C."},
            ],
            hashlib.sha256(ORGAN.encode()).hexdigest()[:16],
            ORGAN_SHOWN,
            Target(answers=("C",), options=ORGANS),
            boxed("C"),
            boxed("D"),
        )
    ],
    "livecodebench": [
        Golden(
            [
                {
                    "question_id": "abc000_a",
                    "question_content": SUM_TEXT,
                    "starter_code": "",
                    "metadata": "{}",
                    "public_test_cases": json.dumps(SUM_PUBLIC),
                    "private_test_cases": json.dumps(SUM_PRIVATE),
                },
                {
                    "question_content": SUM_TEXT,
                    "starter_code": None,
                    "public_test_cases": SUM_PUBLIC,
                    "private_test_cases": SUM_PRIVATE,
                },
            ],
            "abc000_a",
            SUM_SHOWN,
            Target(tests=CodeTests(kind="stdin", cases=SUM_CASES)),
            fenced("print(sum(map(int, input().split())))\n"),
            fenced("print(3)\n"),
            ("40 2", "42"),
        ),
        Golden(
            [
                {
                    "question_id": "9001",
                    "question_content": COUNT_TEXT,
                    "starter_code": COUNT_STARTER,
                    "metadata": '{"func_name": "count"}',
                    "public_test_cases": json.dumps([COUNT_CASE]),
                    "private_test_cases": BLOB,
                },
                {
                    "question_id": 9001,
                    "question_content": COUNT_TEXT,
                    "starter_code": COUNT_STARTER,
                    "metadata": {"func_name": "count"},
                    "public_test_cases": [COUNT_CASE],
                    "private_test_cases": BLOB,
                },
            ],
            "9001",
            COUNT_SHOWN,
            Target(tests=CodeTests(kind="function", function="count", cases=(("[[5, 6, 5], 5]", "2"),), blob=BLOB)),
            fenced("class Solution:\n    def count(self, nums, k):\n        return nums.count(k)\n"),
            fenced("class Solution:\n    def count(self, nums, k):\n        return 0\n"),
            (BLOB, "[5, 6, 5]"),
        ),
    ],
    "mbpp_plus": [
        Golden(
            [
                {
                    "task_id": 2,
                    "code": "def twice(n):\n    return 2 * n",
                    "prompt": TWICE_TEXT,
                    "source_file": "x.ipynb",
                    "test_imports": [],
                    "test_list": [*TWICE_ASSERTS, "assert twice(9) == 18"],
                    "test": TWICE_SCRIPT,
                },
                {"task_id": 2, "text": TWICE_TEXT, "test_list": TWICE_ASSERTS, "test": f"{TWICE_SCRIPT}\r\n"},
            ],
            "2",
            TWICE_SHOWN,
            Target(tests=CodeTests(kind="script", script=TWICE_SCRIPT)),
            fenced("def twice(n):\n    return 2 * n\n"),
            fenced("def twice(n):\n    return n * n if n > 0 else 2 * n\n"),
            ("154", "twice(9)"),
        )
    ],
    "hotpotqa": [
        Golden(
            [
                {
                    "id": "5a8b",
                    "question": RIVER,
                    "answer": "the Vistula",
                    "type": "bridge",
                    "context": {"title": ["Warsaw"], "sentences": [["It lies on the Vistula."]]},
                },
                {"question": RIVER, "answer": ["the Vistula"]},
                {"_id": "5a8b", "question": RIVER, "golden_answers": ["the Vistula"]},
            ],
            "5a8b",
            RIVER,
            answers("the Vistula"),
            boxed("the Vistula"),
            boxed("the Danube"),
            ("Vistula",),
        )
    ],
    "bamboogle": [
        Golden(
            [{"Question": RIVER, "Answer": "Vistula"}, {"question": RIVER, "answer": ["Vistula", "Vistula "]}],
            hashlib.sha256(RIVER.encode()).hexdigest()[:16],
            RIVER,
            answers("Vistula"),
            boxed("Vistula"),
            boxed("Danube"),
            ("Vistula",),
        ),
        Golden(
            [{"Question": "When?", "Answer": 1961}, {"question": "When?", "answer": ["1961"]}],
            hashlib.sha256(b"When?").hexdigest()[:16],
            "When?",
            answers("1961"),
            boxed("1961"),
            boxed("1962"),
        ),
    ],
    "humaneval": [
        Golden(
            [
                {
                    "task_id": "HumanEval/900",
                    "prompt": HALVE_PROMPT,
                    "canonical_solution": "    return n // 2\n",
                    "test": f"\n\n{HALVE_CHECK}\n",
                    "entry_point": "halve",
                }
            ],
            "HumanEval/900",
            HALVE_SHOWN,
            Target(
                tests=CodeTests(
                    kind="script",
                    script=f"\n\n{HALVE_CHECK}\ncheck(halve)\n",
                    function="halve",
                    prompt=HALVE_PROMPT,
                )
            ),
            fenced(f"{HALVE_PROMPT}    return n // 2\n"),
            fenced(f"{HALVE_PROMPT}    return 4\n"),
            ("90210", "METADATA"),
        )
    ],
    "mbpp": [
        Golden(
            [
                {
                    "task_id": 11,
                    "text": TWICE_TEXT,
                    "code": "def twice(n):\r\n  return 2 * n",
                    "test_list": TWICE_ASSERTS,
                    "test_setup_code": "",
                    "challenge_test_list": ["assert twice(1e300) == 2e300"],
                },
                {"task_id": 11, "prompt": TWICE_TEXT, "test_list": TWICE_ASSERTS, "test_imports": []},
                {"task_id": "11", "text": TWICE_TEXT, "test_list": TWICE_ASSERTS},
            ],
            "11",
            TWICE_SHOWN,
            Target(tests=CodeTests(kind="script", script="\n".join(TWICE_ASSERTS) + "\n")),
            fenced("def twice(n):\n    return 2 * n\n"),
            fenced("def twice(n):\n    return 4\n"),
            ("1e300",),
        ),
        Golden(
            [
                {
                    "task_id": 510,
                    "text": "Round up.",
                    "test_setup_code": "import math\r\nx = math.pi",
                    "test_list": ["assert up(x) == 4"],
                },
                {
                    "task_id": 510,
                    "prompt": "Round up.",
                    "test_imports": ["import math", "x = math.pi"],
                    "test_list": ["assert up(x) == 4"],
                },
            ],
            "510",
            "Round up.\n\nYour code should pass these tests:\n\n```python\nassert up(x) == 4\n```",
            Target(tests=CodeTests(kind="script", script="import math\nx = math.pi\nassert up(x) == 4\n")),
            fenced("def up(x):\n    return int(x) + 1\n"),
            fenced("def up(x):\n    return int(x)\n"),
        ),
    ],
    "reasoning_gym:chain_sum": [
        Golden(
            [
                {"question": "State the answer: 4 + 3 =", "answer": "7"},
                {"question": "State the answer: 4 + 3 =", "answer": 7},
            ],
            hashlib.sha256(ADD.encode()).hexdigest()[:16],
            ADD,
            answers("7"),
            "7",
            "8",
            ("7",),
        )
    ],
}
NAMES = [*TASKS, "reasoning_gym:chain_sum"]
CASES = [(name, golden) for name in NAMES for golden in GOLDEN.get(name, [])]
