"""The tool `search`: a query to a provider, its passages back as a numbered list.

Who searches is a provider: a local corpus (corpus.py, the default, without a network) or the web (web.py).
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, final

from rmas.tools.example import Example
from rmas.tools.tool import Result

HITS = 4  # of a query
_SHORT = 200  # characters of a title, and of a place
_NOTHING = "[nothing found]"
SEARCH_EXAMPLE = Example(
    question="Who wrote the Song of Avar?",
    request="Song of Avar",
    result="[1] Song of Avar (avar.md): The Song of Avar was written by Ada Brun.",
    answer="Ada Brun",
)


class Hit(NamedTuple):
    """A passage. `place`: a file or an address."""

    title: str
    place: str
    text: str


class Provider(Protocol):
    """Finds passages, from any thread."""

    @property
    def about(self) -> str:
        """What it searches, in a word or two."""

    @property
    def digest(self) -> str:
        """Of what it searches; nothing where nobody knows."""

    def find(self, query: str, count: int) -> Sequence[Hit]:
        """At most `count` passages, the best first; none where there are none. Raises ToolError: it cannot search."""


@final
class SearchTool:
    """Asks a provider. `chars`: of a result; each of its passages gets an equal share."""

    name = "search"

    def __init__(self, provider: Provider, *, chars: int = 4000) -> None:
        self._provider, self._chars = provider, chars

    @property
    def description(self) -> str:
        return search_described(self._provider.about)

    @property
    def facts(self) -> Mapping[str, str]:
        return {"search": self._provider.digest or self._provider.about}

    def run(self, text: str) -> Result:
        """Raises ToolError where the provider cannot search."""
        began = time.monotonic()
        hits = self._provider.find(" ".join(text.split()), HITS)
        shown = [_shown(number, hit, self._chars // HITS) for number, hit in enumerate(hits, 1)]
        told = "\n".join(text for text, _ in shown) or _NOTHING
        return Result(told, time.monotonic() - began, any(is_cut for _, is_cut in shown))


def search_described(about: str) -> str:
    """What a prompt says of the tool, where its provider searches `about`."""
    return f"<search>capital of Australia</search> searches {about} and gives back the best passages."


def _shown(number: int, hit: Hit, chars: int) -> tuple[str, bool]:
    """One passage on one line; its beginning where it is longer."""
    text, title, place = (re.sub(r"\s+", " ", part).strip() for part in (hit.text, hit.title, hit.place))
    is_cut = len(text) > chars
    rest = f" [{len(text) - chars:,} characters left out]" if is_cut else ""
    return f"[{number}] {title[:_SHORT]} ({place[:_SHORT]}): {text[:chars]}{rest}", is_cut
