"""Speaking: sampling, stop strings and streaming, one column of tokens at a time.

Each row draws from its own generator on the CPU, so a sample depends on its seed alone, not on the batch around it
nor on the device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from rmas.backbone import Backbone, State
from rmas.engine.calls import Account, Desk
from rmas.engine.spelling import Spelling
from rmas.engine.trace import Call
from rmas.engine.turn import Read, most_likely
from rmas.errors import NumericsError
from rmas.settings import Sampling
from rmas.tools import Toolbox


@dataclass
class Row:
    """One text as it grows. `text` never shows what a later token could still take back."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    finish: Literal["eos", "stop", "length"] | None = None
    is_waiting: bool = False  # for a call
    calls: list[Call] = field(default_factory=list)
    _spelling: Spelling = field(default_factory=Spelling)

    def push(self, token: int, backbone: Backbone, sampling: Sampling) -> None:
        """Add one token; sets `finish` when it ended the text."""
        self.ids.append(token)
        is_eos = token in backbone.eos_ids
        is_full = len(self.ids) == sampling.max_new_tokens
        ids = self.ids[:-1] if is_eos else self.ids
        whole = self._spelling.grow(backbone.decode, ids, at_end=is_eos or is_full)
        for cut in sorted(position for stop in sampling.stop if (position := whole.find(stop)) >= 0)[:1]:
            self.text, self.finish = whole[:cut], "stop"
            return
        if is_eos or is_full:
            self.text, self.finish = whole, "eos" if is_eos else "length"
            return
        self.text = whole[: len(whole) - _held_back(whole, sampling.stop)]

    @property
    def result_tokens(self) -> int:
        """What was read for its calls."""
        return sum(call.result_tokens for call in self.calls)

    @property
    def spelled(self) -> str:
        """All text so far, what a stop string could still take back included."""
        return self._spelling.text


def speak(
    backbone: Backbone,
    start: Read,
    sampling: Sampling,
    generators: Sequence[torch.Generator],
    *,
    tools: Toolbox | None = None,
) -> Iterator[list[Row]]:
    """Decode text for each of B·samples rows; yields the rows after every column, until all have finished.

    `generators`: one a row, unused when greedy. Rows that have finished leave the batch, an eighth of it or
    more at a time; one that calls one of `tools` leaves it at once, and goes on with those that called as well. Its
    text is what it wrote, results left out. `start` is let go of at once; a caller who keeps it keeps the whole
    prompt's keys and values. Raises NumericsError where the prompt's last state is not finite, and what a tool raises.
    """
    if not torch.isfinite(start.h_BD).all():
        raise NumericsError(f"{backbone.name}: the state it would speak from is not finite. Run in float32.")
    state, h_BD = start.state.repeat(sampling.samples), start.h_BD.repeat_interleave(sampling.samples, dim=0)
    rooms = [backbone.context - length - sampling.max_new_tokens for length in start.lengths]
    del start
    rows = [Row() for _ in range(len(h_BD))]
    accounts = [Account(rooms[i // sampling.samples], row.calls) for i, row in enumerate(rows)]
    desk = None if tools is None else Desk(backbone, tools, accounts)
    columns = _columns(backbone, h_BD, state, sampling, generators, rows, desk)
    del h_BD, state
    try:
        yield from columns
    finally:
        if desk is not None:
            desk.close()


def _columns(
    backbone: Backbone,
    h_BD: Tensor,
    state: State,
    sampling: Sampling,
    generators: Sequence[torch.Generator],
    rows: list[Row],
    desk: Desk | None,
) -> Iterator[list[Row]]:
    live = list(range(len(rows)))
    while True:
        tokens = pick(backbone.logits(h_BD), sampling, [generators[i] for i in live])
        for place, (i, token) in enumerate(zip(live, tokens, strict=True)):
            if rows[i].finish is not None:
                continue
            rows[i].push(token, backbone, sampling)
            if desk and rows[i].finish is None and (found := desk.find(i, rows[i].ids, rows[i].spelled)):
                desk.take(i, found, token, state.select([place]))
                rows[i].is_waiting = True
        yield rows
        going = [place for place, i in enumerate(live) if rows[i].finish is None and not rows[i].is_waiting]
        if not going:
            resumed = None if desk is None else desk.resume()
            if resumed is None:
                return
            live, h_BD, state = resumed
            for i in live:
                rows[i].is_waiting = False
            continue
        if 8 * len(going) <= 7 * len(live) or any(rows[i].is_waiting for i in live):
            live, tokens, state = [live[p] for p in going], [tokens[p] for p in going], state.select(going)
        h_BD, state = _step(backbone, state, tokens)


def pick(logits_BV: Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> list[int]:
    """One token per row. Order of the filters: temperature, top-k, top-p, as in transformers."""
    if sampling.temperature == 0:
        return most_likely(logits_BV).tolist()
    p_BV = filtered(logits_BV.float(), sampling).softmax(-1).cpu()
    return [
        int(torch.multinomial(p_V, 1, generator=generator)) for p_V, generator in zip(p_BV, generators, strict=True)
    ]


def filtered(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """Logits with the temperature applied and what top-k and top-p drop at minus infinity."""
    logits_BV = logits_BV / sampling.temperature
    if 0 < sampling.top_k < logits_BV.shape[-1]:
        floor_B1 = logits_BV.topk(sampling.top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < floor_B1, -torch.inf)
    if sampling.top_p < 1:
        ranked_BV, order_BV = logits_BV.sort(descending=True)
        before_BV = ranked_BV.softmax(-1).cumsum(-1) - ranked_BV.softmax(-1)  # mass above each token: the first stays
        drop_BV = torch.zeros_like(before_BV, dtype=torch.bool).scatter(-1, order_BV, before_BV >= sampling.top_p)
        logits_BV = logits_BV.masked_fill(drop_BV, -torch.inf)
    return logits_BV


def teacher_force(backbone: Backbone, start: Read, ids_BT: Tensor) -> Tensor:
    """The logits with which `start` would write ids_BT -> logits_BTV. Pad targets on the right; gradients flow."""
    return backbone.logits(target_states(backbone, start, ids_BT))


def target_states(backbone: Backbone, start: Read, ids_BT: Tensor) -> Tensor:
    """The states from which `start` would write ids_BT, one token each -> h_BTD. Pad targets on the right."""
    h_B1D = start.h_BD[:, None]
    if ids_BT.shape[1] == 1:
        return h_B1D
    h_BTD, _ = backbone.extend(start.state, backbone.embed(ids_BT[:, :-1]))
    return torch.cat([h_B1D, h_BTD], dim=1)


def _step(backbone: Backbone, state: State, tokens: Sequence[int]) -> tuple[Tensor, State]:
    ids_B1 = torch.tensor(tokens, device=backbone.device)[:, None]
    h_B1D, state = backbone.extend(state, backbone.embed(ids_B1))
    return h_B1D[:, 0], state


def _held_back(text: str, stops: Sequence[str]) -> int:
    """The length of the longest end of `text` that could be the beginning of a stop string."""
    lengths = (size for stop in stops for size in range(len(stop) - 1, 0, -1) if text.endswith(stop[:size]))
    return max(lengths, default=0)
