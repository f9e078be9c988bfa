"""A cached rollout against the release's way, in one process, on the same prompts and the same inner link.

The release re-reads the whole sequence at every latent step, asks for every layer's hidden states and computes
logits for the last position. Ours extends a cache by one position and leaves the vocabulary head alone. Also a
bare cached decoder step of the same model, without link, check or head, as the floor for a latent step.
"""

from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import finish, load_config, spread, timed
from rmas.backbone import CachedState, HFBackbone
from rmas.engine import Agent, rollout
from rmas.engine.turn import Read
from rmas.system import load_system


def main() -> None:
    config = load_config(__file__)
    system = load_system(config["system"], dtype=config["dtype"])
    agent, backbone = system.agents[config["role"]], system.backbones[config["role"]]
    torch.manual_seed(0)
    cases = [_case(config, agent, backbone, batch) for batch in config["batches"]]
    for case in cases:
        print(
            f"batch {case['batch']}: cached {case['cached_s']:.2f} s, release's way {case['release_s']:.2f} s"
            f"{'' if case['release_steps_timed'] == config['latent_steps'] else ' (from sampled steps)'}: "
            f"{case['ratio']:.1f}x; least cosine {case['least_cosine']:.6f}; latent step / bare step "
            f"{case['latent_over_bare']:.3f}"
        )
    finish("rollout", {"backbone": backbone.name, **config, "cases": cases})


@torch.inference_mode()
def _case(config: dict[str, Any], agent: Agent, backbone: HFBackbone, batch: int) -> dict[str, Any]:
    steps = config["latent_steps"]
    ids_BT = torch.randint(100, 50_000, (batch, config["prompt_tokens"]))  # content does not matter for time
    x_BTD = backbone.embed(ids_BT)
    _prefill(backbone, x_BTD[:, :8])  # warm up
    start, prefill_s = timed(lambda: _prefill(backbone, x_BTD))
    latent_s, bare_s = [], []
    for _ in range(config["bare_repeats"]):  # in turn, so that drift of the machine hits both
        latents, seconds = timed(lambda: rollout(agent, start, steps))
        latent_s.append(seconds)
        bare_s.append(_bare(backbone, start, latents))
    sampled = batch > config["whole_up_to"]
    ours, theirs = _states(agent, start, steps), _release(agent, backbone, x_BTD, config, sampled=sampled)
    cosine = min(
        float(torch.nn.functional.cosine_similarity(ours[:, step], h_BD, dim=-1).min()) for step, h_BD in theirs.states
    )
    cached = prefill_s + spread(latent_s).median
    return {
        "batch": batch,
        "prefill_s": prefill_s,
        "rollout_s": spread(latent_s)._asdict(),
        "bare_steps_s": spread(bare_s)._asdict(),
        "latent_over_bare": spread([a / b for a, b in zip(latent_s, bare_s, strict=True)]).median,
        "cached_s": cached,
        "release_s": theirs.seconds,
        "release_steps_timed": len(theirs.states),
        "ratio": theirs.seconds / cached,
        "least_cosine": cosine,
    }


def _prefill(backbone: HFBackbone, x_BTD: Tensor) -> Read:
    h_BTD, state = backbone.extend(backbone.start(), x_BTD)
    return Read(h_BTD[:, -1], state, (x_BTD.shape[1],) * len(x_BTD))


def _bare(backbone: HFBackbone, start: Read, z_BMD: Tensor) -> float:
    """Seconds of the same number of single-position steps of transformers' decoder, with its own cache in place."""
    assert isinstance(start.state, CachedState)
    cache = start.state.fork()
    length = start.state.length

    def steps() -> None:
        for step in range(z_BMD.shape[1] - 1):
            position = torch.full((len(z_BMD), 1), length + step)
            backbone.decoder(
                inputs_embeds=z_BMD[:, step : step + 1], position_ids=position, past_key_values=cache, use_cache=True
            )

    return timed(steps)[1]


def _states(agent: Agent, start: Read, steps: int) -> Tensor:
    """The hidden states of our rollout, h_BMD: what `rollout` collects before the inner link."""
    collected: list[Tensor] = []

    def remember(h: Tensor) -> Tensor:
        collected.append(h)
        return agent.inner(h)

    rollout(Agent(role=agent.role, backbone=agent.backbone, inner=remember), start, steps)
    return torch.stack(collected, dim=1)


class Release:
    """The release's rollout: its collected states as (step, h_BD), and its seconds for all steps."""

    def __init__(self) -> None:
        self.states: list[tuple[int, Tensor]] = []
        self.seconds = 0.0


def _release(agent: Agent, backbone: HFBackbone, x_BTD: Tensor, config: dict[str, Any], *, sampled: bool) -> Release:
    """Whole prompt again each step, all hidden states, vocabulary head on.

    `sampled`: only some steps are run, on the sequence that our rollout made, and the seconds are scaled up.
    """
    result, steps = Release(), config["latent_steps"]
    wanted = set(range(steps))
    if sampled:
        stride = (steps - 1) / (config["sampled_steps"] - 1)
        wanted = {round(i * stride) for i in range(config["sampled_steps"])}
        z_BMD = rollout(agent, _prefill(backbone, x_BTD), steps)
    sequence = x_BTD
    for step in range(steps):
        if step in wanted:
            mask = torch.ones(sequence.shape[:2], dtype=torch.int64)
            out, seconds = timed(
                lambda: backbone.model(
                    inputs_embeds=sequence,  # noqa: B023
                    attention_mask=mask,  # noqa: B023
                    use_cache=False,
                    output_hidden_states=True,
                    logits_to_keep=1,
                )
            )
            result.seconds += seconds
            result.states.append((step, out.hidden_states[-1][:, -1]))
        z_BD = z_BMD[:, step] if sampled else agent.inner(result.states[-1][1])
        sequence = torch.cat([sequence, z_BD[:, None]], dim=1)
    result.seconds *= steps / len(wanted)
    return result


if __name__ == "__main__":
    main()
