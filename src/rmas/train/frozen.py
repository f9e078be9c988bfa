"""What a training leaves as it is: named by a digest, so that a run is not resumed on other models, words or data."""

import hashlib
import json
from collections.abc import Collection, Sequence

from rmas.backbone import read_adapter
from rmas.checkpoint import digest, manifest_of
from rmas.system import System
from rmas.train.data import Example

_NO_MATTER = ("links", "start", "max_new_tokens", "rounds", "latent_steps")  # of a system file: told otherwise, or told


def frozen_digest(system: System, trained: Collection[str], examples: Sequence[Example]) -> str:
    """SHA-256 over all that a step depends on and does not change.

    The backbones' identities and dtypes, every link's design, the link tensors that are not in `trained`, the pattern,
    the system file, the prompts as they read for the first examples, and every example with its answers and targets.
    """
    spec = system.spec
    rest = {name: tensor for name, tensor in system.state_dict().items() if name not in trained}
    parts = [
        json.dumps(manifest_of(system), sort_keys=True),
        digest(rest),
        str(spec.pattern),
        json.dumps({key: spec.table[key] for key in sorted(spec.table) if key not in _NO_MATTER}, default=str),
        str([(role, str(backbone.dtype)) for role, backbone in system.backbones.items()]),
        *(str(system.render(role, e.question, frozenset())) for role in spec.pattern.roles for e in examples[:2]),
        str([(e.key, e.answer, e.answers, sorted(e.targets.items())) for e in examples]),
        *([] if spec.begun is None else [digest(read_adapter(spec.begun))]),
    ]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogatepass")).hexdigest()
