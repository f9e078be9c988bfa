"""Frozen language models behind one protocol. The only package that imports transformers and peft.

protocol.py   Backbone and State: what the engine knows
state.py      CachedState, RecomputeState: what has been read so far; immutable
cache.py      keys and values with room behind them: no copy at every step
hf.py         HFBackbone: any transformers causal language model
text.py       TextTokenizer: template text and other people's text, kept apart
adapter.py    fine-tuning, for the baselines: a low-rank adapter, or all weights
load.py       from a folder, a GGUF file, or a tiny random config
tiny.py       the zoo of tiny random models, one row a family
"""

from rmas.backbone.adapter import (
    add_adapter,
    copy_backbone,
    free_weights,
    merge_adapter,
    read_adapter,
    save_adapter,
    save_weights,
    settle_adapter,
)
from rmas.backbone.hf import HFBackbone
from rmas.backbone.load import convert_gguf, load_backbone, pick_device, pick_dtype
from rmas.backbone.protocol import Backbone, State
from rmas.backbone.state import CachedState, RecomputeState
from rmas.backbone.text import TextTokenizer
from rmas.backbone.tiny import TINY, new_backbone, tiny_backbone

__all__ = [
    "TINY",
    "Backbone",
    "CachedState",
    "HFBackbone",
    "RecomputeState",
    "State",
    "TextTokenizer",
    "add_adapter",
    "convert_gguf",
    "copy_backbone",
    "free_weights",
    "load_backbone",
    "merge_adapter",
    "new_backbone",
    "pick_device",
    "pick_dtype",
    "read_adapter",
    "save_adapter",
    "save_weights",
    "settle_adapter",
    "tiny_backbone",
]
