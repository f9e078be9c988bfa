"""What training each preset of the paper needs: `python docs/memory_table.py` prints the table of docs/training.md.

Sizes are those of the published configs as far as we know them; nothing is downloaded. What autograd keeps is counted
layer by layer, for frozen bfloat16 weights and scaled-dot-product attention: a frozen matrix keeps nothing, so what is
left are the inputs of norms (float32), queries, keys, values and outputs of attention, and three vectors of each MLP.
Two things are easily overlooked: every latent step keeps its own copy of all keys and values so far, and a hybrid
family (Qwen3.5), through whose cache no gradient flows, reads its whole prompt again at each step, one kept at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from rmas.link import count_parameters
from rmas.pattern import load_pattern

DESIGN = "mlp_ln_res"  # as released
HEAD, BODY, ANSWER = 240, 60, 100  # tokens: of a prompt before its first slot, of the rest, of an answer
TARGET_CAP = 80  # of a role's target, in teacher forcing
LATENT_STEPS = (16, 48)
GIB = 2**30
_BF16, _FLOAT = 2, 4
_TRAINED = 5 * _FLOAT  # weight, gradient, two moments of AdamW, and the best weights so far
_LINEAR_HEAD = 10_800  # bytes a position, of one 128 wide value head of linear attention in torch operations: measured
_LOGIT_ROWS = 64  # as many rows of logits as the loss holds at a time


@dataclass(frozen=True, kw_only=True)
class Model:
    """One backbone's sizes, as its config has them. `norms`: of a layer. `linear_layers` of all have no attention."""

    family: str
    parameters: int
    width: int
    layers: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool = True
    norms: int = 2
    has_qk_norms: bool = False
    linear_layers: int = 0
    value_heads: int = 0

    @property
    def is_hybrid(self) -> bool:
        return self.linear_layers > 0


_QWEN2 = partial(Model, family="qwen2", head_dim=128, kv_heads=2, vocabulary=151_936)
_QWEN3_5 = partial(Model, family="qwen3_5_text", head_dim=256, vocabulary=248_320, has_qk_norms=True)


MODELS: Mapping[str, Model] = {
    "Qwen3-1.7B": Model(
        family="qwen3",
        parameters=1_720_574_976,
        width=2048,
        layers=28,
        mlp=6144,
        heads=16,
        kv_heads=8,
        head_dim=128,
        vocabulary=151_936,
        has_qk_norms=True,
    ),
    "Llama-3.2-1B": Model(
        family="llama",
        parameters=1_235_814_400,
        width=2048,
        layers=16,
        mlp=8192,
        heads=32,
        kv_heads=8,
        head_dim=64,
        vocabulary=128_256,
    ),
    "Llama-3.2-3B": Model(
        family="llama",
        parameters=3_212_749_824,
        width=3072,
        layers=28,
        mlp=8192,
        heads=24,
        kv_heads=8,
        head_dim=128,
        vocabulary=128_256,
    ),
    "Gemma-3-4B": Model(
        family="gemma3_text",
        parameters=3_880_263_168,
        width=2560,
        layers=34,
        mlp=10_240,
        heads=8,
        kv_heads=4,
        head_dim=256,
        vocabulary=262_208,
        norms=4,
        has_qk_norms=True,
    ),
    "BioMistral-7B": Model(
        family="mistral",
        parameters=7_241_732_096,
        width=4096,
        layers=32,
        mlp=14_336,
        heads=32,
        kv_heads=8,
        head_dim=128,
        vocabulary=32_000,
        tied=False,
    ),
    "Qwen2.5-Math-1.5B": _QWEN2(parameters=1_543_714_304, width=1536, layers=28, mlp=8960, heads=12),
    "R1-Distill-1.5B": _QWEN2(parameters=1_777_088_000, width=1536, layers=28, mlp=8960, heads=12, tied=False),
    "Qwen2.5-Coder-3B": _QWEN2(parameters=3_085_938_688, width=2048, layers=36, mlp=11_008, heads=16),
    "Qwen3.5-2B": _QWEN3_5(
        parameters=1_881_825_088,
        width=2048,
        layers=24,
        mlp=6144,
        heads=8,
        kv_heads=2,
        linear_layers=18,
        value_heads=16,
    ),
    "Qwen3.5-4B": _QWEN3_5(
        parameters=4_205_751_296,
        width=2560,
        layers=32,
        mlp=9216,
        heads=16,
        kv_heads=4,
        linear_layers=24,
        value_heads=32,
    ),
    "Qwen3.5-9B": _QWEN3_5(
        parameters=8_953_803_264,
        width=4096,
        layers=32,
        mlp=12_288,
        heads=16,
        kv_heads=4,
        linear_layers=24,
        value_heads=32,
        tied=False,
    ),
}


class Preset(NamedTuple):
    """A pattern, and the model of each of its roles."""

    pattern: str
    roles: Mapping[str, str]


PRESETS: Mapping[str, Preset] = {
    "sequential, light": Preset(
        "sequential", {"planner": "Qwen3-1.7B", "critic": "Llama-3.2-1B", "solver": "Qwen2.5-Math-1.5B"}
    ),
    "sequential, scaled": Preset(
        "sequential", {"planner": "Gemma-3-4B", "critic": "Llama-3.2-3B", "solver": "Qwen3.5-4B"}
    ),
    "mixture": Preset(
        "mixture",
        {
            "math": "R1-Distill-1.5B",
            "code": "Qwen2.5-Coder-3B",
            "science": "BioMistral-7B",
            "summarizer": "Qwen3.5-2B",
        },
    ),
    "distillation": Preset("distillation", {"expert": "Qwen3.5-9B", "learner": "Qwen3.5-4B"}),
    "deliberation": Preset("deliberation", {"reflector": "Qwen3.5-4B", "toolcaller": "Qwen3.5-4B"}),
}


