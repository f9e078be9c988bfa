"""The agent stage: gradients against the plain way, bundles that answer as what was trained, and what is refused."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from rmas.backbone import add_adapter, free_weights
from rmas.engine import LatentChannel
from rmas.errors import BackboneError, ConfigError
from rmas.prompt import Question
from rmas.solvers import open_solver
from rmas.system import System, load_system
from rmas.systemfile import load_spec
from rmas.train.agent import AgentTrainer, train_agent
from rmas.train.config import AgentConfig
from rmas.train.data import Split
from rmas.train.journal import read_log
from rmas.train.objective import answer_ids, outer_loss, unroll
from rmas.train.team import join_team
from train_zoo import EXAMPLES, cut_at, quiet, same_weights, sums_file
from zoo import QUESTIONS

FILE = """pattern = "solo"
prompts = "terse"
start = "identity"
max_new_tokens = 4
inner = "linear"
[roles.solver]
backbone = "tiny:{family}"
{adapter}
"""
FAMILIES = ("llama", "qwen3", "gpt2")  # separate head; tied head; maps of its own kind, tied


def alone(folder: Path, family: str = "llama", adapter: str = "", dtype: str = "auto") -> System:
    """A tiny model of its own: fine-tuning changes it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{family}.toml"
    named = f'adapter = "{adapter}"' if adapter else ""
    path.write_text(FILE.format(family=family, adapter=named), encoding="utf-8")
    return load_system(load_spec(str(path)).alone(), cache=folder / "cache", dtype=dtype)


def config(tmp_path: Path, **changes: Any) -> AgentConfig:
    short: dict[str, Any] = {"data": sums_file(tmp_path, 8), "dev": 0, "steps": 6, "batch_size": 4, "warmup": 0}
    return AgentConfig(**{**short, "lr": 1e-2, "rank": 4, "max_new_tokens": 3, **changes})


