"""One outer step, ours against the same objective written the plain way: same links, same examples, same dtype.

    ours          a batch at once, cached, the states of prompt heads shared and without gradient, a checkpoint a turn
    unchecked     the same without checkpoints
    whole         one sample, cached, whole prompts with gradient, no checkpoint: the plain unroll
    plain         one sample, no cache: every latent step reads the whole prompt again, with gradient

The plain way is given its due: it reads the answer with its prompt, once, and asks for logits at answer positions only.
Nothing is forced into a graph: what autograd finds to depend on no link (the first turn) is in none, in all four.
Seconds are those of the gradients, and of one AdamW step a batch.
"""

import argparse
import gc
import sys
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.measure import finish, load_config, spread, timed
from rmas.engine import LastTurn, LatentChannel, run
from rmas.engine.turn import splice
from rmas.prompt import Question
from rmas.system import System, load_system
from rmas.train.data import Example
from rmas.train.objective import Stage, answer_ids, outer_loss
from rmas.train.outer import trainable

WORDS = "A train with {n} wagons leaves at noon; each wagon holds {n} crates of tools, seeds, paper and lamps. "
SOLUTION = (
    "The train has {n} wagons, and each of them holds {n} crates of tools, seeds, paper and lamps. To find how many "
    "crates there are in all, multiply the number of wagons by the number of crates in one: {n} times {n} is {crates}. "
)
RESULT = "There are {crates} crates in all."
Gradients = dict[str, Tensor]
Loss = Callable[[], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description="time one outer step, ours and the plain way")
    parser.add_argument("--system", help="another system, by name or path; its result file carries the name")
    parser.add_argument("--latent-steps", type=int, help="of all that is measured; default: the config's")
    parser.add_argument("--worked", action="store_true", help="answers are worked solutions; a result file of its own")
    parser.add_argument("--exact", action="store_true", help="instead: one sample's gradients in float64 too")
    config, arguments = load_config(__file__), parser.parse_args()
    command = {"command": " ".join(["python -m benchmarks.train_step.run", *sys.argv[1:]])}
    given, steps = arguments.system, arguments.latent_steps
    config |= {"system": given} if given else {}
    config |= {"worked": True} if arguments.worked else {}
    config |= {"latent_steps": steps, "alone_latent_steps": steps} if steps else {}
    if arguments.exact:
        figures = exact(config)
        for name, apart in figures["difference"].items():
            print(f"{name}: {apart['as_one']:.1e} from plain float64, a tensor {apart['largest']:.1e} at most")
        finish("train_step_exact", command | figures)
        return
    figures = measure(config)
    ratio, alone = figures["ratio"], figures["alone"]
    print(
        f"rounds {config['rounds']}, latent steps {config['latent_steps']}, batch {config['batch']}, per sample: "
        f"ours {figures['ours_s']['median']:.2f} s, without checkpoints {figures['unchecked_s']['median']:.2f} s, "
        f"the plain way {figures['plain_s']['median']:.2f} s: {ratio['median']:.1f}x "
        f"({ratio['least']:.1f} to {ratio['most']:.1f}); "
        f"gradients differ by {figures['gradient_difference']['as_one']:.1e} of their length, one tensor's by "
        f"{figures['gradient_difference']['largest']:.1e} at most"
    )
    for rounds, row in figures["memory"].items():
        print(
            f"kept for backward, one sample, rounds {rounds}: ours {row['ours_bytes'] / 2**20:.0f} MiB, "
            + ", ".join(
                f"{way} {row[f'{way}_bytes'] / 2**20:.0f} MiB ({row[f'{way}_over_ours']:.1f}x)"
                for way in ("unchecked", "whole", "plain")
            )
        )
    stage = f"rounds {alone['rounds']}, latent steps {alone['latent_steps']}"
    print(f"{stage}: ours {alone['ours_s']['median']:.2f} s per sample")
    parts = ["train_step", *([] if given is None else [Path(given).stem]), *(["worked"] if arguments.worked else [])]
    finish("_".join(parts), command | figures)


