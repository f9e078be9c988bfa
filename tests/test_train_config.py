"""Training configs: a file, then --set, then what is given; every refusal names the key, the value and what fits."""

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from rmas.configfile import differences, load_config, to_toml
from rmas.errors import ConfigError
from rmas.train.config import InnerConfig, LoopConfig, OuterConfig

CONFIGS: tuple[type[LoopConfig], ...] = (InnerConfig, OuterConfig)


def outer(*sets: str, file: Path | None = None, **given: Any) -> OuterConfig:
    return load_config(OuterConfig, file, sets, **{"data": "x.jsonl"} | given)


def write(folder: Path, text: str) -> Path:
    path = folder / "train.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_given_wins_over_set_and_set_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'data = "file.jsonl"\nsteps = 1\nlr = 1e-3\nseed = 7\n')
    config = load_config(OuterConfig, file, ["steps=2", "lr=2e-3"], steps=3, data=None)
    assert (config.data, config.steps, config.lr, config.seed) == ("file.jsonl", 3, 2e-3, 7)


def test_without_data_anywhere_the_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^data: none given\. Pass --data with"):
        load_config(OuterConfig, None, [])


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("lr=1", "lr", 1.0),
        ("clip=inf", "clip", float("inf")),
        ("betas=[0.8, 0.9]", "betas", (0.8, 0.9)),
        ("train_inner=true", "train_inner", True),
        ("objective=mixed", "objective", "mixed"),
        ('objective="mixed"', "objective", "mixed"),
        ("answer_after=####", "answer_after", "####"),
        ("answer_after=5", "answer_after", "5"),
        ("data=a=b?size=3", "data", "a=b?size=3"),
        ("rounds=2", "rounds", 2),
        ("minutes=2", "minutes", 2.0),
        ("probes=[]", "probes", ()),
        ('probes=["noise", "zeroed"]', "probes", ("noise", "zeroed")),
        ("curriculum=[[0, 1, 2], [50, 3, 4]]", "curriculum", ((0, 1, 2), (50, 3, 4))),
        ("columns.question=problem", "columns", {"question": "problem"}),
        ("columns.context.planner=facts", "columns", {"context.planner": "facts"}),
        ("columns.answer=7", "columns", {"answer": "7"}),
    ],
)
def test_a_set_line_becomes_a_value_of_its_type(line: str, name: str, value: object) -> None:
    found = vars(load_config(OuterConfig, None, ["data=x", line]))[name]
    assert found == value
    assert type(found) is type(value)


def test_dotted_sets_add_to_the_columns_of_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[columns]\nquestion = "q"\nanswer = "a"\n[columns.context]\nplanner = "p"\n')
    config = outer("columns.answer=b", "columns.plan=c", file=file)
    assert config.columns == {"question": "q", "answer": "b", "context.planner": "p", "plan": "c"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("steps", "--set steps: expected key=value."),
        ("stepz=3", "--set stepz=3: unknown key 'stepz' (have "),
        ("steps=x", "--set steps=x: steps: expected a whole number, got 'x'."),
        ("steps=1.5", "--set steps=1.5: steps: expected a whole number, got '1.5'."),
        ("steps=true", "--set steps=true: steps: expected a whole number, got 'true'."),
        ("rounds=many", "--set rounds=many: rounds: expected a whole number, got 'many'."),
        ("lr=fast", "--set lr=fast: lr: expected a number, got 'fast'."),
        ("train_inner=1", "--set train_inner=1: train_inner: expected true or false, got '1'."),
        ("betas=[0.9]", "--set betas=[0.9]: betas: expected a list of 2, each a number, got '[0.9]'."),
        ("decay=linear", "--set decay=linear: decay: expected one of cosine, constant, got 'linear'."),
        (
            "probes=noise",
            "--set probes=noise: probes: expected a list, each one of shuffled, mean, rotated, covariance, noise",
        ),
        ("steps.a=1", "--set steps.a=1: steps is no table. Write steps=1."),
        ("columns=a", "--set columns=a: columns: expected a table of texts, got 'a'."),
    ],
)
def test_a_set_line_that_does_not_fit_is_refused(line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        outer(line)
    assert str(refused.value).startswith(problem)


def test_an_unknown_set_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'batch_size'\?$"):
        outer("batchsize=3")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed = 1\nrouds = 2\n", ":2: rouds: unknown key 'rouds' (have "),
        ("seed = 1\nsteps = 'x'\n", ":2: steps: expected a whole number, got 'x'."),
        ("[columns]\nquestion = 3\n", ":1: columns: expected a table of texts, got {'question': 3}."),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        outer(file=file)
    assert str(refused.value).startswith(f"{file}{problem}")


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"data": " "}, "data is ' ', expected a file, a dataset's id or a generator."),
        ({"kind": "maths"}, "unknown task kind 'maths' (have choice, code, math, open, search). Did you mean 'math'?"),
        ({"dev": -1}, "dev is -1, expected 0 (hold out none) or more."),
        ({"limit": 0}, "limit is 0, expected 1 or more."),
        ({"answer_after": ""}, "answer_after is empty, expected the mark before the answer, such as ####."),
        ({"steps": 0}, "steps is 0, expected 1 or more."),
        ({"batch_size": 0}, "batch_size is 0, expected 1 or more."),
        ({"batch_size": 4, "micro_batch": 5}, "micro_batch is 5, expected 1 to batch_size (4)."),
        ({"lr": float("nan")}, "lr is nan, expected a number above 0."),
        ({"betas": (0.9, 1.0)}, "betas is (0.9, 1.0), expected two numbers of 0 or more, below 1."),
        ({"weight_decay": -0.1}, "weight_decay is -0.1, expected 0 or more."),
        ({"warmup": -1}, "warmup is -1, expected 0 or more."),
        ({"clip": 0.0}, "clip is 0.0, expected above 0; inf for no clipping."),
        ({"decay": "cosin"}, "unknown decay 'cosin' (have constant, cosine). Did you mean 'cosine'?"),
        ({"start": "alignn"}, "unknown start 'alignn' (have align, align_soft, identity, pytorch). Did you mean"),
        ({"save_every": 0}, "save_every is 0, expected 1 or more."),
        ({"patience": -1}, "patience is -1, expected 0 or more."),
    ],
)
@pytest.mark.parametrize("cls", CONFIGS)
def test_a_value_out_of_range_is_refused_by_both_configs(
    cls: type[LoopConfig], setting: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        cls(**{"data": "x"} | setting)
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize(
    ("cls", "setting", "line"),
    [
        (OuterConfig, {"objective": "rolout"}, "unknown objective 'rolout' (have mixed, rollout, teacher_forced)."),
        (OuterConfig, {"mixed_until": 0.0}, "mixed_until is 0.0, expected above 0, at most 1."),
        (OuterConfig, {"rounds": 0}, "rounds is 0, expected 1 or more."),
        (OuterConfig, {"latent_steps": -1}, "latent_steps is -1, expected 0 (the answerer alone) or more."),
        (OuterConfig, {"curriculum": ((5, 1, 1), (5, 2, 1))}, "curriculum is [(5, 1, 1), (5, 2, 1)], expected rows of"),
        (OuterConfig, {"curriculum": ((0, 0, 1),)}, "curriculum is [(0, 0, 1)], expected rows of"),
        (OuterConfig, {"earlier_weight": -1.0}, "earlier_weight is -1.0, expected 0 or more."),
        (OuterConfig, {"target_cap": 0}, "target_cap is 0, expected 1 or more."),
        (OuterConfig, {"clip_latents": 0.0}, "clip_latents is 0.0, expected above 0"),
        (
            OuterConfig,
            {"clip_latents": 5.0, "objective": "teacher_forced"},
            "clip_latents is 5.0, expected above 0, beside another objective than teacher_forced",
        ),
        (
            OuterConfig,
            {"probes": ("shufled",)},
            "unknown probe 'shufled' (have covariance, mean, noise, rotated, shuffled, zeroed).",
        ),
        (OuterConfig, {"minutes": 0.0}, "minutes is 0.0, expected above 0."),
        (InnerConfig, {"norm_weight": -1.0}, "norm_weight is -1.0, expected 0 or more."),
        (InnerConfig, {"target": "next"}, "unknown target 'next' (have next_token, soft_token)."),
        (InnerConfig, {"positions": "some"}, "unknown positions 'some' (have all, target)."),
        (InnerConfig, {"tau": 0.0}, "tau is 0.0, expected a number above 0."),
        (InnerConfig, {"max_length": 1}, "max_length is 1, expected 2 or more."),
        (InnerConfig, {"roles": ("a", "a")}, "roles is ['a', 'a'], expected each role once."),
    ],
)
def test_a_value_of_one_stage_out_of_range_is_refused(
    cls: type[LoopConfig], setting: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        cls(**{"data": "x"} | setting)
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize("cls", CONFIGS)
def test_what_is_written_reads_back_the_same(tmp_path: Path, cls: type[LoopConfig]) -> None:
    config = cls(data='a "b".jsonl', columns={"context.planner": "p"}, betas=(0.5, 0.25), clip=float("inf"))
    assert load_config(cls, write(tmp_path, to_toml(config)), []) == config


def test_none_is_left_out_of_the_file_and_every_other_setting_is_in() -> None:
    written = tomllib.loads(to_toml(OuterConfig(data="x", rounds=2, columns={"plan": "p"})))
    unset = {
        "limit",
        "answer_after",
        "micro_batch",
        "start",
        "latent_steps",
        "minutes",
        "constant_lr",
        "constants",
        "outer",
    }
    assert written.keys() == {part.name for part in fields(OuterConfig)} - unset


def test_differences_name_the_key_and_both_values() -> None:
    config = OuterConfig(data="x")
    assert differences(config, replace(config, lr=1.0, rounds=2)) == [("lr", 3e-4, 1.0), ("rounds", None, 2)]
    assert differences(config, OuterConfig(data="x")) == []


def test_the_stages_differ_in_their_defaults() -> None:
    inner, outer = InnerConfig(data="x"), OuterConfig(data="x")
    assert (inner.steps, inner.batch_size, inner.lr) == (1000, 1024, 5e-4)
    assert (outer.steps, outer.batch_size, outer.lr) == (300, 16, 3e-4)
