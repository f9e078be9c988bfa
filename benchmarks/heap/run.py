"""Reading a batch of prompts with freed memory kept in the process, against giving it back as glibc does by itself.

The same forward of one model, in one process and in turn, with the same result. Seconds are of the processor.
"""

import time
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.measure import finish, load_config, spread
from rmas.backbone import HFBackbone
from rmas.heap import kept_heap
from rmas.system import load_system


def main() -> None:
    config = load_config(__file__)
    system = load_system(config["system"], dtype=config["dtype"])
    backbone = system.backbones[config["role"]]
    torch.manual_seed(0)
    cases = [_case(config, backbone, rows, positions) for rows, positions in config["cases"]]
    for case in cases:
        print(
            f"{case['rows']} rows of {case['positions']}: {case['kept_s']['median']:.2f} s, given back "
            f"{case['given_back_s']['median']:.2f} s: {case['ratio']['median']:.2f}x "
            f"({case['ratio']['least']:.2f} to {case['ratio']['most']:.2f})"
        )
    finish("heap", {"backbone": backbone.name, **config, "cases": cases})


@torch.inference_mode()
def _case(config: dict[str, Any], backbone: HFBackbone, rows: int, positions: int) -> dict[str, Any]:
    x_BLD = backbone.embed(torch.randint(100, 40_000, (rows, positions)))
    seconds: dict[str, list[float]] = {"kept": [], "given_back": []}
    for _ in range(config["repeats"]):
        read = []
        for name, each in seconds.items():
            with kept_heap() if name == "kept" else nullcontext():
                backbone.extend(backbone.start(), x_BLD)  # warm up
                began = time.process_time()
                h_BLD, _ = backbone.extend(backbone.start(), x_BLD)
                each.append(time.process_time() - began)
            read.append(h_BLD)
        assert torch.equal(*read)
    ratios = [back / kept for kept, back in zip(seconds["kept"], seconds["given_back"], strict=True)]
    told = {f"{name}_s": spread(each)._asdict() for name, each in seconds.items()}
    return {"rows": rows, "positions": positions, **told, "ratio": spread(ratios)._asdict()}


if __name__ == "__main__":
    main()
