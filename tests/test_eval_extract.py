"""What is read as the answer, and what is not: boxes, statements, letters, programs."""

import random
import re
import time

import pytest

from rmas.eval.boxes import last_box
from rmas.eval.extract import final_answer, marked_answer, readings, said
from rmas.eval.fences import READS_INPUT, defines, find_program
from rmas.eval.letters import choice_letter, named_letter
from rmas.eval.notation import tidy, words_of
from rmas.eval.task import Format
from rmas.eval.units import split_unit

BOXES = [
    (r"\boxed{5}", "5"),
    (r"\boxed{ 5 }", "5"),
    (r"\boxed {5}", "5"),
    (r"\fbox{5}", "5"),
    (r"\boxed{1} then \fbox{2}", "2"),
    (r"\fbox{2} then \boxed{1}", "1"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\boxed{5}}", "5"),
    (r"\boxed{ \fbox{\boxed{5}} }", "5"),
    (r"\boxed{x \in \{1, 2\}}", r"x \in \{1, 2\}"),
    (r"\boxed{1, \boxed{2}}", r"1, \boxed{2}"),
    (r"{ \boxed{5}", "5"),
    (r"} } \boxed{5} }", "5"),
    (r"\boxed{5} and \boxed{}", "5"),
    (r"\boxed{5} and \boxed{ }", "5"),
    (r"\boxed 5", "5"),
    (r"$\boxed 5$", "5"),
    (r"\boxed12.5.", "12.5"),
    (r"\boxed x", "x"),
    (r"\boxed{12}_7", "12_7"),
    (r"\boxed{12}_{7}", "12_{7}"),
    (r"so \boxed{12$." + "\nMore text", "12"),
    ("\\boxed{12\n", "12"),
    (r"\boxed{ \boxed{5}", "5"),
    (r"\boxed{ and then a lot of prose follows here \boxed{5}", "5"),
    (r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ("\\boxed{1 \\\\ 2}", "1 \\\\ 2"),
    (r"\boxed{" + "\n5\n}", "5"),
    ("no box", None),
    (r"\boxed{}", None),
    (r"\boxed", None),
    (r"put it in \boxed notation", None),
    (r"\boxedtext{5}", None),
    (r"\boxed{the whole of the rest of this line is prose", None),
    (r"\boxed{\frac{1}{2", None),
    (r"\boxed{" + "\n\n5", None),
    (r"\boxed{12", None),  # it may have been cut off in 1234
    (r"so \boxed{12$.", None),
    (r"\boxed{1} but \boxed{12", None),
]


@pytest.mark.parametrize(("text", "content"), BOXES)
def test_the_last_box_that_holds_something(text: str, content: str | None) -> None:
    assert last_box(text) == content


THOUGHTS = [
    ("5", "5"),
    ("<think>4</think>5", "5"),
    ("<THINK>4</Think> 5", " 5"),
    ("<thinking>4</thinking>5", "5"),
    ("4</think>5", "5"),
    ("<think>1</think>2<think>3</think>4", "4"),
    ("<think>4", None),
    ("<think>1</think>2<think>3", None),
    ("a < b", "a < b"),
]


@pytest.mark.parametrize(("text", "rest"), THOUGHTS)
def test_only_what_follows_the_last_thought_counts(text: str, rest: str | None) -> None:
    assert said(text) == rest


ANSWERS: list[tuple[Format, str, str | None]] = [
    ("math", r"The answer is 3, so \boxed{4}", "4"),
    ("math", "<answer> 7 </answer> thanks", "7"),
    ("math", r"<answer>it is \boxed{7}</answer>", "7"),
    ("math", r"\boxed{6} <answer>7</answer>", "7"),
    ("math", r"<answer>\boxed{7</answer>", "7"),
    ("math", r"<answer>\boxed{7", None),
    ("math", "<answer>The answer is $7$.</answer>", "7."),
    ("math", "<answer>So 3 + 4 = 7</answer>", "3 + 4 = 7"),
    ("math", "<answer>not 7</answer>", "not 7"),
    ("math", r"\boxed{\text{about } 7}", "7"),
    ("math", "The answer is roughly $x = 7$.", "x = 7."),
    ("math", "Answer:\n- $7$", "7"),
    ("math", "Answer:\n- 3\n- 4", "- 3"),
    ("math", "The answer is $x = 5$.", "x = 5."),
    ("math", "The final answer is: \\(\\frac{1}{2}\\)", r"\frac{1}{2}"),
    ("math", "Final Answer:\n\\[\n\\frac{1}{2}\n\\]", r"\frac{1}{2}"),
    ("math", "**Answer:** 12 cm", "12 cm"),
    ("math", "The answer to the question is 12, because 3 times 4 is 12.", "12"),
    ("math", "The answer should be 12.", "12."),
    ("math", "Answer: 11\nWait.\nAnswer: 12", "12"),
    ("math", "Answer: 12\nAnswer:", "12"),
    ("math", "The answer is 4.\nWe double check whether the answer is correct: yes.", "4."),
    ("math", "Answer: 3\n\nCheck: the answer is consistent.", "3"),
    ("math", "The answer is 4. Let us see if our final answer is 5.\nNo, 5 is odd.", "4"),
    ("math", "Answer: 4\nSo the answer is indeed correct and verified, as 2 + 2 = 4.", "4"),
    ("math", "Answer: 4\nThe answer is right!", "4"),
    ("math", "Answer: 4\nChecking the answer: valid.", "4"),
    ("math", "Answer: 4\nWe see that the answer is 5.", "5."),
    ("math", "Answer: 4\nThe answer is wrong.", "wrong."),
    ("math", "Answer: 4\nThe answer is not correct.", "not correct."),
    ("math", "Answer: 4\nIs it so? We ask whether the answer is correct: no.", "correct: no."),
    ("math", "Answer: 4\nThe answer is correct to two places: 3.14", "correct to two places: 3.14"),
    ("math", "To answer this, we see that it is hard.\nThe sum is $3$.", "3"),
    ("math", "Now we find the answer\nby adding.\nWe get $x=3$.", "x=3"),
    ("math", "First $a=1$, and hence $b=2$.\nSo $a+b$ is $3$.", "3"),
    ("math", "Thus we may well conclude $a$ and $b$", None),
    ("math", "The roots are 1 and 2.", "1 and 2."),
    ("math", "x = 5", "x = 5"),
    ("math", "So x = 5", "x = 5"),
    ("math", "We do not know.\nIt is hard.", None),
    ("number", "#### 12\n\nQuestion: 5 + 5?", "12"),
    ("number", "#### Step 1: add 5\nIt has 3 parts and 4 ends.", None),
    ("number", "The answer is 7 (that is 3 + 4).", "7"),
    ("number", "The answer is 3 + 4 = 7 apples", "7"),
    ("number", "Each of 3 gets 4.\nSo they have 12 in all.", "12"),
    ("number", "Each of 3 gets 4, that is 3*4=12", "12"),
    ("number", "The answer is 7.\nWe check whether the answer is right: 3 + 5 = 8.", "7"),
    ("number", "Answer: 7\nThe answer is correct, since 3 + 4 = 7.", "7"),
    ("number", "Answer: 7\nThe answer is incorrect.", None),
    ("number", "The answer is approximately 7 apples.", "7"),
    ("number", "The answer is exactly equal to **7**.", "7"),
    ("number", "The answer is only Rs. 7.", "7"),
    ("number", "The answer is about.5", ".5"),
    ("number", "The answer is less than 7.", "less than 7."),
    ("number", "<answer>The answer is 7</answer>", "7"),
    ("number", "<answer>The answer is open</answer>", "The answer is open"),
    ("number", "In the year x2 there are y3", None),
    ("short", "The answer is Paris. It is the capital.", "Paris"),
    ("short", "The answer is J. R. Hartley.", "J. R. Hartley"),
    ("short", "Answer: **Paris**", "Paris"),
    ("short", "Answer: Paris\nThe answer is consistent with the map.", "Paris"),
    ("short", "The answer is left. No, the answer is right.", "right"),
    ("short", "The answer is correct.", "correct"),
    ("short", "Paris", "Paris"),
    ("short", "It may be Paris.\nOr Rome.", None),
    ("short", "word " * 200, None),
    ("short", "The answer is Only You.", "Only You"),
    ("short", "<answer>The answer is Paris.</answer>", "Paris"),
    ("short", "<answer>So Long</answer>", "So Long"),
    ("exact", "The answer is 42.", "42"),
    ("exact", "The answer is 4...", "4..."),
    ("exact", "Answer: valid\nAnswer: invalid", "invalid"),
    ("exact", "Answer:\n* 1\n* 2", "* 1\n* 2"),
    ("exact", "  a  b  ", "a  b"),
    ("exact", "```text\na\nb\n```", "a\nb"),
    ("exact", "The answer is **42**.", "**42**"),
    ("exact", "The answer is **42.**", "**42**"),
    ("exact", "**Answer: 42**", "42"),
    ("exact", "**Answer:** 42", "42"),
    ("exact", "**The answer is 42.**", "42"),
    ("exact", "**Answer:** **42**", "**42**"),
    ("exact", "Answer: **42", "**42"),
    ("exact", "2**3 is 8. Answer: **8**", "**8**"),
    ("exact", "Answer: 2**3", "2**3"),
    ("exact", "**Answer:**\na b\nc d", "a b\nc d"),
    ("exact", "**Answer:**\nx*x\n***", "x*x\n***"),
    ("exact", "<answer>The answer is 42</answer>", "The answer is 42"),
]


@pytest.mark.parametrize(("format", "text", "answer"), ANSWERS)
def test_the_answer_of_a_text(format: Format, text: str, answer: str | None) -> None:
    assert final_answer(text, format) == answer


@pytest.mark.parametrize("format", ["math", "number", "short", "exact"])
@pytest.mark.parametrize("text", ["", " ", "\n\t", "<think>5", "<think>5</think>  ", r"\boxed{\frac{1}{2"])
def test_where_nothing_is_said_nothing_is_read(format: Format, text: str) -> None:
    assert final_answer(text, format) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("42", ["42"]),
        ("**$42$**", ["**$42$**", "$42$", "42"]),
        ("$$4$$", ["$$4$$", "4"]),
        (r"\( 4 \)", [r"\( 4 \)", "4"]),
        ("`a b`", ["`a b`", "a b"]),
        ("**4** and **2**", ["**4** and **2**"]),
        ("**42", ["**42"]),
        ("****", ["****"]),
        ("$$", ["$$"]),
        ("", [""]),
    ],
)
def test_marks_around_an_answer_go_in_pairs(text: str, found: list[str]) -> None:
    assert list(readings(text)) == found


