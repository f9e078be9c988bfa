"""`released/NAME` wherever a system's name goes: converted once into the cache, by the commits of its repositories."""

import json
import logging
import tomllib
from pathlib import Path

import pytest

from cli_runner import refusal, rmas
from fake_hub import FakeHub
from release_zoo import write_release
from rmas.errors import ConfigError, SourceError
from rmas.release import RELEASED, system_name
from rmas.systemfile import find_system, load_spec
from test_hub_bundles import hub as hub  # a fixture
from test_release_hub import publish

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
NAME = "released/deliberation"
SMALL = ("--rounds=1", "--latent-steps=1", "--max-new-tokens=2", "--device=cpu", "--json")


def bundles(cache: Path) -> list[Path]:
    """What lies in the cache where converted systems belong, locks apart."""
    return sorted(path for path in (cache / "released").glob("*") if path.suffix != ".lock")


def downloads(fake: FakeHub) -> list[str]:
    return [path for path in fake.asked("GET") if "/resolve/" in path]


def test_a_released_system_is_asked_in_one_step_and_converted_once(
    hub: FakeHub, tmp_path: Path, tmp_cache: Path
) -> None:
    publish(hub, write_release(tmp_path / "made", "deliberation", "flat"))
    hub.put(NAME, {"system.toml": b"never read"})
    first = rmas("ask", NAME, "Why?", *SMALL, cache=tmp_cache)
    assert first.exit_code == 0
    (bundle,) = bundles(tmp_cache)
    made, asked, sent = (bundle / "links.safetensors").stat(), len(hub.requests), len(downloads(hub))
    again = rmas("ask", NAME, "Why?", *SMALL, cache=tmp_cache)
    assert json.loads(again.stdout)["text"] == json.loads(first.stdout)["text"]
    assert (bundle / "links.safetensors").stat() == made
    assert (len(hub.requests) - asked, len(downloads(hub))) == (3, sent)  # what each branch stands for, no more
    assert not [path for _, path, _ in hub.requests if NAME in path]
    assert rmas("convert", "deliberation", f"--out={tmp_path / 'own'}", cache=tmp_cache).exit_code == 0
    for name in ("system.toml", "manifest.json", "links.safetensors"):
        converted = (bundle / name).read_bytes()
        assert converted == (tmp_path / "own" / name).read_bytes()


def test_a_task_is_named_behind_an_at_sign(hub: FakeHub, tmp_path: Path, tmp_cache: Path) -> None:
    publish(hub, write_release(tmp_path / "made", "distillation", "by_task"), "distillation")
    names = ("released/distillation", "released/distillation@math", "released/distillation@code")
    plain, math, code = (Path(system_name(name, cache=tmp_cache)) for name in names)
    assert plain == math
    assert (math.name[:18], code.name[:18]) == ("distillation-math-", "distillation-code-")
    options = ("--task=code", f"--out={tmp_path / 'own'}")
    assert rmas("convert", "distillation", *options, cache=tmp_cache).exit_code == 0
    links = [(folder / "links.safetensors").read_bytes() for folder in (math, code, tmp_path / "own")]
    assert (links[0] == links[1], links[1] == links[2]) == (False, True)


def test_a_repository_that_moved_makes_another_bundle(hub: FakeHub, tmp_path: Path, tmp_cache: Path) -> None:
    old = publish(hub, write_release(tmp_path / "old", "deliberation", "flat"))
    first = Path(system_name(NAME, cache=tmp_cache))
    new = publish(hub, write_release(tmp_path / "new", "deliberation", "flat", seed=5))
    second = Path(system_name(NAME, cache=tmp_cache))
    assert bundles(tmp_cache) == sorted([first, second])
    for folder, commits in ((first, old), (second, new)):
        roles = tomllib.loads((folder / "system.toml").read_text(encoding="utf-8"))["roles"]
        pins = {f"{name}@{commits[name]}" for name in RELEASED["deliberation"].roles.values()}
        assert {role["backbone"] for role in roles.values()} == pins


