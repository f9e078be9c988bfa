"""Their builders, called in the sandbox: no network, no files but those of the clone, ten seconds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rmas.errors import PromptError
from rmas.tools import Limits, Outcome, Sandbox

_INSIDE = Path(__file__).with_name("inside.py")
_LIMITS = Limits(output_kib=4096)
_ARGS = {"solver_pre_question": 0}


class Call(NamedTuple):
    """A constant by name (`keywords` None), or a builder with a question and more, as pairs of name and value."""

    name: str
    question: str = ""
    keywords: tuple[tuple[str, Any], ...] | None = None


def call_all(
    files: Mapping[str, str], calls: Sequence[Call], sandbox: Sandbox, *, choice_prompt: int
) -> list[str | None]:
    """The text of each call; None where there is nothing of that name. `choice_prompt`: their choice_old_prompt.

    Raises PromptError: the module that cannot be imported, what a builder raised, no end, no answer.
    """
    asked = [
        {"name": call.name}
        if call.keywords is None
        else {**call._asdict(), "args": {**_ARGS, "choice_old_prompt": choice_prompt}}
        for call in calls
    ]
    outcome = sandbox.run(
        _INSIDE.read_text(encoding="utf-8"),
        stdin=json.dumps(asked),
        limits=_LIMITS,
        files={f"clone/{name}": text for name, text in files.items()},
    )
    told = _told(outcome, len(calls))
    if "broken" in told:
        raise PromptError(f"prompts.py: {told['broken']}. Its module cannot be imported here.")
    return [_text(call, answer) for call, answer in zip(calls, told["answers"], strict=True)]


def _told(outcome: Outcome, count: int) -> dict[str, Any]:
    if outcome.stopped_by:
        raise PromptError(
            f"prompts.py: ended at a limit of the sandbox ({outcome.stopped_by}). Expected functions that give texts."
        )
    try:
        told = json.loads(outcome.stdout)
    except ValueError:
        told = None
    if isinstance(told, dict) and isinstance(told.get("broken"), str):
        return told
    if isinstance(told, dict) and isinstance(told.get("answers"), list) and len(told["answers"]) == count:
        return told
    raise PromptError(
        f"prompts.py: it left with {outcome.exit_code} and no answer. Expected functions that give texts."
    )


def _text(call: Call, answer: Any) -> str | None:
    if isinstance(answer, dict) and isinstance(answer.get("text"), str):
        return str(answer["text"])
    if isinstance(answer, dict) and answer.get("missing") is True:
        return None
    problem = answer.get("error") if isinstance(answer, dict) else "gives no text"
    raise PromptError(f"{call.name}: {problem}. It was called with {dict(call.keywords or {})}.")