def test_a_box_that_cannot_be_read_is_still_the_mark_of_an_answer() -> None:
    assert marked_answer(r"The answer is 4. \boxed{\frac{4}{1") == (True, None)
    assert final_answer(r"The answer is 4. \boxed{\frac{4}{1", "math") is None


DRUGS = ("aspirin", "Ibuprofen 200 mg", "paracetamol", "none of these", "Ibuprofen 400 mg")

NAMES = [
    ("B", "B"),
    ("(b)", "B"),
    ("b)", "B"),
    ("B:", "B"),
    ("Option B", "B"),
    (r"\text{(B)}", "B"),
    (r"\mathbf{B}", "B"),
    ("$B$", "B"),
    ("C. paracetamol", "C"),
    ("C paracetamol", "C"),
    ("C - it lowers fever", "C"),
    ("Paracetamol.", "C"),
    ("paracetamol, because it is safe", "C"),
    ("ibuprofen 400 mg", "E"),
    ("Ibuprofen 400 mg which is more", "E"),
    ("ibuprofen", None),
    ("B. Ibuprofen 400 mg", None),  # a letter and another option's text
    ("C or D", None),
    ("C and D", None),
    ("C, D", None),
    ("C/D", None),
    ("(C) or (D)", None),
    ("aspirin or paracetamol", None),
    ("A lot", None),
    ("a lot", None),
    ("F", None),
    ("not C", None),
    ("", None),
    ("...", None),
    ("Be careful", None),
    ("C3", None),
    ("I am sure", None),
    *[
        (claim, "C")
        for claim in (
            r"$\text{C}$",
            r"\(C\).",
            r"$\mathbf{(C)}$.",
            '"C"',
            '"C".',
            "“C”",
            "'C'",
            "`C`",
            "[C]",
            "[C].",
            '"C!"',
            "C!",
            "C;",
            "$C$ because it is mild",
            'option "C"',
            "C (paracetamol)",
            "C (paracetamol). It is mild.",
            "C (mild)",
            "$C$ (paracetamol)",
            "C rather than A",
            "C only.",
            "C = paracetamol",
            "“paracetamol”.",
            "{C}",
            "Answer: C",
            "The answer is C",
            "the correct answer is: **C**",
        )
    ],
    *[
        (claim, None)
        for claim in (
            "$C$, $D$",
            '"C" or "D"',
            "[C] and [D]",
            "C (or D)",
            "C (D)",
            "C (aspirin)",
            "C (paracetamol) or A (aspirin)",
            "C (paracetamol), A (aspirin)",
            "C = aspirin",
            "C = D",
            "A rather long list",
            "A only child",
            "The answer is not C",
            "Answer: a lot",
            '"C"s',
        )
    ],
]


