"""Writing with room behind the keys and values, against transformers' cache, which copies all of it at every step.

The same steps of one model, in one process and in turn: a token is read, and the next is chosen. Both choose the same.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from benchmarks.measure import finish, load_config, spread, timed
from rmas.backbone import CachedState, HFBackbone, State
from rmas.engine.turn import most_likely
from rmas.system import load_system


def main() -> None:
    config = load_config(__file__)
    system = load_system(config["system"], dtype=config["dtype"])
    backbone = system.backbones[config["role"]]
    torch.manual_seed(0)
    cases = [_case(config, backbone, batch) for batch in config["batches"]]
    for case in cases:
        print(
            f"batch {case['batch']}: a step {1000 * case['room_s']['median']:.0f} ms, copied "
            f"{1000 * case['copied_s']['median']:.0f} ms: {case['ratio']['median']:.2f}x "
            f"({case['ratio']['least']:.2f} to {case['ratio']['most']:.2f})"
        )
    finish("decode", {"backbone": backbone.name, **config, "cases": cases})


@torch.inference_mode()
def _case(config: dict[str, Any], backbone: HFBackbone, batch: int) -> dict[str, Any]:
    ids_1P = torch.randint(100, 40_000, (1, config["positions"]))  # read once: content does not matter for time
    joined = CachedState(cache=DynamicCache(config=backbone.config), device=backbone.device)
    begun = {}
    for name, start in (("room", backbone.start()), ("copied", joined)):
        h_1PD, state = backbone.extend(start, backbone.embed(ids_1P))
        begun[name] = most_likely(backbone.logits(h_1PD[:, -1])).repeat(batch), state.repeat(batch)
    seconds: dict[str, list[float]] = {name: [] for name in begun}
    for _ in range(config["repeats"]):
        said = []
        for name, (first, read) in begun.items():
            _, state = _written(backbone, read, first, 1)  # warm up; makes the room
            (tokens, _), took = timed(partial(_written, backbone, state, first, config["steps"]))
            seconds[name].append(took / config["steps"])
            said.append(tokens)
        assert torch.equal(*said)
    ratios = [copied / room for room, copied in zip(seconds["room"], seconds["copied"], strict=True)]
    told = {f"{name}_s": spread(each)._asdict() for name, each in seconds.items()}
    return {"batch": batch, **told, "ratio": spread(ratios)._asdict()}


def _written(backbone: HFBackbone, state: State, token_B: Tensor, steps: int) -> tuple[Tensor, State]:
    """The next tokens, steps of them, (B, steps), and the state behind them."""
    tokens = []
    for _ in range(steps):
        h_B1D, state = backbone.extend(state, backbone.embed(token_B[:, None]))
        token_B = most_likely(backbone.logits(h_B1D[:, 0]))
        tokens.append(token_B)
    return torch.stack(tokens, dim=1), state


if __name__ == "__main__":
    main()
