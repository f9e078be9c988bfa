"""The files of a clone that `prompts.py` needs: itself, and what it imports from beside it. Nothing is run here.

The surprising thing: a package's `__init__.py` is left out where one of its modules is meant. Theirs may load a whole
deep-learning library, and none is in the sandbox.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rmas.errors import ConfigError

PROMPTS = "prompts.py"
_FOLDERS = ("", "inference", "src")  # where it lay in the versions that are known
_MOST_BYTES = 1 << 20
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+\(?([\w, \t]*)|import[ \t]+([\w., \t]+))", re.M)


def read_clone(clone: Path) -> Mapping[str, str]:
    """`prompts.py` first, then what it imports, by the path that import would look for.

    Raises ConfigError for a path that is no clone, and for files that are too big to be prompts.
    """
    folders = [clone / name for name in _FOLDERS if (clone / name / PROMPTS).is_file()]
    if not folders:
        raise ConfigError(f"{clone}: no {PROMPTS} in there. Name the folder of a clone of the authors' repository.")
    roots = list(dict.fromkeys((folders[0], clone)))
    files: dict[str, str] = {}
    pending = [PROMPTS]
    while pending:
        name = pending.pop()
        path = next((root / name for root in roots if (root / name).is_file()), None)
        if path is None or name in files:
            continue
        files[name] = _text(path)
        if sum(map(len, files.values())) > _MOST_BYTES:
            raise ConfigError(f"{clone}: {PROMPTS} imports more than {_MOST_BYTES >> 20} MiB of files. Expected texts.")
        pending += _imported(files[name], name)
    return files


def _imported(source: str, name: str) -> Iterator[str]:
    """The files that the imports of `source` may mean, relative to the folder that it lies in or to the root."""
    for module, names, plain in _IMPORT.findall(source):
        if module:
            base = name.rpartition("/")[0] if module.startswith(".") else ""
            folder = "/".join(filter(None, [base, *module.strip(".").split(".")]))
            yield f"{folder}.py"
            yield from (f"{folder}/{part.split()[0]}.py" for part in names.split(",") if part.strip())
            if "." not in module.strip("."):
                yield f"{folder}/__init__.py"
        yield from (f"{part.split()[0].replace('.', '/')}.py" for part in plain.split(",") if part.strip())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: cannot be read ({problem}). Expected a file of UTF-8 text.") from None