def weight_bytes(preset: Preset) -> int:
    """Backbones in bfloat16; roles on one model share it."""
    return sum(MODELS[name].parameters * _BF16 for name in set(preset.roles.values()))


def link_parameters(preset: Preset) -> tuple[int, int]:
    """(inner, outer)"""
    widths = {role: MODELS[name].width for role, name in preset.roles.items()}
    edges = load_pattern(preset.pattern).edges
    inner = sum(count_parameters(DESIGN, "inner", width, width) for width in widths.values())
    return inner, sum(count_parameters(DESIGN, "outer", widths[e.source], widths[e.target]) for e in edges)


def link_bytes(preset: Preset) -> int:
    """Links in float32: the outer ones train, the inner ones do not."""
    inner, outer = link_parameters(preset)
    return inner * _FLOAT + outer * _TRAINED


def row_bytes(preset: Preset, latent_steps: int) -> int:
    """One question of a micro-batch of rollouts, at any number of rounds: the states of all heads, and the largest
    single turn, which is recomputed in the backward pass. Messages are left out: they are megabytes.
    """
    return _row(preset, latent_steps, lambda model, body: think_bytes(model, HEAD, body, latent_steps))


def forced_row_bytes(preset: Preset) -> int:
    """The same in teacher forcing, where each think turn is one forward over the target's tokens."""
    return _row(preset, TARGET_CAP, lambda model, body: follow_bytes(model, HEAD, body, TARGET_CAP))


def _row(preset: Preset, message: int, think: Callable[[Model, int], int]) -> int:
    pattern = load_pattern(preset.pattern)
    turns = []
    for role, name in preset.roles.items():
        model, body = MODELS[name], BODY + message * len(pattern.into(role))
        turns.append(think(model, body))
        if role == pattern.answerer:
            turns.append(follow_bytes(model, HEAD, body, ANSWER) + logits_bytes(model))
    return sum(head_bytes(MODELS[name], HEAD) for name in preset.roles.values()) + max(turns)


def head_bytes(model: Model, head: int) -> int:
    """The state of a prompt's head: keys and values, or in a family that reads again the embeddings."""
    if model.is_hybrid:
        return head * model.width * _BF16
    return head * model.layers * 2 * model.kv_heads * model.head_dim * _BF16


def think_bytes(model: Model, head: int, body: int, latent_steps: int) -> int:
    """What autograd keeps of a think turn that reads `body` positions behind its head and rolls out the latents."""
    if model.is_hybrid:  # the prompt, one recomputed step at a time, and what each step reads
        longest = head + body + latent_steps - 1
        inputs = sum((head + body + step) * model.width * _BF16 for step in range(1, latent_steps))
        return (
            read_bytes(model, head + body, head + body)
            + inputs
            + read_bytes(model, longest, longest) * (latent_steps > 1)
        )
    steps = (read_bytes(model, 1, head + body + step) for step in range(1, latent_steps))
    return read_bytes(model, body, head + body) + sum(steps)


def follow_bytes(model: Model, head: int, body: int, tokens: int) -> int:
    """The same of a turn that reads given tokens after its prompt, all in one forward."""
    whole = head + body
    if model.is_hybrid:
        return read_bytes(model, whole, whole) + read_bytes(model, whole + tokens, whole + tokens)
    return read_bytes(model, body, whole) + read_bytes(model, tokens, whole + tokens)


def logits_bytes(model: Model) -> int:
    """The rows of logits that the loss holds at a time: bfloat16, float32, and their gradients."""
    return _LOGIT_ROWS * model.vocabulary * 2 * (_BF16 + _FLOAT)


def read_bytes(model: Model, new: int, total: int) -> int:
    """What autograd keeps of a forward over `new` positions at the end of `total`, weights frozen."""
    both = model.norms * model.width * _FLOAT + 3 * model.mlp * _BF16
    query = model.heads * model.head_dim
    attention = 2 * query * _BF16
    if model.has_qk_norms:
        attention += (query + model.kv_heads * model.head_dim) * _FLOAT
    if model.is_hybrid:
        attention += 2 * query * _BF16  # its attention has a gate
    # a mask makes torch repeat keys and values for every query head; a single position goes without
    kv = 2 * (model.heads if new > 1 else model.kv_heads) * model.head_dim * _BF16
    full = model.layers - model.linear_layers
    linear = model.linear_layers * (both + model.value_heads * _LINEAR_HEAD)
    return new * (full * (both + attention) + linear + model.width * _FLOAT) + total * full * kv


def table() -> str:
    """The Markdown table."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    steps = " | ".join(f"a row, M = {steps}" for steps in LATENT_STEPS)
    yield f"| preset | models | backbones | links, AdamW | {steps} | a row, teacher-forced |"
    yield "|---|---|---|---|" + "---|" * (len(LATENT_STEPS) + 1)
    for name, preset in PRESETS.items():
        rows = [*(row_bytes(preset, steps) for steps in LATENT_STEPS), forced_row_bytes(preset)]
        cells = [weight_bytes(preset), link_bytes(preset), *rows]
        yield f"| {name} | {', '.join(preset.roles.values())} | {' | '.join(map(_size, cells))} |"


def _size(count: int) -> str:
    size = count / GIB
    return f"{size:.0f} GiB" if size >= 20 else f"{size:.1f} GiB"


if __name__ == "__main__":
    print(table(), end="")