@pytest.mark.parametrize(("claim", "letter"), NAMES)
def test_the_letter_that_a_short_text_names(claim: str, letter: str | None) -> None:
    assert named_letter(claim, DRUGS) == letter


CHOICES = [
    ("I weighed it.\n\nThe correct answer is **C**, since it is mild.", "C"),
    ("My choice: D", "D"),
    ("Choice D is the best answer.", "D"),
    ("Option E (400 mg) is correct; option B is not correct.", "E"),
    ("Option A is bad, so option C is right.", "C"),
    ("We should choose option C here.", "C"),
    ("The answer is clearly (C)", "C"),
    ("Hence (C).", "C"),
    ("**C. paracetamol**", "C"),
    ("- **A. aspirin**: no\n- **C. paracetamol**: yes\n\nThe answer is C", "C"),
    ("C\n\nIt is mild.", "C"),
    ("The answer is C. We check whether the answer is A: no.", "C"),
    ("It is mild.\n\nC", "C"),
    ("none of these", "D"),
    (r"The answer is A, but officially \boxed{C}.", "C"),
    ("- **A. aspirin**: maybe\n- **C. paracetamol**: maybe", None),
    ("A\nB", None),
    ("Which answer is right? Hard to say.", None),
    ("Answer choices: A) aspirin B) Ibuprofen 200 mg", None),
    ("It says 'the answer is' and stops. The answer is", None),
    ("Do not pick A.", None),
    ("A is a letter.", None),
    ("Vitamin C is correct for scurvy in most cases of disease.", None),
    ("To answer C would be bold.", None),
    ("Nobody knows whether the answer is C.", None),
    ("It is unclear whether option C is correct.", None),
    ("We shall see if (C) is the right answer.", None),
    (r"\boxed{C or D}", None),
    (r"\boxed{42}", None),
    ("At first sight option A is the best. The answer is $C$.", "C"),
    ('Option A is the correct answer in children. In adults the answer is "C".', "C"),
    ("So A\nThe answer is C (paracetamol).", "C"),
    ("**A**\n\nOn reflection, the answer is $C$.", "C"),
    ("## Answer\n\nC\n\n## Explanation\n\nA is in use.", "C"),
    ("**A**\n\nThe answer is *C*.", "C"),
    ("## Answer\n\nWe look at each.\n\nOption C is correct.", "C"),
    (r"\boxed C", "C"),
    (r"\boxed{C (paracetamol)}", "C"),
    ("The answer is C.\nThe answer is easy to see, since aspirin thins the blood.", "C"),
    ("**C**\n\nThis answer is supported by the label.", "C"),
    ("Option C is correct. This option is the only mild one.", "C"),
    ("Which answer is it? The answer is the mild drug. So option C is correct.", "C"),
    ("The answer is not A. Option C is correct.", "C"),
    ("It seems that the answer is A or C. The answer is C.", "C"),
    ("Option A is the best at first sight. The answer is C or D.", None),
    ("The answer is C or D. Option A is the best in children.", None),
    ("**A**\n\nThe answer is $C$ or $D$.", None),
    ("The answer is A. On reflection, the answer is C or D.", None),
    ("**A**\n\nThe answer is the mild one.", None),
    ("So A\nThe answer is C (aspirin).", None),
    ("A\n\nThe answer is (F).", None),
    (r"I use \boxed a little later.", None),
]


