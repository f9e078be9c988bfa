"""The table of what training needs: its sizes are the models', and its counting is what autograd really keeps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.train_step.run import kept_bytes
from docs import memory_table
from docs.memory_table import MODELS, PRESETS, Model, link_parameters, read_bytes, think_bytes, weight_bytes

from rmas.backbone import HFBackbone, tiny_backbone
from rmas.conversation import Prompt, Slot
from rmas.engine import Agent, Heads, read, rollout

PAGE = Path(__file__).parent.parent / "docs" / "training.md"
HEAD, BODY, M = 100, 25, 4  # a hybrid reads in chunks of 64: 125 to 128 positions
SMALL: dict[str, Any] = {
    "width": 64,
    "layers": 2,
    "mlp": 192,
    "heads": 8,
    "kv_heads": 2,
    "head_dim": 16,
    "vocabulary": 262,
}
HYBRID = {"linear_layers": 1, "value_heads": 4, "parameters": 0, "has_qk_norms": True}
TINY = {
    "llama": Model(family="llama", parameters=0, **SMALL),
    "qwen3": Model(family="qwen3", parameters=0, has_qk_norms=True, **SMALL),
    "gemma3_text": Model(family="gemma3_text", parameters=0, norms=4, has_qk_norms=True, **SMALL),
    "qwen3_5_text": Model(family="qwen3_5_text", **(SMALL | HYBRID)),
}


def config_of(model: Model) -> dict[str, Any]:
    """The transformers config of a row."""
    config: dict[str, Any] = {
        "vocab_size": model.vocabulary,
        "hidden_size": model.width,
        "intermediate_size": model.mlp,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "tie_word_embeddings": model.tied,
    }
    if model.is_hybrid:
        full = model.layers - model.linear_layers
        kinds = [*["linear_attention"] * (model.linear_layers // full), "full_attention"] * full
        config |= {"layer_types": kinds, "linear_num_value_heads": model.value_heads}
    return config


def new_model(model: Model, **extra: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model.family, **config_of(model), **extra)
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_row_has_the_parameters_of_its_sizes(name: str) -> None:
    with torch.device("meta"):
        model = new_model(MODELS[name])
    model.tie_weights()
    assert sum(parameter.numel() for parameter in model.parameters()) == MODELS[name].parameters


@pytest.mark.parametrize("family", sorted(TINY))
def test_the_bytes_of_a_think_turn_are_those_that_autograd_keeps(family: str) -> None:
    row = TINY[family]
    extra = {"query_pre_attn_scalar": 16, "sliding_window": 512} if family == "gemma3_text" else {}
    extra |= {"linear_num_key_heads": 2} if row.is_hybrid else {}
    backbone = HFBackbone(new_model(row, **extra), tiny_backbone("llama").tokenizer, name=family)
    agent = Agent(role="planner", backbone=backbone, inner=lambda h: h)
    # two rows of unequal lengths, for a mask; the first is as long as asked for
    prompts = [Prompt(tuple(range(n)), (Slot("critic"), tuple(range(BODY - M)))) for n in (HEAD, HEAD - 1)]
    message = torch.randn(2, M, row.width, dtype=torch.bfloat16, requires_grad=True)
    heads = Heads(room=M)
    heads.state(agent, prompts, {"critic": message})

    def turn(steps: int = M) -> torch.Tensor:
        start = read(agent, prompts, {"critic": message}, heads=heads)
        return rollout(agent, start, steps, checkpointed=True)

    kept = kept_bytes([backbone.model], turn)
    if row.is_hybrid:  # beside it, in the backward pass: its last step, as a prompt of that length
        x_BPD = torch.randn(2, HEAD + BODY + M - 1, row.width, dtype=torch.bfloat16, requires_grad=True)
        kept += kept_bytes([backbone.model], lambda: backbone.extend(backbone.start(cached=False), x_BPD)[0])
    assert think_bytes(row, HEAD, BODY, M) == pytest.approx(kept / 2, rel=0.1)


def test_the_links_have_the_published_totals() -> None:
    totals = {name: sum(link_parameters(PRESETS[name])) / 1e6 for name in ("sequential, light", "sequential, scaled")}
    assert totals == pytest.approx({"sequential, light": 74.5, "sequential, scaled": 157.1}, abs=0.05)


def test_a_hybrid_holds_its_prompt_and_one_latent_step() -> None:
    model = MODELS["Qwen3.5-4B"]
    once = read_bytes(model, 300, 300)
    assert think_bytes(model, 240, 60, 1) == once
    assert 2 * once < think_bytes(model, 240, 60, 48) < 2.5 * once


def test_roles_on_one_model_hold_its_weights_once() -> None:
    assert weight_bytes(PRESETS["deliberation"]) == 2 * MODELS["Qwen3.5-4B"].parameters


def test_the_page_shows_the_table_that_the_script_prints() -> None:
    assert memory_table.table() in PAGE.read_text(encoding="utf-8")
