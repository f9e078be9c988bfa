"""Every error a caller can meet. Each says the thing, the value, what was expected and the next step.

    RmasError
    ├── ConfigError      a setting, flag or key           (ValueError)
    ├── PatternError     a pattern file                   (ValueError)
    ├── PromptError      a prompt pack or a chat template (ValueError)
    ├── QuestionError    a question or its context        (ValueError)
    ├── LinkError        a link design or its start       (ValueError)
    ├── BackboneError    a model: unknown, or not usable  (ValueError)
    ├── SourceError      weights: missing, altered, no room on disk
    ├── CheckpointError  a bundle: broken, or made for other backbones
    ├── ToolError        a tool: no key, no corpus, a service that cannot be reached
    └── NumericsError    a latent that is not finite

The command line prints the message on one line and leaves with exit code 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST, _FIRST = 120, 10  # names: up to so many are all listed, of more the first so many


class RmasError(Exception):
    """Something the caller can put right; the message says how."""


class ConfigError(RmasError, ValueError):
    """A setting, flag or key that is unknown or out of range."""


class PatternError(RmasError, ValueError):
    """A pattern file that does not describe a runnable loop."""


class PromptError(RmasError, ValueError):
    """A prompt pack or chat template that cannot be rendered."""


class QuestionError(RmasError, ValueError):
    """A question or private context that cannot be asked."""


class LinkError(RmasError, ValueError):
    """A link design, start or width that does not exist or does not fit."""


class BackboneError(RmasError, ValueError):
    """A model that is unknown or cannot be used as a backbone."""


class SourceError(RmasError):
    """Weights that are missing, altered, or cannot be stored."""


class CheckpointError(RmasError):
    """A bundle that is broken or belongs to other backbones."""


class ToolError(RmasError):
    """A tool that cannot be had: no key, no corpus, a service that cannot be reached."""


class NumericsError(RmasError):
    """A latent that is not finite."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that a table does not hold: the known names, at most some, and the nearest."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    more = f" and {len(names) - _FIRST:,} more" if len(names) > _MOST else ""
    told = ", ".join(names[:_FIRST] if more else names) or "none"
    return f"unknown {kind} {name!r} (have {told}{more}).{hint}"
