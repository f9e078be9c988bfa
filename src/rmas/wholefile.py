"""A text put in place as a file, whole or not at all. No torch."""

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, text: str | bytes) -> None:
    """Write `text`, or bytes, beside `path`, then give it that name.

    Raises OSError; what stood there then stands there still.

    A lone surrogate, which UTF-8 has no bytes for, is written as its escape.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        unfinished.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace"))
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise
