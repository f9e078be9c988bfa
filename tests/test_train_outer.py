"""The outer stage from a config to a bundle: what it leaves, what it refuses, and where a system starts."""

import errno
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rmas.configfile import load_config
from rmas.engine import LatentChannel
from rmas.errors import CheckpointError, ConfigError, LinkError, NumericsError, QuestionError
from rmas.link import ConstantMessage
from rmas.prompt import Question
from rmas.solvers import RecursiveSolver, RunConfig
from rmas.system import System, load_system
from rmas.systemfile import load_spec
from rmas.train import store as store_module
from rmas.train.config import OuterConfig
from rmas.train.data import Example
from rmas.train.journal import read_log
from rmas.train.objective import outer_loss
from rmas.train.outer import train_outer, trainable
from rmas.train.resolve import resolved, spec_for
from train_zoo import EXAMPLES, PAIR, WORDS, own_system, quiet, same_tensors, sums_file, trainer_of
from train_zoo import outer_config as changed
from zoo import QUESTION, snapshot, tiny_system

Train = Callable[..., System]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Train a system (default: the small pair) into `tmp_path/out`."""

    def trained(
        system: System | None = None, *, out: str = "out", resume: bool = False, rows: int = 8, **changes: Any
    ) -> System:
        system = system or own_system(tmp_path)
        config = changed(**{"data": sums_file(tmp_path, rows), "probes": (), **changes})
        train_outer(system, config, tmp_path / out, resume=resume, report=quiet)
        return system

    return trained


def steps(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_log(folder) if line["event"] == "step"]


def bundle(tmp_path: Path, **options: Any) -> System:
    return load_system(str(tmp_path / "out"), cache=tmp_path / "cache", **options)


# The bundle


def test_a_trained_bundle_opens_with_the_same_links_and_answers_the_same(tmp_path: Path, train: Train) -> None:
    fresh = own_system(tmp_path)
    system = train()
    again = bundle(tmp_path)
    assert again.digest() == system.digest()
    assert again.digest() != fresh.digest()
    ours, theirs, before = (
        RecursiveSolver(each, RunConfig(rounds=2)).solve([QUESTION, Question(text="1 + 2?")])
        for each in (system, again, fresh)
    )
    assert [answer.text for answer in ours] == [answer.text for answer in theirs]
    assert [answer.text for answer in ours] != [answer.text for answer in before]


def test_a_training_leaves_its_config_log_card_and_curves(tmp_path: Path, train: Train) -> None:
    system, out = train(dev=2, dev_every=2), tmp_path / "out"
    assert {"config.toml", "log.jsonl", "README.md", "curves.png", "links.safetensors", "manifest.json"} <= {
        path.name for path in out.iterdir()
    }
    assert load_config(OuterConfig, out / "config.toml", ()).rounds == 2
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    card = (out / "README.md").read_text(encoding="utf-8")
    assert system.digest() in card
    assert "trained the outer links" in card
    assert [line["step"] for line in read_log(out) if line["event"] == "dev"] == [0, 2, 4]
    assert not list(out.rglob("*.partial"))


def test_rounds_and_latent_steps_of_the_training_are_those_of_the_bundle(tmp_path: Path, train: Train) -> None:
    train(rounds=1, latent_steps=3, max_new_tokens=2)
    table = tomllib.loads((tmp_path / "out" / "system.toml").read_text(encoding="utf-8"))
    assert (table["rounds"], table["latent_steps"], table["max_new_tokens"]) == (1, 3, 4)
    spec = bundle(tmp_path).spec
    assert (spec.rounds, spec.latent_steps, spec.max_new_tokens) == (1, 3, 4)


def test_rounds_and_latent_steps_are_the_systems_where_the_config_names_none(tmp_path: Path) -> None:
    config = resolved(OuterConfig(data="x"), own_system(tmp_path).spec)
    assert (config.rounds, config.latent_steps) == (2, 2)


def test_links_kept_in_bfloat16_take_half_the_room_and_load(tmp_path: Path, train: Train) -> None:
    train(out="whole")
    train(save_dtype="bfloat16")
    files = [tmp_path / out / "links.safetensors" for out in ("whole", "out")]
    whole, half = (load_file(file) for file in files)
    assert {tensor.dtype for tensor in half.values()} == {torch.bfloat16}
    assert same_tensors({name: tensor.bfloat16() for name, tensor in whole.items()}, half)
    assert sum(t.nbytes for t in whole.values()) == 2 * sum(t.nbytes for t in half.values())
    assert same_tensors({n: t.bfloat16() for n, t in bundle(tmp_path).state_dict().items()}, half)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert f"Digest `{manifest['digest']}`" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_the_config_of_a_run_trains_the_same_links_again(tmp_path: Path, train: Train) -> None:
    first = train()
    again = own_system(tmp_path)
    config = load_config(OuterConfig, tmp_path / "out" / "config.toml", ())
    train_outer(again, config, tmp_path / "again", resume=False, report=quiet)
    assert again.digest() == first.digest()


def test_a_bundle_can_be_trained_further(tmp_path: Path, train: Train) -> None:
    first = train()
    second = train(bundle(tmp_path), out="more")
    assert second.digest() != first.digest()
    assert load_system(str(tmp_path / "more"), cache=tmp_path / "cache").digest() == second.digest()


def test_the_seed_of_the_data_and_the_seed_of_the_training_are_two(tmp_path: Path, train: Train) -> None:
    digests = [train(out=f"{number}", steps=1, **seeds).digest() for number, seeds in enumerate(({}, {"seed": 7}))]
    assert digests[0] == digests[1]  # rollouts draw nothing
    assert train(out="2", steps=1, data_seed=7).digest() != digests[0]


@pytest.mark.parametrize("train_inner", [False, True])
def test_inner_links_train_only_where_asked(tmp_path: Path, train: Train, train_inner: bool) -> None:
    before = snapshot(own_system(tmp_path).state_dict())
    system = train(train_inner=train_inner)
    moved = {name for name, tensor in system.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in moved} == {"outer"} | ({"inner"} if train_inner else set())
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert ("and the inner links" in card) == train_inner


CONSTANT = PAIR.replace('start = "identity"', 'outer = "constant"')


def test_a_constant_system_trains_its_constants_into_a_bundle(tmp_path: Path, train: Train) -> None:
    before = snapshot(own_system(tmp_path, CONSTANT).state_dict())
    system = train(own_system(tmp_path, CONSTANT), dev=2, probes=("shuffled",))
    again = bundle(tmp_path)
    assert again.digest() == system.digest()
    assert isinstance(again.outer["reflector->toolcaller"], ConstantMessage)
    moved = {name for name, tensor in system.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"outer.reflector->toolcaller.message_MD"}  # the feedback reaches nobody who is read


# Another design than the system's


@pytest.mark.parametrize("outer", ["linear_res", "constant_linear"])
def test_a_training_may_have_outer_links_of_another_design(tmp_path: Path, train: Train, outer: str) -> None:
    own_system(tmp_path, PAIR + '[edges."reflector->toolcaller"]\nouter = "mlp"\n')
    spec = load_spec(str(tmp_path / "mine.toml"))
    config = changed(data=sums_file(tmp_path, 8), outer=outer)
    system = load_system(spec_for(config, spec), cache=tmp_path / "cache")
    train(system, outer=outer)
    again = bundle(tmp_path)
    assert again.digest() == system.digest()
    assert set(again.spec.outer.values()) == {outer}
    assert again.spec.roles.keys() == spec.roles.keys()


def test_a_design_that_a_system_does_not_have_is_one_line(tmp_path: Path, train: Train) -> None:
    with pytest.raises(ConfigError, match=r"outer is mlp_res, but mine has mlp_ln_res\. Leave outer out\."):
        train(outer="mlp_res")
    with pytest.raises(ConfigError, match=r"unknown outer link design 'mlp_rse' .*Did you mean 'mlp_res'"):
        changed(data="x.jsonl", outer="mlp_rse")


# The curriculum


def test_a_stage_of_the_curriculum_takes_effect_at_its_step(tmp_path: Path, train: Train) -> None:
    train(steps=5, rounds=2, latent_steps=3, curriculum=((0, 1, 1), (2, 1, 2), (3, 2, 3)))
    found = [(line["rounds"], line["latent_steps"]) for line in steps(tmp_path / "out")]
    assert found == [(1, 1), (1, 1), (1, 2), (2, 3), (2, 3)]
    table = tomllib.loads((tmp_path / "out" / "system.toml").read_text(encoding="utf-8"))
    assert (table["rounds"], table["latent_steps"]) == (2, 3)


def test_before_the_first_stage_the_config_holds() -> None:
    trainer = trainer_of(tiny_system("deliberation", ["llama"]), curriculum=((2, 3, 4),))
    assert [tuple(trainer.stage(step)) for step in (0, 1, 2, 9)] == [(2, 2), (2, 2), (3, 4), (3, 4)]


# Refusals: one line each, and nothing lost


def one_line(caught: pytest.ExceptionInfo[Exception]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("changes", [{"latent_steps": 0}, {"curriculum": ((0, 1, 2), (2, 1, 0))}])
def test_no_latent_step_is_nothing_to_train(tmp_path: Path, train: Train, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"latent_steps is 0: no message, so nothing to train") as caught:
        train(**changes)
    one_line(caught)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changes", [{"latent_steps": 3}, {"curriculum": ((0, 1, 3),)}])
def test_a_constant_system_cannot_change_its_latent_steps(
    tmp_path: Path, train: Train, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="latent_steps is 3, but the constant messages of mine hold 2") as caught:
        train(own_system(tmp_path, CONSTANT), **changes)
    one_line(caught)


@pytest.mark.parametrize("changes", [{"rounds": 1}, {"rounds": 2, "curriculum": ((0, 1, 1),)}])
def test_rounds_in_which_nobody_is_heard_are_refused(changes: dict[str, Any]) -> None:
    config = OuterConfig(data="x", latent_steps=2, **changes)
    with pytest.raises(
        ConfigError, match=r"rounds is 1, but in pattern looped nobody is heard before round 2"
    ) as caught:
        resolved(config, tiny_system("looped").spec)
    one_line(caught)


def test_a_system_without_links_has_nothing_to_train() -> None:
    with pytest.raises(ConfigError, match="tiny-solo: it has no link that could train"):
        trainable(tiny_system("solo"), rounds=2)


def lines_file(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "own.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


LONG = "word " * 500
ROW = {"question": "1 + 1?", "answer": "2"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": LONG, "answer": "b"}, r"too long for reflector \(tiny:llama\): .* too many"),
        ({"question": "Say it.", "answer": LONG}, r"too long for toolcaller \(tiny:mistral\): .* too many"),
        ({**ROW, "question": "Q?", "context": {"toolcaller": LONG}}, r"too long for toolcaller"),
    ],
    ids=["question", "answer", "context"],
)
def test_what_an_agent_could_not_read_whole_is_refused_before_the_first_step(
    tmp_path: Path, train: Train, row: dict[str, Any], expected: str
) -> None:
    with pytest.raises(QuestionError, match=expected) as caught:
        train(data=lines_file(tmp_path, ROW, row), batch_size=1)
    one_line(caught)
    assert steps(tmp_path / "out") == []


def test_a_forced_target_counts_where_a_rollouts_message_does(tmp_path: Path) -> None:
    """A message of `target_cap` states is longer than one of two latents."""
    system = own_system(tmp_path)
    example = Example(question=Question(text="a" * 1900), answer="b", targets={"reflector": "c" * 90})
    trainer_of(system, (example,)).check(())
    with pytest.raises(QuestionError, match="too long"):
        trainer_of(system, (example,), objective="teacher_forced").check(())


@pytest.mark.parametrize("where", ["train", "dev"])
def test_a_context_for_an_unknown_role_names_the_nearest(where: str) -> None:
    trainer = trainer_of(tiny_system("deliberation", ["llama"]))
    stranger = Example(question=Question(text="1?", context={"reflektor": "x"}), answer="2")
    if where == "train":
        trainer = trainer_of(tiny_system("deliberation", ["llama"]), (*EXAMPLES, stranger))
    with pytest.raises(QuestionError, match=r"context: unknown role 'reflektor' .*Did you mean 'reflector'") as caught:
        trainer.check((stranger,) if where == "dev" else ())
    one_line(caught)


def test_a_context_for_an_unknown_role_in_a_file_is_one_line(tmp_path: Path, train: Train) -> None:
    stranger = {**ROW, "question": "3?", "context": {"reflektor": "x"}}
    with pytest.raises(ConfigError, match="reflektor") as caught:
        train(data=lines_file(tmp_path, ROW, stranger), batch_size=1)
    one_line(caught)


@pytest.mark.parametrize("curriculum", [(), ((0, 3, 2),)])
def test_answers_for_fewer_rounds_than_will_be_asked_for_are_refused(
    curriculum: tuple[tuple[int, int, int], ...],
) -> None:
    example = Example(question=QUESTION, answer="b", answers=("a", "b"))
    rounds = 2 if curriculum else 3
    trainer = trainer_of(tiny_system("deliberation", ["llama"]), (example,), rounds=rounds, curriculum=curriculum)
    with pytest.raises(ConfigError, match="answers for 2 rounds, round 3 was asked for"):
        trainer.check(())


def test_a_curriculum_of_fewer_rounds_still_leaves_dev_to_the_rounds_of_the_config() -> None:
    example = Example(question=QUESTION, answer="b", answers=("a", "b"))
    trainer = trainer_of(tiny_system("deliberation", ["llama"]), (example,), rounds=3, curriculum=((0, 1, 2),))
    with pytest.raises(ConfigError, match="round 3 was asked for"):
        trainer.check(())


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, train: Train) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cannot be written|not a folder") as caught:
        train(out="file/out")
    one_line(caught)


def test_a_folder_in_use_is_refused(tmp_path: Path, train: Train) -> None:
    train()
    before = (tmp_path / "out" / "links.safetensors").read_bytes()
    with pytest.raises(ConfigError, match=r"not empty. Pass --resume"):
        train()
    assert (tmp_path / "out" / "links.safetensors").read_bytes() == before


WIDER = PAIR.replace("tiny:mistral", "tiny:qwen2")


def test_a_training_resumes_with_its_own_system_only(tmp_path: Path, train: Train) -> None:
    train(save_every=2)
    links = (tmp_path / "out" / "links.safetensors").read_bytes()
    other = own_system(tmp_path, WIDER)
    before = other.digest()
    with pytest.raises(CheckpointError, match=r"the checkpoint of step 4 holds .*Resume with the system") as caught:
        train(other, resume=True)
    one_line(caught)
    assert other.digest() == before
    assert (tmp_path / "out" / "links.safetensors").read_bytes() == links


def test_a_training_resumes_with_its_own_memory_only(tmp_path: Path, train: Train) -> None:
    train()
    other = own_system(tmp_path, PAIR.replace("rounds = 2", 'rounds = 2\nmemory = "sum"'))
    with pytest.raises(CheckpointError, match="was made beside other frozen models"):
        train(other, resume=True)


def test_a_training_resumes_with_its_own_wording_only(tmp_path: Path, train: Train) -> None:
    train()
    own_system(tmp_path)
    (tmp_path / "words.toml").write_text(WORDS.replace("You think.", "You dream."), encoding="utf-8")
    with pytest.raises(CheckpointError, match="was made beside other frozen models"):
        train(load_system(str(tmp_path / "mine.toml"), cache=tmp_path / "cache"), resume=True)


def test_a_training_resumes_with_its_own_examples_only(train: Train) -> None:
    train()
    with pytest.raises(CheckpointError, match="was made beside other frozen models"):
        train(resume=True, rows=9)


def test_a_dev_answer_that_cannot_be_written_whole_is_refused(tmp_path: Path, train: Train) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text("".join(json.dumps({"question": f"{n}?", "answer": "a long answer"}) + "\n" for n in range(8)))
    with pytest.raises(ConfigError, match=r"max_new_tokens is 3, but the dev answer 'a long answer' has \d+ tokens"):
        train(data=str(file), dev=2)


def test_a_constant_beside_a_link_has_the_length_that_it_trains_with(tmp_path: Path, train: Train) -> None:
    system = own_system(tmp_path, PAIR.replace("rounds = 2", 'rounds = 2\nouter = "linear+constant"'))
    with pytest.raises(ConfigError, match="latent_steps is 1, but the constant messages of mine hold 2 vectors"):
        train(system, latent_steps=1)


def test_a_training_resumes_with_its_own_config_only(train: Train) -> None:
    train()
    with pytest.raises(ConfigError, match=r"lr was 0.01, now 0.5"):
        train(resume=True, lr=0.5)


def test_resuming_a_finished_training_changes_nothing(tmp_path: Path, train: Train) -> None:
    system = train(dev=2, dev_every=2)
    before = (tmp_path / "out" / "log.jsonl").read_bytes()
    assert train(dev=2, dev_every=2, resume=True).digest() == system.digest()
    assert (tmp_path / "out" / "log.jsonl").read_bytes() == before


def test_a_disk_that_fills_up_at_a_checkpoint_loses_nothing_before_it(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(out="whole", save_every=1)
    write = store_module._write

    def fill_up(path: Path, put: Callable[[Path], object]) -> None:
        if "step-00000003" in path.parent.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, put)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_write", fill_up)
        with pytest.raises(CheckpointError, match=r"step-00000003: cannot be written \(No space left") as caught:
            train(save_every=1)
    one_line(caught)
    resumed = train(save_every=1, resume=True)
    assert resumed.digest() == whole.digest()
    assert [line["step"] for line in steps(tmp_path / "out")] == [1, 2, 3, 4]


def test_a_loss_that_is_not_finite_leaves_the_batch_and_no_bundle(tmp_path: Path, train: Train) -> None:
    system = own_system(tmp_path)
    with torch.no_grad():
        next(system.outer["reflector->toolcaller"].parameters()).fill_(float("nan"))
    with pytest.raises(
        NumericsError, match=r"step 1: .*outer link reflector->toolcaller.*failed-step-00000001"
    ) as caught:
        train(system)
    one_line(caught)
    kept = json.loads((tmp_path / "out" / "failed-step-00000001.json").read_text(encoding="utf-8"))
    assert len(kept["batch"]) == 4
    assert all(row["question"]["text"].endswith("+ 2?") for row in kept["batch"])
    assert not (tmp_path / "out" / "links.safetensors").exists()


def test_out_of_time_leaves_a_bundle_and_can_be_resumed(tmp_path: Path, train: Train) -> None:
    whole = train(out="whole", dev=2, dev_every=2)
    config = changed(data=sums_file(tmp_path), probes=(), dev=2, dev_every=2, minutes=1e-9)
    result = train_outer(own_system(tmp_path), config, tmp_path / "out", resume=False, report=quiet)
    assert (result.steps, result.is_complete) == (0, False)
    assert bundle(tmp_path).digest() == own_system(tmp_path).digest()
    assert train(dev=2, dev_every=2, resume=True).digest() == whole.digest()
    strip = [
        [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read_log(tmp_path / name)]
        for name in ("whole", "out")
    ]
    assert strip[0] == strip[1]


# Where a system starts


def test_a_start_stands_above_what_the_bundle_holds(tmp_path: Path, train: Train) -> None:
    trained = train()
    fresh = own_system(tmp_path)
    assert bundle(tmp_path).digest() == trained.digest()
    assert bundle(tmp_path, start="identity").digest() == fresh.digest()
    drawn = bundle(tmp_path, start="pytorch")
    assert drawn.digest() not in (trained.digest(), fresh.digest())
    assert drawn.spec.start == "pytorch"


@pytest.mark.parametrize("start", ["pytorch", "identity"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path: Path, start: str) -> None:
    own_system(tmp_path)
    digests = [
        load_system(str(tmp_path / "mine.toml"), cache=tmp_path / "cache", start=start, seed=seed).digest()
        for seed in (1, 1, 2)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_loading_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    system = own_system(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        assert own_system(tmp_path).digest() == system.digest()


def test_training_leaves_the_global_random_state_alone(train: Train) -> None:
    before = torch.random.get_rng_state()
    train(steps=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_start_names_the_nearest(tmp_path: Path) -> None:
    own_system(tmp_path)
    with pytest.raises(LinkError, match=r"unknown start 'identiti' .*Did you mean 'identity'"):
        load_system(str(tmp_path / "mine.toml"), cache=tmp_path / "cache", start="identiti")


@pytest.mark.parametrize(
    ("outer", "edges", "inner"),
    [
        ("constant", ["critic->solver"], []),
        ("constant_linear", ["critic->solver"], []),
        ("linear+constant", ["planner->critic", "critic->solver", "solver->planner"], ["planner", "critic", "solver"]),
    ],
)
def test_what_leads_to_a_learned_constant_does_not_train(outer: str, edges: list[str], inner: list[str]) -> None:
    system = tiny_system("sequential", outer=outer)
    found = trainable(system, rounds=3, train_inner=True)
    names = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in found))
    assert names == [*(f"outer.{edge}" for edge in edges), *(f"inner.{role}" for role in inner)]
    outer_loss(system, EXAMPLES, rounds=3, channel=system.channel(2)).mean().backward()
    moved = {name for name, parameter in system.named_parameters() if parameter.grad is not None}
    assert moved == set(found)


def test_what_one_round_never_uses_does_not_train() -> None:
    system = tiny_system("sequential")
    trained = {rounds: trainable(system, rounds=rounds, train_inner=True) for rounds in (1, 2)}
    links = {rounds: {".".join(name.split(".")[:2]) for name in found} for rounds, found in trained.items()}
    assert links[2] - links[1] == {"outer.solver->planner", "inner.solver"}
    assert links[1] == {"outer.planner->critic", "outer.critic->solver", "inner.planner", "inner.critic"}
    trainable(system, rounds=1)
    loss = outer_loss(system, EXAMPLES, rounds=1, channel=LatentChannel(latent_steps=2)).mean()
    loss.backward()
    moved = {name for name, parameter in system.named_parameters() if parameter.grad is not None}
    assert moved == {name for name in trained[1] if name.startswith("outer.")}  # all that it names, and nothing else
