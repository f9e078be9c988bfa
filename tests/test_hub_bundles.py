"""Bundles on the hub, through the real client library, against a stand-in of the hub on 127.0.0.1."""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.utils._http import default_client_factory

from cli_runner import refusal, rmas
from fake_hub import TOKEN, FakeHub, start
from rmas.checkpoint import save_system
from rmas.errors import CheckpointError, ConfigError, RmasError, SourceError
from rmas.publish import publish
from rmas.sources import fetch_bundle, hub_name, pinned
from rmas.sources.bundles import HubName
from rmas.system import load_system
from rmas.systemfile import find_system, load_spec

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # huggingface_hub's own upload
]
PACK = """[roles.planner]
system = "You plan."
sections = ["Plan: {question}", "Back: {solver}"]
[roles.critic]
system = "You mend."
sections = ["Mend: {question}", "Plan: {planner}"]
[roles.solver]
system = "You solve."
sections = ["Solve: {question}", "Plan: {critic}", "{answer}"]
"""
SYSTEM = """pattern = "sequential"
prompts = "words.toml"
rounds = 2
latent_steps = 2
start = "identity"
[roles]
planner = { backbone = "tiny:llama" }
critic = { backbone = "tiny:qwen2" }
solver = { backbone = "tiny:llama" }
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a wording of its own, and beside it what training leaves and nobody publishes."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "words.toml").write_text(PACK, encoding="utf-8")
    (folder / "mine.toml").write_text(SYSTEM, encoding="utf-8")
    system = load_system(str(folder / "mine.toml"), cache=folder / "cache")
    save_system(system, folder / "bundle")
    (folder / "bundle/checkpoint-3").mkdir()
    (folder / "bundle/checkpoint-3/state.pt").write_bytes(b"pickle")
    (folder / "bundle/log.jsonl").write_text("{}\n", encoding="utf-8")
    return folder / "bundle"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    fake = FakeHub()
    server = start(fake)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", fake.url)
    template = f"{fake.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    huggingface_hub.set_client_factory(default_client_factory)
    fetch_bundle.cache_clear()
    yield fake
    fetch_bundle.cache_clear()
    huggingface_hub.close_session()
    server.shutdown()
    thread.join()
    server.server_close()


def files_of(bundle: Path) -> dict[str, bytes]:
    names = ("system.toml", "manifest.json", "links.safetensors", "prompts/words.toml")
    return {name: (bundle / name).read_bytes() for name in names}


def refused(kind: type[RmasError], name: str) -> str:
    """What a name is refused with, on one line."""
    with pytest.raises(kind) as caught:
        load_spec(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/team", HubName("org/team")),
        ("org/team@main", HubName("org/team", "main")),
        ("org/team@refs/pr/1", HubName("org/team", "refs/pr/1")),
        ("smol", None),
        ("org/team/more", None),
        ("org/team@", None),
        ("./team", None),
        ("org/team.toml", None),
        ("org/team@../x y", None),
    ],
)
def test_a_name_on_the_hub_has_one_slash_and_perhaps_a_revision(text: str, name: HubName | None) -> None:
    assert hub_name(text) == name


def test_a_folder_here_is_no_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org/team").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_name("org/team") is None
    assert find_system("org/team") == Path("org/team/system.toml")


# There and back


def test_a_bundle_that_was_pushed_answers_under_its_name_as_it_does_here(
    hub: FakeHub, bundle: Path, tmp_cache: Path
) -> None:
    result = rmas("push", str(bundle), "me/team")
    oid, files = hub.commits["me/team"][-1]
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f'rmas ask me/team@{oid} "Your question"'
    assert files.keys() == {*files_of(bundle), "README.md", "log.jsonl", ".gitattributes"}
    assert {name: files[name] for name in files_of(bundle)} == files_of(bundle)
    small = ("--max-new-tokens=8", "--json")
    here = rmas("ask", str(bundle), "Why?", *small, cache=tmp_cache)
    for name in ("me/team", f"me/team@{oid}"):
        there = rmas("ask", name, "Why?", *small, cache=tmp_cache)
        assert there.exit_code == 0
        assert json.loads(there.stdout)["text"] == json.loads(here.stdout)["text"]
        assert json.loads(there.stdout)["config"]["system"] == f"me/team@{oid[:12]}"
    assert load_system("me/team", cache=tmp_cache).digest() == load_system(str(bundle), cache=tmp_cache).digest()


def test_the_other_commands_take_a_name_on_the_hub(hub: FakeHub, bundle: Path, tmp_path: Path) -> None:
    oid = hub.put("org/team", files_of(bundle))
    assert f"system    org/team@{oid[:12]}" in rmas("show", "org/team").stdout
    assert "is ready" in rmas("fetch", "org/team", cache=tmp_path / "cache").stdout
    data = tmp_path / "data.jsonl"
    data.write_text(
        "".join(f'{{"question": "{n} + 1?", "answer": "#### {n + 1}"}}\n' for n in range(4)), encoding="utf-8"
    )
    common = ("--data", str(data), "--cache", str(tmp_path / "cache"))
    trained = rmas(
        "train",
        "outer",
        "org/team",
        "--out",
        str(tmp_path / "t"),
        *common,
        "--set",
        "steps=1",
        "--set",
        "dev=0",
        "--set",
        "batch_size=2",
    )
    assert trained.exit_code == 0, trained.stderr
    assert load_spec(str(tmp_path / "t")).pack.roles == load_spec("org/team").pack.roles
    out = tmp_path / "e"
    small = ("--task", "gsm8k", "--limit", "1", "--set", "max_new_tokens=4")
    done = rmas("eval", "--system", "org/team", *small, "--out", str(out), *common)
    assert done.exit_code == 0, done.stderr
    assert f'system = "org/team@{oid}"' in (out / "config.toml").read_text(encoding="utf-8")


def test_a_card_is_made_once_and_names_the_place_on_the_hub(hub: FakeHub, bundle: Path, tmp_path: Path) -> None:
    publish(bundle, "me/team")
    card = hub.commits["me/team"][-1][1]["README.md"].decode()
    assert 'rmas ask me/team "Your question"' in card
    assert "==> the answer, in round R" in card
    assert "| outer | planner->critic | mlp_ln_res |" in card
    assert "Not recorded in this bundle." in card
    assert "prompts in this bundle" in card
    assert not (bundle / "README.md").exists()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, data in (files_of(bundle) | {"README.md": b"My own words: rmas ask FOLDER now\n"}).items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(data)
    publish(copy, "me/team")
    assert hub.commits["me/team"][-1][1]["README.md"] == b"My own words: rmas ask me/team now\n"


def test_a_second_push_takes_away_what_the_bundle_has_no_more(hub: FakeHub, bundle: Path) -> None:
    publish(bundle, "me/team")
    hub.put("me/team", hub.commits["me/team"][-1][1] | {"prompts/old.toml": b"", "LICENSE": b"mine"})
    publish(bundle, "me/team")
    files = hub.commits["me/team"][-1][1]
    assert "prompts/old.toml" not in files
    assert files["LICENSE"] == b"mine"


def test_a_commit_that_is_here_is_not_asked_for_again(hub: FakeHub, bundle: Path) -> None:
    oid = hub.put("org/team", files_of(bundle))
    folder = fetch_bundle(HubName("org/team", oid))
    hub.requests.clear()
    fetch_bundle.cache_clear()
    hub.is_down = True
    assert fetch_bundle(HubName("org/team", oid)) == folder
    assert hub.requests == []


def test_a_branch_is_what_it_is_now_and_within_a_process_stays_that(hub: FakeHub, bundle: Path) -> None:
    first = hub.put("org/team", files_of(bundle))
    assert pinned("org/team") == f"org/team@{first}"
    second = hub.put("org/team", files_of(bundle) | {"README.md": b"new"})
    assert pinned("org/team") == f"org/team@{first}"
    fetch_bundle.cache_clear()
    assert pinned("org/team") == f"org/team@{second}"
    assert pinned("smol") == "smol"


def test_a_hub_that_is_down_leaves_the_last_answer_with_a_warning(
    hub: FakeHub, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    oid = hub.put("org/team", files_of(bundle))
    fetch_bundle(HubName("org/team"))
    fetch_bundle.cache_clear()
    hub.is_down = True
    assert load_spec("org/team").name == f"org/team@{oid[:12]}"
    assert f"org/team: the hub cannot be reached; taking what it was when last asked: {oid}" in caplog.text


# Interruptions


def test_a_download_that_breaks_off_goes_on_where_it_was(
    hub: FakeHub, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)
    hub.put("org/team", files_of(bundle))
    hub.cuts = {"links.safetensors": 2}
    assert load_spec("org/team").links is not None
    ranges = [headers.get("range") for verb, path, headers in hub.requests if verb == "GET" and "links" in path]
    assert len(ranges) == 3
    assert all(ranges[1:])
    folder = fetch_bundle(HubName("org/team"))
    assert (folder / "links.safetensors").read_bytes() == files_of(bundle)["links.safetensors"]


def test_a_download_that_never_ends_is_one_line_and_the_next_call_gets_the_bundle(hub: FakeHub, bundle: Path) -> None:
    hub.put("org/team", files_of(bundle))
    hub.cuts = {"links.safetensors": 10_000}
    hub.is_down = False
    assert "cannot be had from the hub" in refused(SourceError, "org/team")
    hub.cuts = {}
    assert load_system("org/team").digest() == load_system(str(bundle)).digest()


def test_what_an_interrupted_download_left_is_not_taken_for_a_bundle(hub: FakeHub, bundle: Path) -> None:
    oid = hub.put("org/team", files_of(bundle))
    hub.cuts = {"prompts/words.toml": 10_000}
    refused(SourceError, f"org/team@{oid}")
    hub.is_down = True
    assert "503" in refused(SourceError, f"org/team@{oid}")


# Refusals


def test_a_repository_that_does_not_exist_is_one_line(hub: FakeHub) -> None:
    assert refusal("ask", "org/none", "Why?").startswith("org/none: no folder here and no repository on the hub")
    assert refusal("show", "org/none").startswith("org/none: no folder here")


def test_a_revision_that_does_not_exist_is_one_line(hub: FakeHub, bundle: Path) -> None:
    hub.put("org/team", files_of(bundle))
    assert refused(SourceError, "org/team@v9").startswith("org/team: no revision 'v9'. Look at")


def test_a_gated_repository_is_one_line(hub: FakeHub, bundle: Path) -> None:
    hub.put("org/team", files_of(bundle))
    hub.gated.add("org/team")
    assert "gated. Ask for access at https://huggingface.co/org/team" in refused(SourceError, "org/team")


def test_without_the_hub_a_bundle_that_was_never_here_is_one_line(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refused(SourceError, "org/team") == (
        "org/team: not here, and HF_HUB_OFFLINE is set. Unset it to ask the hub."
    )


@pytest.mark.parametrize("name", ["adapter.pt", "model.safetensors", "solver.py", "prompts/x.bin", "links.pkl"])
def test_a_file_that_no_bundle_has_is_refused_before_anything_is_downloaded(
    hub: FakeHub, bundle: Path, name: str
) -> None:
    hub.put("org/team", files_of(bundle) | {name: b"\x80\x04."})
    assert f"{name} belongs to no bundle, so none of it is used" in refused(CheckpointError, "org/team")
    assert not [path for path in hub.asked("GET") if "/resolve/" in path]


def test_a_repository_without_a_system_file_is_no_bundle(hub: FakeHub) -> None:
    hub.put("org/model", {"config.json": b"{}", "README.md": b""})
    assert refused(CheckpointError, "org/model").startswith("org/model: no bundle: it has no system.toml")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"links.safetensors"', '"/etc/links.safetensors"', "links is '/etc/links.safetensors', which leads out"),
        ('"prompts/words.toml"', '"../words.toml"', "prompts is '../words.toml', which leads out of the bundle"),
        ('"sequential"', '"~/x.toml"', "pattern is '~/x.toml', which leads out"),
        ('"tiny:qwen2"', '"/srv/model"', "roles.critic.backbone is '/srv/model', which leads out"),
        ("rounds = 2", 'rounds = 2\nsolver = "os:system"', "solver 'os:system' is code"),
        ("rounds = 2", 'rounds = 2\nsolver = "x.py"', "solver 'x.py' is code"),
    ],
)
def test_a_system_file_that_leads_out_of_its_bundle_is_refused(
    hub: FakeHub, bundle: Path, old: str, new: str, problem: str
) -> None:
    text = files_of(bundle)["system.toml"].decode()
    assert old in text
    hub.put("org/team", files_of(bundle) | {"system.toml": text.replace(old, new).encode()})
    assert problem in refused(CheckpointError, "org/team")


def test_altered_links_are_refused(hub: FakeHub, bundle: Path, tmp_cache: Path) -> None:
    data = bytearray(files_of(bundle)["links.safetensors"])
    data[-1] ^= 1
    hub.put("org/team", files_of(bundle) | {"links.safetensors": bytes(data)})
    with pytest.raises(CheckpointError, match="The file was altered"):
        load_system("org/team", cache=tmp_cache)


# Refusals of a push


def test_no_permission_to_push_is_one_line(hub: FakeHub, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the hub refuses (403: You cannot create a model under the namespace org.)" in refusal(
        "push", str(bundle), "org/team"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the hub refuses (401: Invalid username or password.). Check what your token may do, or log in" in refusal(
        "push", str(bundle), "me/team"
    )
    assert hub.commits == {}


def test_a_repository_with_other_files_is_left_alone(hub: FakeHub, bundle: Path) -> None:
    hub.put("me/model", {"config.json": b"{}"})
    assert "me/model: holds config.json, which is no bundle's" in refusal("push", str(bundle), "me/model")
    assert len(hub.commits["me/model"]) == 1


@pytest.mark.parametrize("name", ["team", "a/b/c", "me/team@main", "me/../x"])
def test_a_name_that_is_none_is_refused(hub: FakeHub, bundle: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected ORG/NAME"):
        publish(bundle, name)
    assert hub.requests == []


def test_what_is_no_whole_bundle_is_not_pushed(hub: FakeHub, bundle: Path, tmp_path: Path) -> None:
    assert "no bundle: it has no system.toml" in refusal("push", str(tmp_path), "me/team")
    altered = tmp_path / "altered"
    (altered / "prompts").mkdir(parents=True)
    for name, data in files_of(bundle).items():
        (altered / name).write_bytes(data[:-1] + b"\x01" if name.endswith("safetensors") else data)
    assert "The file was altered" in refusal("push", str(altered), "me/team")
    text = files_of(bundle)["system.toml"].decode()
    (altered / "system.toml").write_text(text.replace('links = "links.safetensors"\n', ""), encoding="utf-8")
    assert "holds no links" in refusal("push", str(altered), "me/team")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    (altered / "system.toml").write_text(text.replace("tiny:qwen2", str(model)), encoding="utf-8")
    assert f"critic is {model}, which nobody else has" in refusal("push", str(altered), "me/team")
    assert hub.requests == []


def test_the_token_is_sent_to_the_hub_and_written_nowhere(
    hub: FakeHub, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        done = rmas("push", str(bundle), "me/team")
        asked = rmas("ask", "me/team", "Why?", "--max-new-tokens=2", cache=tmp_path / "cache")
        no = rmas("push", str(bundle), "org/team")
    sent = [headers.get("authorization") for verb, path, headers in hub.requests if "commit" in path]
    assert sent == [f"Bearer {TOKEN}"]
    texts = [r.stdout + r.stderr for r in (done, asked, no)] + [caplog.text]
    texts += [file.read_text(errors="ignore") for file in tmp_path.rglob("*") if file.is_file()]
    texts += [data.decode(errors="ignore") for data in hub.commits["me/team"][-1][1].values()]
    assert not [text for text in texts if TOKEN in text]