def measure(config: dict[str, Any]) -> dict[str, Any]:
    """Every repeat, the ways in turn, so that drift of the machine hits all -> config and figures.

    The plain way takes its turn in the first `plain_repeats` of them; ours is timed before and after it.
    """
    system = load_system(config["system"], dtype=config["dtype"])
    parameters = trainable(system, rounds=config["rounds"])
    for name, parameter in system.named_parameters():
        parameter.requires_grad_(name in parameters)
    examples = _examples(system, config)
    stage = Stage(config["rounds"], config["latent_steps"])
    for warm_up in (ours(system, examples[:1], Stage(2, 1)), plain(system, examples[0], Stage(2, 1))):
        gradients_of(parameters, warm_up)
    optimizer_s = _optimizer_seconds(parameters, config["repeats"])
    seconds: dict[str, list[float]] = {"ours": [], "unchecked": [], "plain": []}
    found: dict[str, Gradients] = {}
    for number in range(config["repeats"]):
        ways: dict[str, list[Loss]] = {
            "ours": [ours(system, examples, stage)],
            "unchecked": [ours(system, examples, stage, checkpointed=False)],
        }
        if number < config["plain_repeats"]:
            ways["plain"] = [plain(system, example, stage) for example in examples]
        for way, losses in ways.items():
            found[way], took = timed(partial(gradients_of, parameters, *losses))
            seconds[way].append((took + optimizer_s) / len(examples))
    plain_s = spread(seconds["plain"]).median
    alone = Stage(config["alone_rounds"], config["alone_latent_steps"])
    alone_s = [
        (timed(lambda: gradients_of(parameters, ours(system, examples, alone)))[1] + optimizer_s) / len(examples)
        for _ in range(config["plain_repeats"])
    ]
    return {
        **config,
        "backbones": {role: backbone.name for role, backbone in system.backbones.items()},
        "links": system.digest(),
        "prompt_tokens_read": {role: _prompt_tokens(system, role, examples) for role in system.pattern.roles},
        "answer_tokens": [len(answer_ids(system.backbones[system.pattern.answerer], each, 1)) for each in examples],
        "optimizer_s": optimizer_s,
        **{f"{way}_s": spread(values)._asdict() for way, values in seconds.items()},
        "ratio": spread([plain_s / one for one in seconds["ours"]])._asdict(),
        "unchecked_ratio": spread([plain_s / one for one in seconds["unchecked"]])._asdict(),
        "gradient_difference": _differences(found["ours"], found["plain"]),
        "checkpoints_change_nothing": all(
            torch.equal(g, found["unchecked"][name]) for name, g in found["ours"].items()
        ),
        "memory": {str(rounds): _memory(system, examples[0], rounds, config) for rounds in config["memory_rounds"]},
        "alone": {
            **alone._asdict(),
            "ours_s": spread(alone_s)._asdict(),
            "ours_bytes": kept_bytes(_modules(system), ours(system, examples, alone)),
        },
    }


def exact(config: dict[str, Any]) -> dict[str, Any]:
    """Both ways in float64, where they have to agree, and how far each is from that in float32."""
    stage, found = Stage(*config["exact"]), dict[str, Gradients]()
    for dtype in ("float64", "float32"):
        system = load_system(config["system"], dtype=dtype).to(getattr(torch, dtype))
        parameters = trainable(system, rounds=stage.rounds)
        for name, parameter in system.named_parameters():
            parameter.requires_grad_(name in parameters)
        example = _examples(system, config)[0]
        for way, loss in {"ours": ours(system, [example], stage), "plain": plain(system, example, stage)}.items():
            gradients = gradients_of(parameters, loss)
            found[f"{way} {dtype}"] = {name: gradient.double() for name, gradient in gradients.items()}
    truth = found["plain float64"]
    apart = {name: _differences(gradients, truth) for name, gradients in found.items()}
    apart["ours float32, plain float32"] = _differences(found["ours float32"], found["plain float32"])
    return {**config, "difference": apart}


def ours(system: System, examples: Sequence[Example], stage: Stage, *, checkpointed: bool = True) -> Loss:
    """The batch's mean loss, as the trainer computes it."""
    channel = LatentChannel(latent_steps=stage.latent_steps, checkpointed=checkpointed)
    return lambda: outer_loss(system, examples, rounds=stage.rounds, channel=channel).mean()


def plain(system: System, example: Example, stage: Stage, *, cached: bool = False) -> Loss:
    """One sample's loss: nothing shared, nothing checkpointed, each prompt whole in the graph."""
    channel = LatentChannel(latent_steps=stage.latent_steps, cached=cached)

    def speak(turn: LastTurn) -> Tensor:
        backbone, (prompt,) = turn.agent.backbone, turn.prompts
        ids = answer_ids(backbone, example, turn.round)
        x_1LD, _ = splice(backbone, [[prompt.head, *prompt.body, ids[:-1]]], turn.inbox)
        h_1LD, _ = backbone.extend(backbone.start(cached=False), x_1LD)
        logits_TV = backbone.logits(h_1LD[0, -len(ids) :])
        return cross_entropy(logits_TV, torch.tensor(ids, device=logits_TV.device))

    return lambda: run(system, [example.question], rounds=stage.rounds, channel=channel, speak=speak, share_heads=False)