@pytest.mark.parametrize(("text", "letter"), CHOICES)
def test_the_letter_that_a_text_chooses(text: str, letter: str | None) -> None:
    assert choice_letter(text, DRUGS) == letter


def test_an_option_text_that_stands_twice_names_no_letter() -> None:
    assert named_letter("yes", ("yes", "no", "Yes")) is None
    assert named_letter("no", ("yes", "no", "Yes")) == "B"


ADD = "def add(a, b):\n    return a + b"

PROGRAMS = [
    (f"```python\n{ADD}\n```", ADD + "\n"),
    (f"```py\n{ADD}\n```\nUse it so:\n```python\nprint(add(1, 2))\n```\n```\n3\n```", ADD + "\n"),
    (f"```\n{ADD}\n```", ADD + "\n"),
    (f"~~~python\n{ADD}\n~~~", ADD + "\n"),
    (f"First:\n```python\ndef add(a, b):\n    pass\n```\nBetter:\n```python\n{ADD}\n```", ADD + "\n"),
    (f"Here:\n```python\n{ADD}", ADD),
    (f"```python\n{ADD}\n```\nand then\n```python\ndef more(", ADD + "\n"),
    (f"```json\n{{}}\n```\n```python\n{ADD}\n```\n```bash\nls\n```", ADD + "\n"),
    ("```python\nprint(int(input()) + 1)\n```\nwhich prints\n```\n4\n```", "print(int(input()) + 1)\n"),
    ("```\nprint(1)\n```", "print(1)\n"),
    (f'````python\n{ADD}\n# """```"""\n````', f'{ADD}\n# """```"""\n'),
    (f"<think>```python\nx = 1\n```</think>\n```python\n{ADD}\n```", ADD + "\n"),
    (ADD, ADD),
    (f"Sure, here it is.\n\n{ADD}\n\nThis function adds two numbers.", ADD),
    (f"import math\n\n{ADD}", f"import math\n\n{ADD}"),
    ("n = int(input())\nprint(n + 1)", "n = int(input())\nprint(n + 1)"),
    ("    return a + b\n", "    return a + b"),
    (
        'def f():\n    """Say\nit like this.\n    """\n    return 1\nThat is all.',
        'def f():\n    """Say\nit like this.\n    """\n    return 1',
    ),
    ("I cannot do that.", None),
    ("", None),
    ("<think>" + ADD, None),
    ("```python\n```", None),
    ("```java\nclass A {}\n```", None),
    (f"Here is the code: ```python\n{ADD}\n```", ADD + "\n"),
    (f"Here is `add`: ```python\n{ADD}\n```\nIt adds.", ADD + "\n"),
    (f"**Solution:** ```python\n{ADD}\n```\nIt adds.", ADD + "\n"),
    (f"<answer>```python\n{ADD}\n```</answer>", ADD + "\n"),
    (f"<answer>```\n{ADD}\n```</answer>", ADD + "\n"),
    (f"Output: ```text\n3\n```\nCode: ```py\n{ADD}\n```\nIt adds.", ADD + "\n"),
    ("- ```python\n  def add(a, b):\n      return a + b\n  ```\n", "  def add(a, b):\n      return a + b\n"),
    ("10. ```python\n    def add(a, b): ...\n    ```\nIt adds.", "    def add(a, b): ...\n"),
    (f"```python\n{ADD}```\n\nThis adds two.", ADD),
    (f"```python\n{ADD}```</answer>", ADD),
    (f"```python\n{ADD}\n``` This `add` adds", ADD + "\n"),
    (f"```python\n{ADD}\n```\nCall ```add(1, 2)```\nand see.", ADD + "\n"),
    (
        '```python\ndef f():\n    """So:\n    ```\n    f()\n    ```\n    """\n    return 1\n```\nDone.',
        'def f():\n    """So:\n    ```\n    f()\n    ```\n    """\n    return 1\n',
    ),
    (
        '```python\ndef f():\n    """So: ```\n    f()\n    ```\n    """\n    return 1\n```\nDone.',
        'def f():\n    """So: ```\n    f()\n    ```\n    """\n    return 1\n',
    ),
    ('```python\ndef f(s):\n    return s.split("```")\n```\nDone.', 'def f(s):\n    return s.split("```")\n'),
    ('def f(s):\n    return s.split("```")', 'def f(s):\n    return s.split("```")'),
    (f"```python3.10\n{ADD}\n```", ADD + "\n"),
    (f"```ipython\n{ADD}\n```", ADD + "\n"),
    ("```pycon\n>>> def f():\n...     return 1\n...\n>>> f()\n1\n```", "def f():\n    return 1\n\nf()\n"),
    (f"```pycon\n{ADD}\n```", ADD + "\n"),
    (f"```pythonic\n{ADD}\n```", None),
    (f"Here is the code: ```java\n{ADD}\n```\nIt adds.", None),
    ("Put it between ```python and ``` please.", None),
]


