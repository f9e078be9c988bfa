"""What is kept of an evaluation: one JSON line a sample, written so that a kill loses at most the batch in flight.

The surprising thing: lines may stand in any order and an unfinished last one may be cut; whoever reads drops it, and a
sample that stands twice counts once. A finished run may be packed: its lines in a tenth of the room, for whoever keeps
many; what writes to it again unpacks it first.
"""

import json
import lzma
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rmas.errors import ConfigError
from rmas.eval.grade import Verdict
from rmas.wholefile import write_whole

SAMPLES, SESSIONS, SUMMARY, ORIGIN = "samples.jsonl", "sessions.jsonl", "summary.json", "origin.json"
PACKED = f"{SAMPLES}.xz"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One sample of one question: what was said, what was read in it, the verdicts, and what it took.

    `question` is a digest of question and target, `prompt` of what the answerer read. `ballot` is what the sample votes
    for: of the question's answers that say the same as its own the first; None: unparsed, or a program. `judged` and
    `judge_reply` are a judge's, where one was asked. A question's samples share one run: turns, seconds and steps,
    and the tokens of prompts and messages, stand with the first of them (`sample` 0).
    """

    id: str
    sample: int
    question: str
    prompt: str
    text: str
    extracted: str | None
    verdict: Verdict
    lenient: Verdict
    finish: str
    ballot: str | None = None
    judged: Verdict | None = None
    judge_reply: str = ""
    detail: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    prompt_tokens: int = 0
    latent_steps: int = 0
    completion_tokens: int = 0
    sequential_steps: int = 0
    seconds: float = 0.0
    turns: tuple[Mapping[str, Any], ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        return self.id, self.sample

    @property
    def is_truncated(self) -> bool:
        """It ended because its budget did."""
        return self.finish == "length"


def check_origin(folder: Path, origin: Mapping[str, str]) -> None:
    """Note what a run's records come from when it begins; refuse, when it goes on, anything else.

    `origin`: names and digests of what no setting says, such as the links and the questions. Raises ConfigError.
    """
    began = origin_of(folder)
    if not began:
        note_origin(folder, origin)
    for name in sorted(origin.keys() & began.keys()):
        if origin[name] != began[name]:
            raise ConfigError(
                f"{folder}: its {name} was {str(began[name])[:16]}, now {origin[name][:16]}. Go on with what it began "
                "with, or use a new folder."
            )


def origin_of(folder: Path) -> dict[str, str]:
    """What was noted of a run's origin; nothing where it has not begun. Raises ConfigError."""
    path = folder / ORIGIN
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as problem:
        raise ConfigError(f"{path}: cannot be read ({problem}). Use a new folder.") from None


def note_origin(folder: Path, origin: Mapping[str, str]) -> None:
    """Add to it, or change it. Raises ConfigError where the folder cannot be written."""
    replace_file(folder / ORIGIN, json.dumps(origin_of(folder) | dict(origin), indent=2))


def rewrite_records(folder: Path, records: Mapping[tuple[str, int], Record]) -> None:
    """Put these in the place of those of the same keys; others stay. All or none. Raises ConfigError."""
    rows = [asdict(record) for record in (read_records(folder) | dict(records)).values()]
    if rows:
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        replace_file(folder / SAMPLES, "\n".join(lines).encode("utf-8", "backslashreplace").decode("utf-8"))
        (folder / PACKED).unlink(missing_ok=True)


def pack_records(folder: Path) -> None:
    """Put the records of a run that nobody writes to into the packed file. Raises ConfigError."""
    if (folder / SAMPLES).exists():
        _exchange(folder, SAMPLES, PACKED, lzma.compress(_lines_of(folder)))


def _unpack(folder: Path) -> None:
    """Put the plain file in the packed one's place, where there is one."""
    if (folder / PACKED).exists():
        _exchange(folder, PACKED, SAMPLES, _lines_of(folder))


def _exchange(folder: Path, old: str, new: str, content: bytes) -> None:
    """One form of the records for the other. A kill in between leaves both; the plain one then counts."""
    try:
        write_whole(folder / new, content)
        (folder / old).unlink()
    except OSError as problem:
        raise _unwritable(folder / new, problem) from None


def _lines_of(folder: Path) -> bytes:
    """The whole lines of a run's records, packed or not. Raises ConfigError for a packed file that is damaged."""
    path = folder / SAMPLES
    if path.exists() or not (folder / PACKED).exists():
        return path.read_bytes()[: _whole_size(path)] if path.exists() else b""
    try:
        return lzma.decompress((folder / PACKED).read_bytes())
    except (OSError, lzma.LZMAError) as problem:
        raise ConfigError(
            f"{folder / PACKED}: cannot be read ({problem}). Delete it to run its questions again."
        ) from None


def append_records(folder: Path, records: Iterable[Record]) -> None:
    """Write a batch's lines in one go, on disk when this returns; what a kill left of a line is cut off first.

    Raises ConfigError where the folder cannot be written.
    """
    _unpack(folder)
    _append(folder / SAMPLES, [asdict(record) for record in records])


def note_session(folder: Path, facts: Mapping[str, Any]) -> None:
    """One line on what a session took so far; it takes the place of the session's lines before."""
    _append(folder / SESSIONS, [facts])


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """What every session of a run took by its last line, oldest first."""
    path = folder / SESSIONS
    lines = path.read_bytes()[: _whole_size(path)].decode("utf-8", "backslashreplace").splitlines()
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = dict(json.loads(line))
            rows.append(row | {"seconds": float(row.get("seconds", 0))})
        except (ValueError, TypeError) as problem:
            raise ConfigError(f"{path}:{number}: no session ({problem}). Delete the line.") from None
    return list({row.get("session", number): row for number, row in enumerate(rows)}.values())


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Put summary.json in place, whole or not at all. Raises ConfigError where the folder cannot be written."""
    replace_file(folder / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False))


def read_records(folder: Path) -> dict[tuple[str, int], Record]:
    """The records of a run by (question id, sample number); none where it has not begun. Raises ConfigError."""
    path = folder / SAMPLES
    found: dict[tuple[str, int], Record] = {}
    known = {part.name for part in fields(Record)}
    lines = _lines_of(folder).decode("utf-8", "backslashreplace").split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            table = json.loads(line)
            own = {key: value for key, value in table.items() if key in known}
            record = Record(**{**own, "turns": tuple(table["turns"])})
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise ConfigError(
                f"{path}:{number}: no record ({problem}). Delete the line; its sample will be run again."
            ) from None
        found.setdefault(record.key, record)
    return found


def replace_file(path: Path, text: str) -> None:
    """Put a file in place, whole or not at all. Raises ConfigError where it cannot be written."""
    try:
        write_whole(path, text + "\n")
    except OSError as problem:
        raise _unwritable(path, problem) from None


def _whole_size(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    if not path.exists():
        return 0
    return path.read_bytes().rfind(b"\n") + 1


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        with path.open("ab") as file:
            file.truncate(_whole_size(path))
            file.seek(0, os.SEEK_END)
            file.write(text.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise _unwritable(path, problem) from None


def _unwritable(path: Path, problem: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: cannot be written ({problem.strerror or problem}). Free some room, then resume; what stands in it "
        "stays."
    )
