"""Calls: found in what a row writes, run beside the batch, their results read into the row's own state.

A closing tag, `</python>`, calls its tool with what stands since the last opening tag of that tool, behind the call
before. Case does not matter, nor do other tags in between, nor fences around it; without an opening tag it is text. The
call happens at the token that closes the tag. What comes back is `<result>…</result>`, in which nothing can close that
tag or open another.

The surprising thing: a row that calls leaves the batch for good, with its state, and the others go on as if it had
never been there. When none of them goes on, those that called form the next batch. So who shares a batch depends on
what is written and never on how long a tool takes.

`B` batch, `D` width.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from rmas.backbone import Backbone, State
from rmas.engine.trace import Call, Limit
from rmas.tools import TOOLS, Result, Toolbox
from rmas.tools.tool import cut

_AT_A_TIME = 8  # calls under way
_CHARS_A_TOKEN = 8  # in the text of a result, at most
_RESULT = "\n<result>\n{}\n</result>\n"
_EMPTY = "[the call is empty: write what to run between the tags]"
_NO_ROOM = "[a result of {:,} characters, for which there is no room]"
_LIMITS: Mapping[Limit, str] = {
    "calls": "[not run: all {} calls are used up. Answer with what you have.]",
    "seconds": "[not run: the {} seconds for calls are used up. Answer with what you have.]",
    "tokens": "[not run: there is no room for further results. Answer with what you have.]",
}


class Found(NamedTuple):
    """A call in a text: its tool, what it is given, and where it ends."""

    tool: str
    request: str
    end: int


def find_call(text: str, tools: Collection[str], begin: int = 0) -> Found | None:
    """The first call behind `begin`, or None."""
    names = "|".join(map(re.escape, tools))
    for closing in re.compile(f"</({names})>", re.IGNORECASE).finditer(text, begin):
        openings = re.compile(f"<{closing[1]}>", re.IGNORECASE).finditer(text, begin, closing.start())
        if ends := [opening.end() for opening in openings]:
            return Found(closing[1].lower(), text[ends[-1] : closing.start()].strip("\n"), closing.end())
    return None


def defanged(text: str, tools: Iterable[str]) -> str:
    """`text` in which no tag that means something here begins: `&lt;/result>`."""
    names = "|".join(map(re.escape, sorted({"result", *TOOLS, *tools})))
    return re.sub(rf"<(?=\s*/?\s*(?:{names})\b)", "&lt;", text, flags=re.IGNORECASE)


def written_result(text: str, tools: Iterable[str]) -> str:
    """A result as the model reads it."""
    return _RESULT.format(defanged(text, tools))


def least_tokens(backbone: Backbone, box: Toolbox) -> int:
    """What there has to be room for beside an answer: the longest word that a limit is reached."""
    return max(len(backbone.encode(written_result(_told(limit, box), ()))) for limit in _LIMITS)


def _told(limit: Limit, box: Toolbox) -> str:
    return _LIMITS[limit].format({"calls": box.config.calls, "seconds": f"{box.config.seconds:g}"}.get(limit))


@dataclass
class Account:
    """A row's calls. `tokens`: the positions that are left for results, the word about a limit included.

    `begin`: where in its text the last call ended. `is_closed`: it was told of a limit; what follows is text.
    """

    tokens: int
    calls: list[Call]
    begin: int = 0
    is_closed: bool = False

    @property
    def num_run(self) -> int:
        return sum(call.limit is None for call in self.calls)

    @property
    def seconds(self) -> float:
        return sum(call.seconds for call in self.calls)


class _Waiting(NamedTuple):
    """A row that called: its state before the token that closed the tag, that token, and the answer to come."""

    state: State
    token: int
    found: Found
    limit: Limit | None
    future: "Future[Result] | None"


@final
class Desk:
    """Where rows hand in their calls and are called up again. One for each `speak`; `close` it.

    `accounts`: one a row, with the room that its context has. A row is told of a limit once; after that its calls are
    text like any other.
    """

    def __init__(self, backbone: Backbone, box: Toolbox, accounts: Sequence[Account]) -> None:
        self._backbone, self._box, self._accounts = backbone, box, accounts
        self._least = least_tokens(backbone, box)
        self._no_room = len(backbone.encode(written_result(_NO_ROOM.format(10**9), ())))
        for account in accounts:
            account.tokens = min(account.tokens, box.config.tokens)
        self._pool = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="tool")
        self._waiting: dict[int, _Waiting] = {}

    def close(self) -> None:
        """Wait for nobody: calls under way end by their own limits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def find(self, row: int, text: str) -> Found | None:
        """The call that the end of a row's text has just completed, where the row may still make one."""
        account = self._accounts[row]
        if account.is_closed or account.tokens < self._least or text.find("</", account.begin) < 0:
            return None
        return find_call(text, self._box.tools, account.begin)

    def take(self, row: int, found: Found, token: int, state: State) -> None:
        """Begin a call. `state`: the row's own, of one row, before the `token` that completed it."""
        account = self._accounts[row]
        limit = self._limit(account)
        account.begin, account.is_closed = found.end, limit is not None
        runs = limit is None and bool(found.request.strip())
        future = self._pool.submit(self._box.tools[found.tool].run, found.request) if runs else None
        self._waiting[row] = _Waiting(state, token, found, limit, future)

    def resume(self) -> tuple[list[int], Tensor, State] | None:
        """The rows that wait, with their results read: -> rows, h_BD, state. None where nobody waits.

        Raises what a tool raised.
        """
        if not self._waiting:
            return None
        waiting, self._waiting = dict(sorted(self._waiting.items())), {}
        read = [self._read(row, told) for row, told in waiting.items()]
        (_, first), *others = read
        return list(waiting), torch.cat([h_1D for h_1D, _ in read]), first.join([state for _, state in others])

    def _limit(self, account: Account) -> Limit | None:
        """Which limit stands in the way of another call."""
        if account.num_run >= self._box.config.calls:
            return "calls"
        if account.seconds >= self._box.config.seconds:
            return "seconds"
        return "tokens" if account.tokens < self._least + self._no_room else None

    def _read(self, row: int, waiting: _Waiting) -> tuple[Tensor, State]:
        """Read the closing token and the result: -> h_1D and the state of one row."""
        account, limit = self._accounts[row], waiting.limit
        if waiting.future is not None:
            result = waiting.future.result()
        else:
            result = Result(_EMPTY if limit is None else _told(limit, self._box), 0.0, False)
        room = account.tokens if limit is not None else account.tokens - self._least
        text, ids, is_shortened = self._fitting(result.text, room)
        account.tokens -= len(ids)
        account.calls.append(
            Call(
                tool=waiting.found.tool,
                call_chars=len(waiting.found.request),
                result_chars=len(text),
                result_tokens=len(ids),
                seconds=result.seconds,
                is_cut=result.is_cut or is_shortened,
                limit=limit,
                result=text,
            )
        )
        ids_1T = torch.tensor([[waiting.token, *ids]], device=self._backbone.device)
        h_1TD, state = self._backbone.extend(waiting.state, self._backbone.embed(ids_1T))
        return h_1TD[:, -1], state

    def _fitting(self, text: str, tokens: int) -> tuple[str, list[int], bool]:
        """A result in at most so many tokens: as the model reads it, and whether its middle had to be left out."""
        chars = min(len(text), _CHARS_A_TOKEN * tokens)  # so that a very long one is not encoded whole
        shown = cut(text, chars)[0]
        while True:
            written = written_result(shown, self._box.tools)
            ids = self._backbone.encode(written)
            if len(ids) <= tokens or chars == 0:
                return written.strip("\n"), ids, shown != text
            chars = min(chars * 9 // 10, chars * tokens // len(ids))
            shown = cut(text, chars)[0] if chars else _NO_ROOM.format(len(text))
