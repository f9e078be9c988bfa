"""MATH500, AIME and GSM8K: a problem and one answer."""

import re

from rmas.eval.task import Sample, Target, Task
from rmas.eval.tasks.fields import ANSWER, QUESTION, find, identity, text, text_of, wrong
from rmas.prompt import Question
from rmas.rows import Row


def read_math(row: Row) -> Sample:
    """`problem` or `question`; `answer` in LaTeX, kept as it is."""
    return _sample(row, text_of(row, ANSWER, "the answer in LaTeX", numbers=True).strip(), "unique_id", "id")


def read_aime(row: Row) -> Sample:
    """`problem` or `question`; `answer` a whole number from 0 to 999, also written 025 or 25^\\circ."""
    name, value = find(row, ANSWER, _AIME)
    found = re.fullmatch(
        r"\$?(\d{1,3})(?:\^\\circ|\^{\\circ})?\$?", text(row, name, value, _AIME, numbers=True).strip()
    )
    if not found:
        raise wrong(row, name, value, _AIME)
    return _sample(row, str(int(found[1])), "id", "problem_idx")


def read_gsm8k(row: Row) -> Sample:
    """`question`; `answer` a solution that ends with `#### 1,234`, or the bare number."""
    name, value = find(row, ANSWER, _GSM8K)
    number = (
        text(row, name, value, _GSM8K, numbers=True).rpartition("####")[2].strip().replace(",", "").removeprefix("$")
    )
    if not re.fullmatch(r"-?\d+(\.\d+)?", number):
        raise wrong(row, name, value, _GSM8K)
    return _sample(row, number, "id")


def _sample(row: Row, answer: str, *ids: str) -> Sample:
    asked = text_of(row, QUESTION, "the problem").strip()
    return Sample(
        id=identity(row, asked, *ids), question=Question(text=asked, kind="math"), target=Target(answers=(answer,))
    )


_AIME = "a whole number from 0 to 999"
_GSM8K = "a solution that ends with #### and a number"

MATH500 = Task(
    name="math500",
    format="math",
    kind="math",
    source="hf:HuggingFaceH4/MATH-500?split=test&revision=6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    read=read_math,
    size=500,
    max_new_tokens=2000,
    about="500 problems of the MATH test set, from school algebra to competitions; answers in LaTeX.",
    citation="Hendrycks et al. 2021, arXiv:2103.03874; the 500: Lightman et al. 2023, arXiv:2305.20050",
    version="1",
)
AIME2025 = Task(
    name="aime2025",
    format="number",
    kind="math",
    source="hf:math-ai/aime25?split=test&revision=563bb8404243c5f09de6ec262f2db674fe5bce9b",
    read=read_aime,
    size=30,
    max_new_tokens=16000,
    about="Both papers of the American Invitational Mathematics Examination 2025; answers are 0 to 999.",
    citation="Mathematical Association of America, AIME I and II 2025",
    version="1",
)
AIME2026 = Task(
    name="aime2026",
    format="number",
    kind="math",
    source="hf:MathArena/aime_2026?split=train&revision=d2de22f3c656b4f56cf8981212186377d1e23bc3",
    read=read_aime,
    size=30,
    max_new_tokens=16000,
    about="Both papers of 2026. The hub calls the split train; nobody trains on it.",
    citation="Mathematical Association of America, AIME I and II 2026; Balunović et al. 2025, arXiv:2505.23281",
    version="1",
)
GSM8K = Task(
    name="gsm8k",
    format="number",
    kind="math",
    source="hf:openai/gsm8k?name=main&split=test&revision=740312add88f781978c0658806c59bc2815b9866",
    read=read_gsm8k,
    size=1319,
    max_new_tokens=1000,
    about="Word problems of primary school; the answer is the number behind ####.",
    citation="Cobbe et al. 2021, arXiv:2110.14168",
    version="1",
)
