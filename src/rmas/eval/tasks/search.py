"""HotpotQA and Bamboogle: questions that take two facts, with a short answer.

Closed book: only the question is shown, none of HotpotQA's passages.
"""

from rmas.eval.task import Sample, Target, Task
from rmas.eval.tasks.fields import ANSWER, QUESTION, identity, text_of, texts_of
from rmas.prompt import Question
from rmas.rows import Row


def read_short(row: Row) -> Sample:
    """`question`; `answer`: a text, or a list of accepted ones."""
    asked = text_of(row, QUESTION, "the question").strip()
    accepted = texts_of(row, ANSWER, "the answer, or a list of accepted ones", numbers=True)
    return Sample(
        id=identity(row, asked, "id", "_id"),
        question=Question(text=asked, kind="search"),
        target=Target(answers=tuple(dict.fromkeys(answer.strip() for answer in accepted))),
    )


HOTPOTQA = Task(
    name="hotpotqa",
    format="short",
    kind="search",
    source=("hf:hotpotqa/hotpot_qa?name=distractor&split=validation&revision=1908d6afbbead072334abe2965f91bd2709910ab"),
    read=read_short,
    size=7405,
    max_new_tokens=1000,
    about="Questions over two Wikipedia articles, closed book: the articles are not shown.",
    citation="Yang et al. 2018, arXiv:1809.09600",
    version="1",
)
BAMBOOGLE = Task(
    name="bamboogle",
    format="short",
    kind="search",
    source="hf:chiayewken/bamboogle?split=test&revision=5787baaae24a33baee4cf57a4cc743e8a02cd548",
    read=read_short,
    size=125,
    max_new_tokens=1000,
    about="Two-step questions, written by hand so that a search engine does not answer them at once.",
    citation="Press et al. 2022, arXiv:2210.03350",
    version="1",
)
