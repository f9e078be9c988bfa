"""A training step in bfloat16 with plain attention, against a CPU's fused one: the same gradients, in turn.

`links`: the outer links through all rounds. `adapter`: the answerer's, as it trains alone.
"""

from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.measure import finish, load_config, spread, timed
from benchmarks.train_step.run import Loss, examples_of, gradients_of, ours
from rmas.backbone import add_adapter, hf
from rmas.system import System, load_system
from rmas.train.alone import ALONE
from rmas.train.objective import Stage, unroll
from rmas.train.outer import trainable


def main() -> None:
    config = load_config(__file__)
    cases = {}
    for name, begin in {"links": _links, "adapter": _adapter}.items():
        parameters, loss = begin(load_system(config["system"], dtype=config["dtype"]), config)
        cases[name] = case = _compared(parameters, loss, config["repeats"])
        print(
            f"{name}: a step of {config['batch']} takes {case['plain_s']['median']:.1f} s, fused "
            f"{case['fused_s']['median']:.1f} s: {case['ratio']['median']:.2f}x ({case['ratio']['least']:.2f} to "
            f"{case['ratio']['most']:.2f}); gradients {case['difference']:.1e} of their length apart"
        )
    finish("attention", {**config, "cases": cases})


def _links(system: System, config: dict[str, Any]) -> tuple[dict[str, nn.Parameter], Loss]:
    parameters = trainable(system, rounds=config["rounds"])
    stage = Stage(config["rounds"], config["latent_steps"])
    return parameters, ours(system, examples_of(system, config), stage, checkpointed=False)


def _adapter(system: System, config: dict[str, Any]) -> tuple[dict[str, nn.Parameter], Loss]:
    examples, role = examples_of(system, config), system.pattern.answerer
    parameters = add_adapter(system.backbones[role], rank=config["rank"], alpha=2 * config["rank"], seed=0)
    return parameters, lambda: unroll(system, examples, rounds=1, channel=ALONE, graded=True).nll_RB.mean()


def _compared(parameters: dict[str, nn.Parameter], loss: Loss, repeats: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"plain": [], "fused": []}
    found: dict[str, Tensor] = {}
    for number in range(repeats + 1):
        for way, most in {"plain": hf.FEW_SCORES, "fused": 0}.items():
            with patch.object(hf, "FEW_SCORES", most):
                gradients, took = timed(lambda: gradients_of(parameters, loss))
            found[way] = _as_one(gradients.values())
            if number:  # the first warms up
                seconds[way].append(took)
    ratios = [fused / plain for plain, fused in zip(seconds["plain"], seconds["fused"], strict=True)]
    told = {f"{way}_s": spread(each)._asdict() for way, each in seconds.items()}
    difference = float((found["plain"] - found["fused"]).norm() / found["fused"].norm())
    return {**told, "ratio": spread(ratios)._asdict(), "difference": difference}


def _as_one(gradients: Iterable[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten().float() for gradient in gradients])


if __name__ == "__main__":
    main()
