"""Runs in the sandbox: imports prompts.py and calls its builders. Standard library only, never imported by us.

Reads a JSON list of calls on stdin; writes a JSON object with an answer to each, or why there is none. What the
module itself prints goes to stderr.
"""

import json
import sys
import traceback
import types


def main() -> None:
    calls, out = json.load(sys.stdin), sys.stdout
    sys.stdout = sys.stderr
    sys.path.insert(0, "clone")
    try:
        import prompts  # type: ignore[import-not-found]  # of the clone
    except BaseException as problem:  # noqa: BLE001 (theirs may raise anything)
        json.dump({"broken": told(problem)}, out)
        return
    json.dump({"answers": [answer(prompts, call) for call in calls]}, out)


def answer(prompts: types.ModuleType, call: dict) -> dict:  # type: ignore[type-arg]
    """`text`: what it gave; `missing`: nothing of that name; `error`: what it raised, or gave instead of a text."""
    if not hasattr(prompts, call["name"]):
        return {"missing": True}
    found = getattr(prompts, call["name"])
    if "keywords" not in call:
        return {"text": found} if isinstance(found, str) else {"error": f"is {type(found).__name__}, expected a text"}
    keywords = dict(call["keywords"])
    if "args" in keywords:
        keywords["args"] = types.SimpleNamespace(**call["args"])
    try:
        text = found(call["question"], **keywords)
    except BaseException as problem:  # noqa: BLE001
        return {"error": f"raises {told(problem)}"}
    return {"text": text} if isinstance(text, str) else {"error": f"gives {type(text).__name__}, expected a text"}


def told(problem: BaseException) -> str:
    """The error on one line, with the line of theirs that it came from."""
    if isinstance(problem, SyntaxError):
        return f"SyntaxError: {problem.msg} (line {problem.lineno})"
    frames = traceback.extract_tb(problem.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if "clone" in frame.filename), None)
    where = "" if line is None else f" (line {line})"
    return f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}{where}"


main()
