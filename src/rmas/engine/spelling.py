"""Ids that become a text as they come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass
class Spelling:
    """The text of growing ids. Decodes only the last few; waits for the rest of a half-spelled letter."""

    text: str = ""
    _start: int = 0
    _done: int = 0  # ids[_start:_done] were the last to be spelled

    def grow(self, decode: Callable[[Sequence[int]], str], ids: Sequence[int], *, at_end: bool = False) -> str:
        """The text of all `ids`, of which those of the calls before are the beginning. `at_end`: no more will come."""
        old = decode(ids[self._start : self._done])
        new = decode(ids[self._start :])
        if len(new) > len(old) and (at_end or not new.endswith("\ufffd")):
            self.text += new[len(old) :]
            self._start, self._done = self._done, len(ids)
        return self.text
