"""A soft token whose softmax takes a few rows at a time, against the softmax of all rows at once, in one process.

Both compute the logits and the expected embedding alike and say the same to the bit, which is checked.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import finish, load_config, spread, timed
from rmas.backbone import HFBackbone
from rmas.link import SoftToken
from rmas.precision import widened
from rmas.system import load_system


def main() -> None:
    config = load_config(__file__)
    system = load_system(config["system"], dtype=config["dtype"])
    torch.manual_seed(0)
    cases = [_case(config, backbone, rows) for backbone in system.backbones.values() for rows in config["batches"]]
    for case in cases:
        print(f"{case['backbone']}, {case['rows']} rows: {case['ratio']['median']:.2f}x")
    finish("soft_token", {**config, "cases": cases})


@torch.inference_mode()
def _case(config: dict[str, Any], backbone: HFBackbone, rows: int) -> dict[str, Any]:
    h_BD = torch.randn(rows, backbone.dim).to(backbone.dtype)
    by_block, at_once = partial(SoftToken(backbone, config["tau"]), h_BD), partial(_at_once, backbone, config, h_BD)
    assert torch.equal(by_block(), at_once()), f"{backbone.name}, {rows} rows"
    pairs = [(timed(by_block)[1], timed(at_once)[1]) for _ in range(config["repeats"])]
    return {
        "backbone": backbone.name,
        "rows": rows,
        "by_block_s": spread([ours for ours, _ in pairs])._asdict(),
        "at_once_s": spread([theirs for _, theirs in pairs])._asdict(),
        "ratio": spread([theirs / ours for ours, theirs in pairs])._asdict(),
    }


def _at_once(backbone: HFBackbone, config: dict[str, Any], h_BD: Tensor) -> Tensor:
    p_BV = (widened(backbone.logits(h_BD)) / config["tau"]).softmax(-1)
    return backbone.expected_embedding(p_BV).to(h_BD.dtype)


if __name__ == "__main__":
    main()
