"""Search on the web: Tavily, which wants a key, and ddgs, which asks several engines and wants none.

A service that cannot be reached, or that refuses, is an error in one line after some tries: never a made-up result.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, final

from rmas.errors import ToolError
from rmas.tools.search import Hit

TRIES = 3
PAUSE = 1.0  # seconds before the second try; twice as many before the third
_SECONDS = 20  # that a service may take to answer
T = TypeVar("T")


@final
class Tavily:
    """Asks Tavily, in its advanced mode."""

    about, digest = "the web", ""

    def __init__(self, key: str, *, pause: float = PAUSE) -> None:
        """Raises ToolError without a key, or without the package. Reaches out to nobody yet."""
        if not key:
            raise ToolError("tavily needs a key, and there is none. Set TAVILY_API_KEY, or search with corpus or ddgs.")
        try:
            import tavily
        except ImportError:
            raise ToolError("tavily needs tavily-python: pip install 'rmas[tools]'.") from None
        self._client, self._pause = tavily.TavilyClient(api_key=key), pause

    def find(self, query: str, count: int) -> Sequence[Hit]:
        """Raises ToolError where Tavily cannot be reached, refuses the key or has no more to give."""
        import requests
        from tavily import errors

        lasting = (errors.InvalidAPIKeyError, errors.ForbiddenError, errors.BadRequestError, errors.MissingAPIKeyError)
        passing = (errors.UsageLimitExceededError, errors.TimeoutError, requests.RequestException)
        rows = _tried(
            "tavily",
            lambda: self._client.search(query, search_depth="advanced", max_results=count, timeout=_SECONDS),
            lasting=lasting,
            passing=passing,
            pause=self._pause,
        )
        return [_hit(row, "url", "content") for row in rows.get("results", ())[:count]]


@final
class Ddgs:
    """Asks the engines that ddgs knows."""

    about, digest = "the web", ""

    def __init__(self, *, pause: float = PAUSE) -> None:
        """Raises ToolError without the package. Reaches out to nobody yet."""
        try:
            import ddgs  # noqa: F401 (is it there?)
        except ImportError:
            raise ToolError("ddgs is not installed: pip install 'rmas[tools]'.") from None
        self._pause = pause

    def find(self, query: str, count: int) -> Sequence[Hit]:
        """Raises ToolError where no engine can be reached."""
        from ddgs import DDGS
        from ddgs.exceptions import DDGSException

        def ask() -> Sequence[Mapping[str, Any]]:
            try:
                return list(DDGS(timeout=_SECONDS).text(query, max_results=count))
            except DDGSException as problem:
                if str(problem) == "No results found.":  # its way to say so
                    return []
                raise

        rows = _tried("ddgs", ask, lasting=(), passing=(DDGSException,), pause=self._pause)
        return [_hit(row, "href", "body") for row in rows]


def _tried(
    name: str,
    ask: Callable[[], T],
    *,
    lasting: tuple[type[Exception], ...],
    passing: tuple[type[Exception], ...],
    pause: float,
) -> T:
    """What `ask` gives, after TRIES tries for what may pass. Raises ToolError with the last reason."""
    for number in range(TRIES):
        try:
            return ask()
        except lasting as problem:
            raise ToolError(f"{name}: {_reason(problem)}. Check the key and what it may do.") from None
        except passing as problem:
            if number == TRIES - 1:
                raise ToolError(
                    f"{name} cannot be asked: {_reason(problem)}. Check the network, or search with corpus."
                ) from None
            time.sleep(pause * 2**number)
    raise AssertionError("the last try returns or raises")


def _reason(problem: Exception) -> str:
    """The first line of what went wrong."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0].rstrip(".")[:200]


def _hit(row: Mapping[str, Any], place: str, text: str) -> Hit:
    return Hit(str(row.get("title", "")), str(row.get(place, "")), str(row.get(text, "")))
