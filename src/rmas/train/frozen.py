"""What a training leaves as it is: named by a digest, so that a run is not resumed on other models or other links."""

import hashlib
import json
from collections.abc import Collection

from rmas.checkpoint import digest, manifest_of
from rmas.system import System


def frozen_digest(system: System, trained: Collection[str]) -> str:
    """SHA-256 over the backbones' identities, every link's design, and the link tensors that are not in `trained`."""
    rest = {name: tensor for name, tensor in system.state_dict().items() if name not in trained}
    manifest = json.dumps(manifest_of(system), sort_keys=True)
    return hashlib.sha256(f"{manifest}\n{digest(rest)}".encode()).hexdigest()
