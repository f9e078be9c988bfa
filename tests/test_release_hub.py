"""Released systems by their ids on the hub: pinned, read through the ordinary client, and nobody's cache is touched."""

import tomllib
from pathlib import Path

import pytest

from cli_runner import refusal, rmas
from fake_hub import FakeHub
from release_zoo import Repositories, write_release
from rmas.configfile import load_config
from rmas.eval.config import EvalConfig
from rmas.eval.task import find_task
from rmas.release import RELEASED
from rmas.release.recommended import GENERATIONS, recommended, top_k_of, write_settings
from test_hub_bundles import hub as hub  # a fixture

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def publish(fake: FakeHub, repositories: Repositories, system: str = "deliberation") -> dict[str, str]:
    """Put them where the published ones are; their commits by id."""
    released = RELEASED[system]
    folders = {released.roles[role]: path for role, path in repositories.roles.items()}
    folders[released.outer] = repositories.outer
    return {
        name: fake.put(name, {file.name: file.read_bytes() for file in sorted(folder.iterdir())} | {"README.md": b"hi"})
        for name, folder in folders.items()
    }


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_published_ids_are_pinned_and_only_what_is_needed_is_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    commits = publish(hub, write_release(tmp_path / "made", "deliberation", "flat"))
    made = rmas("convert", "deliberation", f"--out={tmp_path / 'bundle'}", cache=tmp_path / "cache")
    assert (made.exit_code, made.stdout) == (0, f"{tmp_path / 'bundle'} is ready: 2 roles, 2 outer links.\n")
    table = tomllib.loads((tmp_path / "bundle/system.toml").read_text(encoding="utf-8"))
    for role, name in RELEASED["deliberation"].roles.items():
        assert table["roles"][role]["backbone"] == f"{name}@{commits[name]}"
    told = ["--rounds=2", "--latent-steps=2", "--max-new-tokens=3", "--device=cpu"]
    assert rmas("ask", str(tmp_path / "bundle"), "Why?", *told, cache=tmp_path / "cache").exit_code == 0
    assert not files(tmp_path / "hf") & {"README.md", "model.safetensors", "tokenizer.json"}
    assert not files(tmp_path / "cache") & {"adapter_config.json", "adapter.pt", "README.md"}


def test_a_revision_may_be_named_for_each_repository(hub: FakeHub, tmp_path: Path) -> None:
    old = publish(hub, write_release(tmp_path / "old", "deliberation", "flat"))
    new = publish(hub, write_release(tmp_path / "new", "deliberation", "flat", seed=5))
    released = RELEASED["deliberation"]
    pins = [f"--role={role}={name}@{old[name]}" for role, name in released.roles.items()]
    pins.append(f"--outer={released.outer}@{old[released.outer]}")
    assert rmas("convert", "deliberation", f"--out={tmp_path / 'a'}", *pins, cache=tmp_path / "cache").exit_code == 0
    assert rmas("convert", "deliberation", f"--out={tmp_path / 'b'}", cache=tmp_path / "cache").exit_code == 0
    assert old.keys() == new.keys()
    assert (tmp_path / "a/links.safetensors").read_bytes() != (tmp_path / "b/links.safetensors").read_bytes()


def test_a_hub_that_lacks_a_repository_is_one_line_and_nothing_is_written(hub: FakeHub, tmp_path: Path) -> None:
    publish(hub, write_release(tmp_path / "made", "deliberation", "flat"))
    del hub.commits[RELEASED["deliberation"].outer]
    told = refusal("convert", "deliberation", f"--out={tmp_path / 'bundle'}", f"--cache={tmp_path / 'cache'}")
    assert "RecursiveMAS/Deliberation-Outerlinks: no folder here and no repository on the hub" in told
    hub.is_down = True
    assert "the hub" in refusal("convert", "deliberation", f"--out={tmp_path / 'bundle'}")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", RELEASED)
def test_recommended_settings_are_those_of_an_evaluation(name: str, tmp_path: Path) -> None:
    tasks = ("math", "code") if RELEASED[name].has_tasks else (None,)
    for task in tasks:
        paths = write_settings(tmp_path / str(task), bundle=tmp_path / "b", system=name, task=task, answerer=tmp_path)
        assert paths
        for path in paths:
            config = load_config(EvalConfig, path, ())
            assert find_task(config.task).name == path.stem.removesuffix("-april")
            assert (config.seed, config.top_p, config.top_k) == (42, 0.95, 50)
            assert (
                config.temperature == (0.2 if find_task(config.task).kind == "code" else 0.6)
                or name != "sequential-light"
            )


def test_recommended_settings_follow_the_links_that_a_data_set_uses() -> None:
    light = "sequential-light"
    assert "mbpp_plus" in recommended(light, task="code")
    assert "mbpp_plus" not in recommended(light, task="math")
    assert recommended(light, task="math")["math500"]["max_new_tokens"] == 1000
    assert recommended("mixture", task=None)["math500"]["max_new_tokens"] == 2000
    assert {"mbpp_plus", "aime2025"} <= recommended("mixture", task=None).keys()
    assert recommended(light, task="math")["aime2026"]["samples"] == 10
    assert recommended("distillation", task="code")["livecodebench"]["temperature"] == 0.6
    assert recommended("mixture", task=None)["livecodebench"]["temperature"] == 0.2


def test_the_two_generations_differ_where_the_authors_changed_their_minds() -> None:
    june, april = (recommended("sequential-light", task="math", generation=one) for one in GENERATIONS)
    assert (june["math500"]["latent_steps"], april["math500"]["latent_steps"]) == (32, 48)
    assert recommended("mixture", task=None, generation="april") == {}


def test_the_answerers_own_top_k_goes_into_the_settings(tmp_path: Path) -> None:
    assert top_k_of(tmp_path) == 50
    (tmp_path / "generation_config.json").write_text('{"top_k": 20}', encoding="utf-8")
    assert top_k_of(tmp_path) == 20
    (tmp_path / "generation_config.json").write_text("[]", encoding="utf-8")
    assert top_k_of(tmp_path) == 50