def plain_gradients(system: System, parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """One example at a time, all of it read at once and without a cache."""
    backbone = system.backbones["solver"]
    losses = []
    for example in EXAMPLES:
        prompt = system.render("solver", example.question, frozenset())
        ids = answer_ids(backbone, example, 1)
        read = [*prompt.head, *(i for part in prompt.body if isinstance(part, tuple) for i in part)]
        h_1LD, _ = backbone.extend(backbone.start(cached=False), backbone.embed(torch.tensor([[*read, *ids[:-1]]])))
        losses.append(cross_entropy(backbone.logits(h_1LD[0, -len(ids) :]), torch.tensor(ids)))
    return dict(
        zip(parameters, torch.autograd.grad(torch.stack(losses).mean(), list(parameters.values())), strict=True)
    )


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_has_the_gradients_of_the_plain_way(tmp_path: Path, family: str, method: str) -> None:
    system = alone(tmp_path, family)
    backbone = system.backbones["solver"]
    if method == "full":
        parameters = free_weights(backbone)
    else:
        parameters = add_adapter(backbone, rank=4, alpha=8, seed=0)
        draw = torch.Generator().manual_seed(1)
        for parameter in parameters.values():  # an adapter starts where half of its gradients are zero
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    expected = plain_gradients(system, parameters)
    unroll(system, EXAMPLES, rounds=1, channel=LatentChannel(latent_steps=0), graded=True).nll_RB.mean().backward()
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert torch.allclose(parameter.grad, expected[name], rtol=1e-5, atol=1e-7), name


def test_a_fresh_adapter_changes_nothing(tmp_path: Path) -> None:
    system, silent = alone(tmp_path), LatentChannel(latent_steps=0)
    before = outer_loss(system, EXAMPLES, rounds=1, channel=silent)
    state = torch.random.get_rng_state()
    parameters = add_adapter(system.backbones["solver"], rank=4, alpha=8, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(outer_loss(system, EXAMPLES, rounds=1, channel=silent), before)
    assert {parameter.dtype for parameter in parameters.values()} == {torch.float64}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_bundle_answers_as_the_model_that_was_trained(tmp_path: Path, method: str) -> None:
    system, out = alone(tmp_path), tmp_path / "out"
    before = open_solver(str(tmp_path / "llama.toml"), solver="single", dtype="float64").solve(QUESTIONS)
    result = train_agent(system, config(tmp_path, method=method), out, resume=False, report=quiet)
    losses = [line["loss"] for line in read_log(out) if line["event"] == "step"]
    assert result.is_complete
    assert losses[-1] < losses[0]
    again = load_system(str(out), cache=tmp_path / "cache", dtype="float64")
    silent = LatentChannel(latent_steps=0)
    found, expected = (outer_loss(each, EXAMPLES, rounds=1, channel=silent) for each in (again, system))
    assert torch.allclose(found, expected, atol=1e-6)
    after = open_solver(str(out), dtype="float64").solve(QUESTIONS)  # its own file says which solver
    assert [answer.text for answer in after] != [answer.text for answer in before]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert ("A low-rank adapter of rank 4" if method == "lora" else "All weights") in card
    assert not any(p.requires_grad for p in again.backbones["solver"].model.parameters())


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_training_that_was_cut_off_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    settings = config(tmp_path, method=method, save_every=2, dev=2)
    train_agent(alone(tmp_path), settings, tmp_path / "whole", resume=False, report=quiet)

    with pytest.raises(KeyboardInterrupt):
        train_agent(alone(tmp_path), settings, tmp_path / "cut", resume=False, report=cut_at(5))
    train_agent(alone(tmp_path), settings, tmp_path / "cut", resume=True, report=quiet)
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


def test_an_adapter_may_be_named_by_a_role_of_a_team(tmp_path: Path) -> None:
    train_agent(alone(tmp_path, "qwen2"), config(tmp_path, steps=3), tmp_path / "out", resume=False, report=quiet)
    team = "\n".join(
        f'[roles.{role}]\nbackbone = "tiny:qwen2"' + ('\nadapter = "out/adapter"' if role == "solver" else "")
        for role in ("planner", "critic", "solver")
    )
    path = tmp_path / "team.toml"
    path.write_text(f'pattern = "sequential"\nprompts = "terse"\nstart = "identity"\n{team}\n', encoding="utf-8")
    system = load_system(str(path), cache=tmp_path / "cache")
    planner, critic, solver = (system.backbones[role] for role in ("planner", "critic", "solver"))
    assert planner is critic
    assert solver is not planner
    weights = dict(planner.model.named_parameters())
    changed = [name for name, weight in solver.model.named_parameters() if not torch.equal(weight, weights[name])]
    assert changed
    assert all("proj" in name for name in changed)


def test_the_stored_adapter_is_peft_s_and_tells_no_path(tmp_path: Path) -> None:
    train_agent(alone(tmp_path), config(tmp_path, steps=1), tmp_path / "out", resume=False, report=quiet)
    told = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (told["peft_type"], told["r"], told["base_model_name_or_path"]) == ("LORA", 4, "tiny:llama")
    assert all(
        name.startswith("base_model.model.") for name in load_file(tmp_path / "out/adapter/adapter_model.safetensors")
    )


def test_a_wording_of_ones_own_stays_with_the_bundle(tmp_path: Path) -> None:
    words = '[roles.solver]\nsystem = "s"\nsections = ["My words: {question}"]\n'
    (tmp_path / "words.toml").write_text(words, encoding="utf-8")
    path = tmp_path / "own.toml"
    path.write_text(FILE.format(family="llama", adapter="").replace('"terse"', '"words.toml"'), encoding="utf-8")
    system = load_system(load_spec(str(path)).alone(), cache=tmp_path / "cache")
    train_agent(system, config(tmp_path, steps=1), tmp_path / "out", resume=False, report=quiet)
    (tmp_path / "words.toml").unlink()
    again = load_system(load_spec(str(tmp_path / "out")), cache=tmp_path / "cache")
    ours, theirs = (each.render("solver", QUESTIONS[0], frozenset()) for each in (again, system))
    assert ours == theirs


def test_a_bundle_is_told_what_its_role_was_told_in_the_team(tmp_path: Path) -> None:
    spec = load_spec("smol-deliberation").alone()  # its answerer is called toolcaller there, and solver here
    spec = replace(spec, roles={"solver": load_spec("tiny").roles["planner"]})
    system = load_system(spec, cache=tmp_path / "cache")
    train_agent(system, config(tmp_path, steps=1), tmp_path / "out", resume=False, report=quiet)
    again = load_system(str(tmp_path / "out"), cache=tmp_path / "cache")
    question = Question(text="Who?", context={"toolcaller": "a fact", "reflector": "not this"})
    ours, theirs = (each.render("solver", question, frozenset()) for each in (again, system))
    assert ours == theirs
    assert ours != again.render("solver", Question(text="Who?"), frozenset())
    assert open_solver(str(tmp_path / "out")).solve([question])


# What is refused


def test_an_adapter_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"adapter .*nowhere: no adapter_model\.safetensors there\. Name a folder"):
        alone(tmp_path, adapter="nowhere")


def test_an_adapter_of_another_model_is_one_line(tmp_path: Path) -> None:
    train_agent(alone(tmp_path), config(tmp_path, steps=1), tmp_path / "out", resume=False, report=quiet)
    with pytest.raises(BackboneError, match=r"adapter .*adapter: does not fit tiny:gpt2 \(") as told:
        alone(tmp_path, "gpt2", adapter="out/adapter")
    assert "\n" not in str(told.value)


def test_a_second_adapter_is_refused(tmp_path: Path) -> None:
    train_agent(alone(tmp_path), config(tmp_path, steps=1), tmp_path / "out", resume=False, report=quiet)
    system = alone(tmp_path, adapter="out/adapter")
    with pytest.raises(ConfigError, match="solver has an adapter already"):
        train_agent(system, config(tmp_path), tmp_path / "more", resume=False, report=quiet)


def test_all_weights_are_not_trained_in_bfloat16(tmp_path: Path) -> None:
    system = alone(tmp_path)
    system.backbones["solver"].dtype = torch.bfloat16
    with pytest.raises(ConfigError, match=r"method is full and tiny:llama is in torch\.bfloat16"):
        train_agent(system, config(tmp_path, method="full"), tmp_path / "out", resume=False, report=quiet)


@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_precision_has_nearly_the_gradients_of_float32(tmp_path: Path, family: str) -> None:
    found = {}
    for mixed in ("none", "bfloat16"):
        system = alone(tmp_path, family)
        system.backbones["solver"].model.to(torch.float32)
        system.backbones["solver"].dtype = torch.float32
        settings = replace(config(tmp_path, method="full"), mixed_precision=mixed)
        trainer = AgentTrainer(system, settings, Split(tuple(EXAMPLES), ()), team=join_team())
        parameters = trainer.release()
        trainer.step(0)
        assert {p.grad.dtype for p in parameters.values() if p.grad is not None} == {torch.float32}
        found[mixed] = torch.cat([p.grad.flatten() for p in parameters.values() if p.grad is not None])
    plain, mixed_one = found.values()
    assert not torch.equal(plain, mixed_one)
    assert (plain - mixed_one).norm() < 0.05 * plain.norm()


def test_mixed_precision_needs_float32(tmp_path: Path) -> None:
    settings = config(tmp_path, mixed_precision="bfloat16")
    with pytest.raises(ConfigError, match=r"mixed_precision is bfloat16 and tiny:llama is in torch\.float64"):
        train_agent(alone(tmp_path), settings, tmp_path / "out", resume=False, report=quiet)


def test_a_dev_answer_that_could_never_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text("".join(f'{{"question": "{n}?", "answer": "many letters"}}\n' for n in range(8)), encoding="utf-8")
    settings = config(tmp_path, dev=4, data=str(path))
    with pytest.raises(ConfigError, match="tokens and would always be wrong"):
        train_agent(alone(tmp_path), settings, tmp_path / "out", resume=False, report=quiet)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "prefix"}, "unknown method 'prefix'"),
        ({"rank": 0}, "rank is 0, expected 1 or more"),
        ({"alpha": 0}, "alpha is 0, expected 1 or more"),
        ({"start": "identity"}, "start is identity, but without latents no link is used"),
    ],
)
def test_a_setting_out_of_range_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **changes)


def test_an_agent_alone_learns_from_data_that_names_the_others(tmp_path: Path) -> None:
    """What a team is told apart, and its role targets: of a system's answerer on its own that is nothing."""
    rows = [
        {"question": f"{n} + 1 =", "answer": str(n + 1), "target.planner": "add", "context.critic": "a fact"}
        for n in range(6)
    ]
    path = tmp_path / "team.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    system = load_system(load_spec("tiny").alone(), cache=tmp_path / "cache")
    result = train_agent(
        system, config(tmp_path, data=str(path), steps=1, batch_size=2), tmp_path / "out", resume=False, report=quiet
    )
    assert result.is_complete
    told = Question(text="1 + 1 =", context={"critic": "a fact", "solver": "another"})
    assert open_solver(str(tmp_path / "out")).solve([told])
    path.write_text(json.dumps({**rows[0], "target.cook": "soup"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="target: unknown role 'cook'"):
        train_agent(system, config(tmp_path, data=str(path)), tmp_path / "other", resume=False, report=quiet)
