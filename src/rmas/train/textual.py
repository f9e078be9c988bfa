"""One step of TextGrad (Yuksekgonul et al. 2024, arXiv:2406.07496) on a system text, through its authors' library.

The only importer of textgrad. The library asks one model for everything: a criticism of each answer, one of the text
that led to it, and a new text.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rmas.errors import ConfigError

ROLE = "system prompt of a language model that answers questions; it must lead to short, exact answers"
PURPOSE = (
    "compares the model's answer with the right one; exactly the same characters count as right, all else as wrong"
)
Write = Callable[[str, str], str]  # content, system text -> what the model says


class Answered(NamedTuple):
    """A question, what the model said, and what is right."""

    question: str
    said: str
    right: str


def propose(text: str, answered: Sequence[Answered], write: Write) -> str | None:
    """A new system text after criticism of the answers that `text` led to; None where the model proposed none."""
    library, engine = need_textgrad(), _engine(write)
    variable = library.Variable(text, requires_grad=True, role_description=ROLE)
    optimizer = library.TextualGradientDescent([variable], engine=engine)
    library.sum([_verdict(library, variable, engine, each) for each in answered]).backward(engine)
    variable.gradients = sorted(variable.gradients, key=lambda each: str(each.value))  # a set: in any order
    try:
        optimizer.step()
    except IndexError:  # not between the tags that it was told
        return None
    return str(variable.value).strip()


def need_textgrad() -> Any:
    """The library, imported without what it leaves about: a folder of logs, and a look at prices on the web.

    Raises ConfigError where it is not installed.
    """
    with tempfile.TemporaryDirectory() as folder, _environment("TEXTGRAD_LOG_DIR", folder):
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        try:
            import textgrad
        except ImportError:
            raise ConfigError("the prompt stage needs textgrad: pip install 'rmas[textgrad]'.") from None
        for handler in list(textgrad.logger.handlers):
            textgrad.logger.removeHandler(handler)
            handler.close()
    textgrad.logger.setLevel(logging.CRITICAL)
    return textgrad


def _verdict(library: Any, text: Any, engine: Any, answered: Answered) -> Any:
    """Whether an answer is right, as the library's variable: it depends on the text through a call of the model."""
    from textgrad.autograd.function import BackwardContext
    from textgrad.autograd.llm_ops import LLMCall
    from textgrad.autograd.string_based_ops import StringBasedFunction

    question = library.Variable(answered.question, requires_grad=False, role_description="question to the model")
    reply = library.Variable(
        answered.said, predecessors=[text, question], role_description="the model's answer to the question"
    )
    call = LLMCall(engine, text)  # already made, in a batch, with our own prompts
    reply.set_grad_fn(
        BackwardContext(call.backward, response=reply, prompt=answered.question, system_prompt=text.value)
    )
    right = library.Variable(answered.right, requires_grad=False, role_description="right answer")

    def compare(answer: Any, right: Any) -> str:
        return "right" if answer.value.strip() == right.value else f"wrong: the right answer is {right.value}"

    return StringBasedFunction(compare, PURPOSE)({"answer": reply, "right": right})


def _engine(write: Write) -> Any:
    """`write` as the library's engine."""
    from textgrad.engine import EngineLM

    class Engine(EngineLM):  # type: ignore[misc]
        model_string = "local"

        def generate(self, content: str, system_prompt: str | None = None, **_: Any) -> str:
            return write(content, system_prompt or "")

        __call__ = generate

    return Engine()


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