@pytest.mark.parametrize(("text", "program"), PROGRAMS)
def test_the_program_of_a_text(text: str, program: str | None) -> None:
    assert find_program(text) == program


SHOWN_TEST = "def test_add():\n    assert add(1, 2) == 3"
READ = "n = int(input())\nprint(n + 1)"

WANTED: list[tuple[re.Pattern[str], str, str]] = [
    (defines(["add"]), f"```python\n{ADD}\n```\n```python\n{SHOWN_TEST}\n```", ADD),
    (defines(["add"]), f"```python\nasync {ADD}\n```\n```python\n{SHOWN_TEST}\n```", f"async {ADD}"),
    (defines(["add"]), f"```\nadd = int.__add__\n```\n```python\n{SHOWN_TEST}\n```", "add = int.__add__"),
    (defines(["add"]), f"```python\n{SHOWN_TEST}\n```\n```python\n{ADD}", ADD),
    (defines(["add"]), f"```python\n{ADD} + 1\n```\n```python\n{ADD}\n```\n```python\n{SHOWN_TEST}\n```", ADD),
    (defines(["add"]), f"```python\n{ADD}\n```\n```python\nadd = add(1, 2)\nprint(add)\n```", ADD),
    (defines(["add"]), f"```python\n{ADD}\n```\n```python\nadd == 3\nclass Adder: pass\n```", ADD),
    (
        defines(["add"]),
        "```python\nclass Solution:\n    def add(self): pass\n```\n```python\nclass Test: pass\n```",
        "class Solution:\n    def add(self): pass",
    ),
    (defines(["sub", "add"]), f"```python\n{ADD}\n```\n```python\n{SHOWN_TEST}\n```", ADD),
    (defines(["sub"]), f"```python\n{ADD}\n```\n```python\n{SHOWN_TEST}\n```", SHOWN_TEST),
    (defines(["add"]), "    return a + b", "    return a + b"),
    (READS_INPUT, f"```python\n{READ}\n```\n```python\nassert 3 + 1 == 4\n```", READ),
    (READS_INPUT, f"```\n{READ}\n```\nInput:\n```\n3\n```\nOutput:\n```\n4\n```", READ),
    (READS_INPUT, f"```python\n{READ}\n```\n```python\n{SHOWN_TEST}\n```", READ),
    (READS_INPUT, f"```python\n{READ}\n```\n```python\nsys.stdin = StringIO('3')\nmain()\n```", READ),
    (READS_INPUT, "```python\nprint(5)\n```\n```python\nprint(6)\n```", "print(6)"),
]


