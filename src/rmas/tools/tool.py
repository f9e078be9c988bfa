"""What a tool is: a name, what the model is told of it, and a text in, a result out. Any number of calls at a time."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Result(NamedTuple):
    """What a call gave back. `seconds` by the clock; `is_cut`: it was longer, and the text says by how much."""

    text: str
    seconds: float
    is_cut: bool


class Tool(Protocol):
    """Something that an agent may call from inside its text, and from any thread."""

    @property
    def name(self) -> str:
        """Its tag: lower-case letters, digits and underscores."""

    @property
    def description(self) -> str:
        """One line for the prompt: an example call, and what comes back."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What of it, beyond its settings, its results depend on, such as a digest of what it searches."""

    def run(self, text: str) -> Result:
        """What the call `text` gives. Whatever is wrong with the text is told in the result.

        Raises ToolError where the tool itself fails, such as a service that cannot be reached.
        """


def cut(text: str, limit: int) -> tuple[str, bool]:
    """`text` in at most `limit` characters and a note of what is left out of its middle; whether it was cut."""
    if len(text) <= limit:
        return text, False
    first = (limit + 1) // 2
    last = limit - first
    return f"{text[:first]}\n[{len(text) - limit:,} characters left out]\n{text[len(text) - last :]}", True
