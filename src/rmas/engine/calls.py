"""Calls: found in what a row writes, run beside the batch, their results read into the row's own state.

What a call looks like, and what is read for it, the format of a Toolbox says. The call happens at the token that
completes it.

The surprising thing: a row that calls leaves the batch for good, with its state, and the others go on as if it had
never been there. When none of them goes on, those that called form the next batch. So who shares a batch depends on
what is written and never on how long a tool takes.

`B` batch, `D` width.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, final

import torch
from torch import Tensor

from rmas.backbone import Backbone, State
from rmas.engine.spelling import Spelling
from rmas.engine.trace import Call, Limit
from rmas.tools import Result, Toolbox
from rmas.tools.format import Found
from rmas.tools.tool import cut

_AT_A_TIME = 8  # calls under way
_CHARS_A_TOKEN = 8  # in the text of a result, at most
_NO_ROOM = "[a result of {:,} characters, for which there is no room]"
_LIMITS: Mapping[Limit, str] = {
    "calls": "[not run: all {} calls are used up. Answer with what you have.]",
    "seconds": "[not run: the {} seconds for calls are used up. Answer with what you have.]",
    "tokens": "[not run: there is no room for further results. Answer with what you have.]",
}


def least_tokens(backbone: Backbone, box: Toolbox) -> int:
    """What there has to be room for beside an answer: the longest word that a limit is reached."""
    return max(len(box.format.written(_told(limit, box)).ids(backbone.encode)) for limit in _LIMITS)


def _told(limit: Limit, box: Toolbox) -> str:
    return _LIMITS[limit].format({"calls": box.config.calls, "seconds": f"{box.config.seconds:g}"}.get(limit))


@dataclass
class Account:
    """A row's calls. `tokens`: the positions that are left for results, the word about a limit included.

    `begin`: where in its text the last call ended. `is_closed`: it was told of a limit; what follows is text.
    `spelling`: of its text with control tokens, for formats that want it.
    """

    tokens: int
    calls: list[Call]
    begin: int = 0
    is_closed: bool = False
    spelling: Spelling = field(default_factory=Spelling)

    @property
    def num_run(self) -> int:
        return sum(call.limit is None for call in self.calls)

    @property
    def seconds(self) -> float:
        return sum(call.seconds for call in self.calls)


class _Waiting(NamedTuple):
    """A row that called: its state before the token that completed the call, that token, and the answer to come."""

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
        self._no_room = len(box.format.written(_NO_ROOM.format(10**9)).ids(backbone.encode))
        for account in accounts:
            account.tokens = min(account.tokens, box.config.tokens)
        self._pool = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="tool")
        self._waiting: dict[int, _Waiting] = {}

    def close(self) -> None:
        """Wait for nobody: calls under way end by their own limits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def find(self, row: int, ids: Sequence[int], text: str) -> Found | None:
        """The call that a row's last token has just completed, where the row may still make one. `text`: of its `ids`,
        without control tokens. Ask at every token."""
        account = self._accounts[row]
        if account.is_closed or account.tokens < self._least:
            return None
        if self._box.format.has_control:
            text = account.spelling.grow(partial(self._backbone.decode, control=True), ids)
        return self._box.format.find(text, account.begin)

    def take(self, row: int, found: Found, token: int, state: State) -> None:
        """Begin a call. `state`: the row's own, of one row, before the `token` that completed it."""
        account = self._accounts[row]
        limit = self._limit(account)
        account.begin, account.is_closed = found.end, limit is not None
        runs = limit is None and not found.problem
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
        """Read the token that completed the call, and the result: -> h_1D and the state of one row."""
        account, limit = self._accounts[row], waiting.limit
        if waiting.future is not None:
            result = waiting.future.result()
        else:
            result = Result(waiting.found.problem if limit is None else _told(limit, self._box), 0.0, False)
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
            written = self._box.format.written(shown)
            ids = written.ids(self._backbone.encode)
            if len(ids) <= tokens or chars == 0:
                return written.text.strip("\n"), ids, shown != text
            chars = min(chars * 9 // 10, chars * tokens // len(ids))
            shown = cut(text, chars)[0] if chars else _NO_ROOM.format(len(text))