def test_without_the_hub_the_last_bundle_counts_with_a_warning(
    hub: FakeHub, tmp_path: Path, tmp_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(hub, write_release(tmp_path / "made", "deliberation", "flat"))
    made = system_name(NAME, cache=tmp_cache)
    hub.is_down = True
    with caplog.at_level(logging.WARNING):
        assert system_name(NAME, cache=tmp_cache) == made
    assert f"{NAME}: the hub cannot be reached; taking what was converted last: {Path(made).name}" in caplog.text


@pytest.mark.parametrize("verb", [("ask", NAME, "Why?"), ("show", NAME), ("fetch", NAME), ("demo", f"--system={NAME}")])
def test_without_hub_and_bundle_it_is_one_line(hub: FakeHub, tmp_cache: Path, verb: tuple[str, ...]) -> None:
    hub.is_down = True
    told = refusal(*verb, f"--cache={tmp_cache}")
    assert told.startswith(f"{NAME}: RecursiveMAS/Deliberation-Reflector-Qwen3.5-4B: the hub answers ")
    assert not tmp_cache.exists()


def test_a_conversion_that_fails_leaves_nothing_where_a_bundle_belongs(
    hub: FakeHub, tmp_path: Path, tmp_cache: Path
) -> None:
    repositories = write_release(tmp_path / "made", "deliberation", "flat")
    (repositories.roles["toolcaller"] / "adapter.pt").write_bytes(b"")
    publish(hub, repositories)
    assert "adapter.pt: damaged" in refusal("show", NAME, f"--cache={tmp_cache}")
    assert bundles(tmp_cache) == []
    del hub.commits[RELEASED["deliberation"].outer]
    with pytest.raises(SourceError, match=r"released/deliberation: .*Outerlinks: no folder here and no repository"):
        system_name(NAME, cache=tmp_cache)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("released/sequential-ligt", "unknown released system 'sequential-ligt'"),
        ("released/", "unknown released system ''"),
        ("released/sequential-light@cod", "unknown task 'cod' (have code, math). Did you mean 'code'?"),
    ],
)
def test_a_name_that_is_none_of_the_released_is_refused_and_nobody_asked(
    hub: FakeHub, tmp_cache: Path, name: str, problem: str
) -> None:
    assert problem in refusal("show", name, f"--cache={tmp_cache}")
    assert hub.requests == []


def test_other_names_and_a_folder_here_stay_as_they_are(
    tmp_path: Path, tmp_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert system_name("smol", cache=tmp_cache) == "smol"
    with pytest.raises(ConfigError, match=r"released/mixture: has to become a bundle first\..*system_name"):
        load_spec("released/mixture")
    (tmp_path / "released/mixture").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert system_name("released/mixture", cache=tmp_cache) == "released/mixture"
    assert find_system("released/mixture") == Path("released/mixture/system.toml")


def test_it_is_shown_evaluated_and_compared_under_its_name(hub: FakeHub, tmp_path: Path, tmp_cache: Path) -> None:
    publish(hub, write_release(tmp_path / "made", "deliberation", "flat"))
    shown = rmas("show", NAME, "--json", cache=tmp_cache)
    (bundle,) = bundles(tmp_cache)
    assert json.loads(shown.stdout)["system"] == bundle.name
    (tmp_path / "rows.jsonl").write_text('{"problem": "What is 1 + 1?", "answer": "2", "unique_id": "a"}\n')
    options = ("--task=math500", f"--data={tmp_path / 'rows.jsonl'}", f"--out={tmp_path / 'run'}", "--device=cpu")
    small = ("--rounds=1", "--latent-steps=1", "--set=max_new_tokens=2")
    assert rmas("eval", f"--system={NAME}", *options, *small, cache=tmp_cache).exit_code == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text(encoding="utf-8"))
    assert summary["config"]["system"] == str(bundle)
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'rounds = 1\nlatent_steps = 1\nmax_new_tokens = 2\n[tasks.math500]\ntask = "math500"\n'
        f'data = "{tmp_path / "rows.jsonl"}"\n[methods.theirs]\nsystem = "{NAME}"\n',
        encoding="utf-8",
    )
    done = rmas("compare", str(suite), f"--out={tmp_path / 'out'}", "--device=cpu", cache=tmp_cache)
    assert (done.exit_code, len(bundles(tmp_cache))) == (0, 1), done.stderr
