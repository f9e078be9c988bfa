"""Tiny random models for tests and examples: one row of config a family, built in the process, no download.

The weights are drawn wide enough (0.1) that tokens matter; the tokenizer spells bytes and has a small chat template.
"""

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from rmas.backbone.hf import HFBackbone
from rmas.backbone.text import TextTokenizer
from rmas.errors import BackboneError, unknown

_SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>")
_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + _TEMPLATE
_SIZES = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.1,
}


def _row(width: int, head_dim: int, template: str | None = _TEMPLATE, **extra: Any) -> dict[str, Any]:
    config = _SIZES | {"hidden_size": width, "intermediate_size": 2 * width, "head_dim": head_dim} | extra
    return {"template": template, "config": config}


TINY: dict[str, dict[str, Any]] = {
    "llama": _row(32, 8),
    "qwen2": _row(48, 12),
    "qwen3": _row(32, 8, tie_word_embeddings=True),
    "qwen3_5_text": _row(
        32,
        8,
        num_hidden_layers=4,
        layer_types=["linear_attention", "linear_attention", "linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_conv_kernel_dim=4,
    ),
    "gemma3_text": _row(
        40,
        10,
        template=None,
        query_pre_attn_scalar=10,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "mistral": _row(24, 6, template=_NO_SYSTEM, sliding_window=None),
    "gpt2": {
        "template": None,
        "config": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048, "initializer_range": 0.1},
    },
}


def tiny_backbone(family: str, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> HFBackbone:
    """A random model of `family` with about 300 byte tokens. Same seed, same weights; no global seed is touched."""
    if family not in TINY:
        raise BackboneError(unknown("tiny family", family, TINY))
    tokenizer = _byte_tokenizer(TINY[family]["template"])
    return new_backbone(family, TINY[family]["config"], tokenizer, name=f"tiny:{family}", seed=seed, dtype=dtype)


def new_backbone(
    family: str, config: Mapping[str, Any], tokenizer: Any, *, name: str, seed: int, dtype: torch.dtype = torch.float32
) -> HFBackbone:
    """An untrained model of a transformers family (its `model_type`), with sizes from `config` and the vocabulary and
    end tokens of a fast transformers tokenizer. Same seed, same weights; no global seed is touched."""
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    sizes = AutoConfig.for_model(family, vocab_size=len(tokenizer), **ids, **config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(sizes, dtype=dtype)
    return HFBackbone(model, TextTokenizer(tokenizer), name=name)


def _byte_tokenizer(template: str | None) -> Any:
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(_SPECIAL))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = template
    return tokenizer
