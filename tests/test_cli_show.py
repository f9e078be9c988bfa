"""`rmas show` and `rmas doctor`, on everything that ships."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli_runner import refusal, rmas
from rmas.link import count_parameters
from rmas.pattern import known_patterns, load_pattern
from rmas.sources import MODELS
from rmas.system import load_system
from rmas.systemfile import known_systems, load_spec


def _json(*arguments: str, cache: Path | None = None) -> dict[str, Any]:
    result = rmas(*arguments, "--json", cache=cache)
    assert (result.exit_code, result.stderr) == (0, "")
    table: dict[str, Any] = json.loads(result.stdout)
    return table


@pytest.mark.parametrize("name", known_patterns())
def test_every_pattern_is_drawn_with_every_edge(name: str) -> None:
    pattern, text = load_pattern(name), rmas("show", name).stdout
    lines = {role: next(line for line in text.splitlines() if f"[{role}]" in line) for role in pattern.roles}
    assert all(edge.source in lines[edge.target].partition("<")[2] for edge in pattern.edges)
    assert "==> the answer, in round R" in lines[pattern.answerer]


@pytest.mark.parametrize(
    ("name", "turns"),
    [("sequential", [3, 6, 9]), ("mixture", [4, 8, 12]), ("distillation", [2, 4, 6]), ("deliberation", [2, 4, 6])],
)
def test_the_turns_of_a_pattern_are_counted(name: str, turns: list[int]) -> None:
    assert list(_json("show", name)["turns"].values()) == turns


def test_an_edge_back_is_read_in_the_next_round() -> None:
    edges = {f"{edge['source']}->{edge['target']}": edge["reads"] for edge in _json("show", "sequential")["edges"]}
    assert edges == {
        "planner->critic": "this round",
        "critic->solver": "this round",
        "solver->planner": "the round before",
    }


@pytest.mark.parametrize("name", known_systems())
def test_every_system_is_shown_without_its_weights(name: str, tmp_cache: Path) -> None:
    table = _json("show", name, cache=tmp_cache)
    spec = load_spec(name)
    assert [role["role"] for role in table["roles"]] == list(spec.roles)
    assert len(table["links"]) == (len(spec.roles) + len(spec.outer) if spec.roles else 0)
    assert table["memory_bytes"]["total"] == sum(table["memory_bytes"][part] for part in ("weights", "links", "state"))
    assert rmas("show", name, cache=tmp_cache).exit_code == 0
    assert not tmp_cache.exists()


def test_thoughts_that_halt_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "ends.toml"
    file.write_text(
        'pattern = "solo"\nlatent_steps = 9\nhalts = true\n[roles.solver]\nbackbone = "tiny:llama"\n', encoding="utf-8"
    )
    assert "latent steps up to 9" in rmas("show", str(file)).stdout
    assert _json("show", str(file))["halts"] is True


def test_shown_widths_and_links_are_those_of_the_loaded_system() -> None:
    table, system = _json("show", "tiny"), load_system("tiny")
    assert [role["width"] for role in table["roles"]] == [backbone.dim for backbone in system.backbones.values()]
    assert table["num_link_parameters"] == sum(parameter.numel() for parameter in system.parameters())


def test_known_models_are_shown_before_they_are_here(tmp_cache: Path) -> None:
    table = _json("show", "smol", "--dtype", "float32", "--device", "cpu", cache=tmp_cache)
    models = [MODELS[role["backbone"]] for role in table["roles"]]
    assert [role["width"] for role in table["roles"]] == [model.dim for model in models]
    assert table["memory_bytes"]["weights"] == 4 * sum(model.num_parameters for model in models)
    assert table["missing"] == [model.name for model in models]
    assert table["links"][3]["num_parameters"] == count_parameters("linear", "outer", 576, 640)


def test_roles_on_one_model_share_its_weights(tmp_cache: Path) -> None:
    table = _json("show", "smol-qwen", "--dtype", "float32", "--device", "cpu", cache=tmp_cache)
    assert table["memory_bytes"]["weights"] == 4 * MODELS["qwen2.5-coder-0.5b"].num_parameters


def test_an_adapter_makes_it_another_model(tmp_path: Path, tmp_cache: Path) -> None:
    lines = {"planner": 'inner = "linear"', "critic": 'inner = "mlp_ln_res"', "solver": 'adapter = "tuned"'}
    roles = [f'[roles.{role}]\nbackbone = "qwen2.5-coder-0.5b"\n{line}\n' for role, line in lines.items()]
    (tmp_path / "mine.toml").write_text('pattern = "sequential"\n' + "".join(roles), encoding="utf-8")
    table = _json("show", str(tmp_path / "mine.toml"), "--dtype", "float32", "--device", "cpu", cache=tmp_cache)
    assert table["memory_bytes"]["weights"] == 2 * 4 * MODELS["qwen2.5-coder-0.5b"].num_parameters


def test_an_unknown_width_is_a_question_mark(tmp_path: Path, tmp_cache: Path) -> None:
    commit = "0" * 40
    (tmp_path / "mine.toml").write_text(
        f'pattern = "solo"\n[roles.solver]\nbackbone = "someone/something@{commit}"\n', encoding="utf-8"
    )
    table = _json("show", str(tmp_path / "mine.toml"), cache=tmp_cache)
    assert (table["roles"][0]["width"], table["memory_bytes"]["total"]) == (None, None)
    assert "? -> ?" in rmas("show", str(tmp_path / "mine.toml"), cache=tmp_cache).stdout


def test_a_folder_is_read_from_its_config_and_headers(tmp_path: Path) -> None:
    backbone = load_system("tiny").backbones["planner"]
    backbone.model.save_pretrained(tmp_path / "model")
    (tmp_path / "mine.toml").write_text('pattern = "solo"\n[roles.solver]\nbackbone = "./model"\n', encoding="utf-8")
    role = _json("show", str(tmp_path / "mine.toml"))["roles"][0]
    assert (role["width"], role["num_parameters"]) == (backbone.dim, backbone.num_parameters)
    assert role["is_here"]


def test_a_pattern_file_is_shown(tmp_path: Path) -> None:
    (tmp_path / "duo.toml").write_text(
        'schedule = [["a"], ["b"]]\nedges = [["a", "b"]]\nanswerer = "b"\n', encoding="utf-8"
    )
    assert _json("show", str(tmp_path / "duo.toml"))["turns"] == {"1": 2, "2": 4, "3": 6}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('schedule = [["a"]]\nanswerer = "b"', "answerer: 'b' is not in the last step"),
        ('schedule = [["a"], ["b"]]\nedges = [["a", "c"]]\nanswerer = "b"', "unknown role 'c'"),
        ('patern = "solo"', "unknown key 'patern'"),
        ("schedule = [", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert part in refusal("show", str(tmp_path / "mine.toml"))


def test_an_unknown_subject_lists_systems_and_patterns() -> None:
    line = refusal("show", "sequentail")
    assert "unknown system or pattern 'sequentail'" in line
    assert "Did you mean 'sequential'?" in line


def test_doctor_knows_every_system_and_how_to_get_it(tmp_cache: Path) -> None:
    table = _json("doctor", "--cache", str(tmp_cache))
    rows = {row["system"]: row for row in table["systems"]}
    assert sorted(rows) == known_systems()
    assert rows["smol"]["command"] == f"rmas fetch smol --cache {tmp_cache}"
    assert (rows["tiny"]["command"], rows["tiny"]["fits"], rows["tiny"]["missing"]) == (None, True, [])
    assert {"python", "rmas", "torch", "transformers", "tokenizers", "safetensors", "gguf"} == set(table["versions"])
    assert table["devices"][0]["device"] == "cpu"
    assert table["devices"][0]["dtype_auto"] in ("float32", "bfloat16")
    assert table["cache"]["free_bytes"] > 0
    assert not tmp_cache.exists()


def test_doctor_prints_a_row_per_system(tmp_cache: Path) -> None:
    result = rmas("doctor", cache=tmp_cache)
    assert result.exit_code == 0
    assert "rmas fetch smol-qwen" in result.stdout
    assert all(name in result.stdout for name in known_systems())
