"""A call worked through, as a prompt shows it: a small model calls what it has just seen called.

The surprising thing: a line that says what a tool does draws it away. Where the examples have such lines above them, it
calls the first tool whatever it is asked, or copies the line. So a tool that has an example has no line.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from rmas.tools.tool import Tool


class Example(NamedTuple):
    """A question, a call for it, what comes back, and the answer."""

    question: str
    request: str
    result: str
    answer: str


def shown(tools: Collection[Tool], examples: Mapping[str, Example], written: Callable[[str], str]) -> str:
    """What a prompt shows of tools: the example of each, below the descriptions of those that have none.

    `written`: a result as the model reads it.
    """
    told = [f"- {tool.description}" for tool in tools if tool.name not in examples]
    worked = [_worked(tool.name, examples[tool.name], written) for tool in tools if tool.name in examples]
    if worked:
        worked[0] = ("Example" if len(worked) == 1 else "Examples") + f":\n{worked[0]}"
    return "\n\n".join(["\n".join(told), *worked] if told else worked)


def _worked(name: str, example: Example, written: Callable[[str], str]) -> str:
    call = f"<{name}>{example.request}</{name}>"
    return f"Question: {example.question}\n{call}{written(example.result)}Answer: {example.answer}"