def gradients_of(parameters: dict[str, nn.Parameter], *losses: Loss) -> Gradients:
    """The gradients of the losses' mean, one loss after the other."""
    for parameter in parameters.values():
        parameter.grad = None
    for loss in losses:
        (loss() / len(losses)).backward()
    return {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}


class _Held:
    """A tensor that autograd keeps for as long as its graph lives."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()


def kept_bytes(modules: Sequence[nn.Module], loss: Loss) -> int:
    """What lies in memory between the forward and the backward pass, beyond the tensors of `modules`: what autograd
    saved, and what checkpoints will start again from (messages, states of prompt heads). Storages count once.
    """
    own = {t.untyped_storage().data_ptr() for module in modules for t in module.state_dict().values()}
    held: weakref.WeakSet[_Held] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Held:
        holder = _Held(tensor)
        held.add(holder)
        return holder

    gc.collect()
    gc.freeze()  # what is there now is not looked at below
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.tensor):
            value = loss()
        gc.collect()
        born = [thing for thing in gc.get_objects() if type(thing) is Tensor]
    finally:
        gc.unfreeze()
    assert value.requires_grad, "something trains"
    storages = [tensor.untyped_storage() for tensor in (*born, *(holder.tensor for holder in held))]
    return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())


def _modules(system: System) -> list[nn.Module]:
    """Links and models."""
    return [system, *(backbone.model for backbone in system.backbones.values())]


class Way(NamedTuple):
    """What one way keeps, and the gradients that it leaves."""

    num_bytes: int
    gradients: Gradients


def _memory(system: System, example: Example, rounds: int, config: dict[str, Any]) -> dict[str, Any]:
    """The four ways on one sample, one after the other."""
    stage = Stage(rounds, config["latent_steps"])
    parameters = trainable(system, rounds=rounds)
    losses = {
        "ours": ours(system, [example], stage),
        "unchecked": ours(system, [example], stage, checkpointed=False),
        "whole": plain(system, example, stage, cached=True),
        "plain": plain(system, example, stage),
    }
    ways = {
        name: Way(kept_bytes(_modules(system), loss), gradients_of(parameters, loss)) for name, loss in losses.items()
    }
    kept, first = {name: way.num_bytes for name, way in ways.items()}, ways["ours"]
    return {
        **{f"{name}_bytes": count for name, count in kept.items()},
        **{f"{name}_over_ours": count / kept["ours"] for name, count in kept.items() if name != "ours"},
        "checkpoints_change_nothing": _differences(first.gradients, ways["unchecked"].gradients)["largest"] == 0,
        "gradient_difference": {
            name: _differences(first.gradients, ways[name].gradients)["largest"] for name in ("whole", "plain")
        },
    }


def _differences(ours: Gradients, theirs: Gradients) -> dict[str, Any]:
    """By tensor: the length of the difference over the length of the other way's gradient; the largest; and that of
    all tensors as one.

    A gradient that is zero both ways (a matrix before one that starts at zero) does not differ.
    """
    assert ours.keys() == theirs.keys(), "the same links are reached"
    lengths = {name: (float((ours[name] - theirs[name]).norm()), float(theirs[name].norm())) for name in theirs}
    found = {name: apart / whole if whole else apart for name, (apart, whole) in lengths.items()}
    apart, whole = (sum(pair[place] ** 2 for pair in lengths.values()) ** 0.5 for place in (0, 1))
    return {"as_one": apart / whole, "largest": max(found.values()), "by_tensor": found}


def _optimizer_seconds(parameters: dict[str, nn.Parameter], repeats: int) -> float:
    """The median seconds of an AdamW step. Its rate is 0, so that every way meets the same links."""
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.0, weight_decay=0.0, foreach=False)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    return spread([timed(lambda: optimizer.step())[1] for _ in range(repeats + 1)][1:]).median


def _examples(system: System, config: dict[str, Any]) -> list[Example]:
    """Questions of unequal lengths; as answer a worked solution, or its last sentence alone."""
    first, examples = system.pattern.roles[0], []
    for number in range(config["batch"]):
        text = f"Case {number}. How many crates are there in all? "
        wanted = config["prompt_tokens"] + number % 4 * 10
        while system.render(first, Question(text=text), frozenset()).num_tokens < wanted:
            text += WORDS.format(n=number + 2)
        answer = (SOLUTION * config["worked"] + RESULT).format(n=number + 2, crates=(number + 2) ** 2)
        examples.append(Example(question=Question(text=text), answer=answer))
    return examples


def _prompt_tokens(system: System, role: str, examples: Sequence[Example]) -> list[int]:
    return [system.render(role, example.question, frozenset()).num_tokens for example in examples]


if __name__ == "__main__":
    main()