@pytest.mark.parametrize(("wanted", "text", "program"), WANTED)
def test_the_program_of_a_text_has_what_the_task_asks_for(wanted: re.Pattern[str], text: str, program: str) -> None:
    assert (find_program(text, wanted) or "").rstrip("\n") == program


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        (r"$\left(\dfrac12,\, \tfrac{3}{4}\right)$", r"(\frac{1}{2}, \frac{3}{4})"),
        (r"12{,}345", "12345"),
        ("12,345", "12,345"),
        ("1, 2", "1, 2"),
        ("2√3", r"2\sqrt{3}"),
        ("x^10", "x^{10}"),
        ("90^{\\circ}", "90°"),
        (r"\mathrm{e}^x", "e^{x}"),
        ("5 . ", "5"),
        (r"5\,", "5"),
        (r"5 \ ", "5"),
        (r"\frac32x", r"\frac{3}{2}x"),
        (r"\frac1\pi r", r"\frac{1}{\pi}r"),
        (r"{120^\circ}", "{120°}"),
        (r"{5 \choose 2}", r"\binom{5}{2}"),
        ("**7**", "7"),
        (r"\operatorname{arcsin} x", r"\arcsin x"),
    ],
)
def test_one_spelling(text: str, spelling: str) -> None:
    assert tidy(text) == spelling
    assert tidy(spelling) == spelling


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        (r"5\text{ cm}", ("5", "cm", True)),
        ("5 sq ft", ("5", "foot^2", True)),
        (r"5 \text{ inches}^2", ("5", "inch^2", True)),
        (r"\$5", ("5", "dollar", True)),
        (r"-\$5", ("-5", "dollar", True)),
        ("5%", ("5", "%", True)),
        ("60 km/h", ("60", "km/h", True)),
        ("5 apples", ("5", "apples", False)),
        ("5x", ("5x", "", False)),
        ("5 x", ("5 x", "", False)),
        ("5 xy", ("5 xy", "", False)),
        ("5 m", ("5 m", "", False)),
        (r"5 \text{ m}", ("5", "m", True)),
        ("5 of them", ("5", "of them", False)),
        ("5g of sugar", ("5", "g of sugar", False)),
        ("5m of x", ("5m of x", "", False)),
        ("5 sixth graders", ("5", "sixth graders", False)),
        ("1 sixth", ("1 sixth", "", False)),
        ("1 sixth of it", ("1 sixth of it", "", False)),
        ("5 m/s", ("5", "m/s", True)),
        ("5 meters squared", ("5", "m^2", True)),
        ("5 million dollars", ("5 million", "dollar", True)),
        (r"\$5 million", ("5 million", "dollar", True)),
        ("5 less than x", ("5 less than x", "", False)),
        (r"20^\circ\text{C}", ("20", "celsius", True)),
        ("8 p.m.", ("8", "pm", True)),
        (r"\sin 30^\circ", (r"\sin 30°", "", False)),
        ("x + 5", ("x+5", "", False)),
    ],
)
def test_a_unit_is_told_from_the_value(text: str, quantity: tuple[str, str, bool]) -> None:
    assert split_unit(tidy(text), any_word=True) == quantity


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r"\text{Marie \textbf{Curie}}", "Marie Curie"),
        (r"\$5\%", "$5%"),
        (r"4{,}884\text{ m}", "4,884 m"),
        (r"\( x \)", "x"),
        ("**Oslo**", "Oslo"),
    ],
)
def test_words_without_their_marks(text: str, words: str) -> None:
    assert words_of(text) == words


_CODE_PIECES = (
    "```",
    "```python",
    "~~~",
    "def f():",
    "    x",
    "class A",
    "import os",
    "prose here",
    "",
    "'''",
    '"""',
    "x = 1",
)


@pytest.mark.parametrize("wanted", [None, READS_INPUT, defines(["f", "x"])])
def test_programs_are_found_in_any_text_in_proportion(wanted: re.Pattern[str] | None) -> None:
    draw = random.Random(0)
    for _ in range(300):
        text = "\n".join(draw.choice(_CODE_PIECES) for _ in range(draw.randrange(30)))
        program = find_program(text, wanted)
        assert program is None or (program.strip() and program.strip() in text)
    for piece in (*_CODE_PIECES, "input ", "async def ", "def f(", "`", "x", "x = 1\n", "x: ```py", "x```", "> ``"):
        start = time.process_time()
        find_program((piece + "\n") * 10_000 + piece * 10_000, wanted)
        assert time.process_time() - start < 0.5
