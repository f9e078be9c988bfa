"""TOML files whose errors name the file, the line and the key. Standard library only."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmas.errors import RmasError, unknown


@dataclass(frozen=True)
class TomlFile:
    """A parsed file that remembers its text, so that an error can point at a line."""

    path: Path
    text: str
    table: dict[str, Any]
    error: type[RmasError]

    def fail(self, key: str, problem: str) -> RmasError:
        """The error for `key` (dotted, or with an index: `edges[2]`), with its line where it can be found."""
        return self.error(f"{self.path}{self._line(key)}: {key}: {problem}")

    def only(self, table: Any, known: Iterable[str], *, prefix: str = "", kind: str = "key") -> None:
        """Refuse a `table` that is none, and a key of it that is not in `known`, naming the nearest."""
        known = tuple(known)
        if not isinstance(table, dict):
            raise self.fail(prefix.rstrip("."), f"expected a table, got {table!r}.")
        for key in table:
            if key not in known:
                raise self.fail(prefix + key, unknown(kind, key, known))

    def _line(self, key: str) -> str:
        """`:12` for the line of `key`, or of its nearest parent that is written out; nothing where none is."""
        names = [f"[\"']?{re.escape(name)}[\"']?" for name in re.sub(r"\[\d+\]", "", key).split(".")]
        place, depth = 0, 0
        headers = [(length, "[.]".join(names[:length]) + "\\]") for length in range(len(names), 0, -1)]
        for length, header in [*headers, (len(names), "[.]".join(names) + "[.]")]:
            if found := re.search(rf"^[ \t]*\[\[?{header}", self.text, re.MULTILINE):
                place, depth = found.end(), length
                break
        for name in names[depth:]:
            found = re.compile(rf"^[ \t]*{name}[ \t]*=", re.MULTILINE).search(self.text, place)
            if not found:
                break
            place = found.end()
        return f":{self.text.count(chr(10), 0, place) + 1}" if place else ""


def read_toml(path: Path, error: type[RmasError]) -> TomlFile:
    """Parse `path`; raises `error` for a missing file, text that is not UTF-8, or a TOML mistake (with its line)."""
    try:
        text = path.read_text(encoding="utf-8")
        return TomlFile(path, text, tomllib.loads(text), error)
    except FileNotFoundError:
        raise error(f"{path}: no such file. Check the path.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{path}: cannot be read ({problem}).") from None
    except tomllib.TOMLDecodeError as problem:
        raise error(f"{path}: not valid TOML: {problem}.") from None
