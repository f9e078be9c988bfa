"""How a call stands in a text, and how its result is read: in tags of ours here, as a model's family does in native.py.

A closing tag, `</python>`, calls its tool with what stands since the last opening tag of that tool, behind the call
before. Case does not matter, nor do other tags in between, nor fences around it; without an opening tag it is text.
What comes back is `<result>…</result>`, in which nothing can close that tag or open another.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, final

_RESULT = "\n<result>\n{}\n</result>\n"
_EMPTY = "[the call is empty: write what to run between the tags]"


class Found(NamedTuple):
    """A call in a text: its tool, what it is given, and where it ends. `problem`: told in the place of a result, where
    there is nothing to run."""

    tool: str
    request: str
    end: int
    problem: str = ""


class Written(NamedTuple):
    """A result as a model reads it: a text, between ids that may be control tokens."""

    text: str
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def ids(self, encode: Callable[[str], list[int]]) -> list[int]:
        """`encode`: of text that someone wrote, so that it never yields a control token."""
        return [*self.before, *encode(self.text), *self.after]


class Format(Protocol):
    """Finds calls in what a model writes, and writes what came back."""

    @property
    def schemas(self) -> Sequence[Mapping[str, Any]]:
        """The tools as a chat template tells of them; none: the prompt does."""

    @property
    def has_control(self) -> bool:
        """Whether control tokens are spelled out in the text that it looks at."""

    def find(self, text: str, begin: int = 0) -> Found | None:
        """The first call behind `begin`, or None."""

    def written(self, text: str) -> Written:
        """A result as the model reads it."""


@final
@dataclass(frozen=True)
class Tags:
    """Calls in tags of ours. `tools`: that may be called; `known`: further tags that no result can hold."""

    tools: Collection[str]
    known: Collection[str] = ()
    schemas = ()
    has_control = False

    def find(self, text: str, begin: int = 0) -> Found | None:
        if text.find("</", begin) < 0:
            return None
        for closing in re.compile(f"</({_any(self.tools)})>", re.IGNORECASE).finditer(text, begin):
            if (body := enclosed(text, re.compile(f"<{closing[1]}>", re.IGNORECASE), begin, closing)) is not None:
                problem = "" if body.strip() else _EMPTY
                return Found(closing[1].lower(), body.strip("\n"), closing.end(), problem)
        return None

    def written(self, text: str) -> Written:
        return Written(_RESULT.format(defanged(text, {"result", *self.known, *self.tools})))


def enclosed(text: str, opening: re.Pattern[str], begin: int, closing: re.Match[str]) -> str | None:
    """What stands between the last opening behind `begin` and `closing`; None without an opening."""
    ends = [found.end() for found in opening.finditer(text, begin, closing.start())]
    return text[ends[-1] : closing.start()] if ends else None


def defanged(text: str, tags: Collection[str]) -> str:
    """`text` in which none of these tags begins: `&lt;/result>`."""
    if not tags:
        return text
    return re.sub(rf"<(?=\s*/?\s*(?:{_any(tags)})\b)", "&lt;", text, flags=re.IGNORECASE)


def _any(names: Collection[str]) -> str:
    return "|".join(map(re.escape, sorted(names)))
