"""`rmas fetch` and `rmas demo` without downloads."""

from pathlib import Path

import pytest

from cli_runner import refusal, rmas
from rmas.cli.demo import QUESTIONS
from rmas.cli.fetch import unpack_all
from rmas.cli.screen import progress
from rmas.errors import BackboneError, SourceError


def test_fetch_of_a_system_without_weights_says_that_it_is_ready(tmp_cache: Path) -> None:
    assert rmas("fetch", "echo", cache=tmp_cache).stdout == "echo needs no weights: it is ready.\n"
    result = rmas("fetch", "tiny", cache=tmp_cache)
    assert result.exit_code == 0
    assert result.stdout.startswith("tiny is ready: tiny:llama, tiny:gemma3_text, tiny:qwen2; 6 links.")
    assert str(tmp_cache) in result.stdout


def test_fetch_of_an_unknown_system_is_refused() -> None:
    assert refusal("fetch", "tinny").startswith("unknown system 'tinny'")


def test_an_interrupted_fetch_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_cache: Path) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rmas.sources.fetch", interrupt)
    result = rmas("fetch", "smol", cache=tmp_cache)
    assert result.exit_code == 130
    assert result.stderr == "rmas: interrupted. What is finished is kept: rmas fetch smol goes on from there.\n"


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_cache: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SourceError("smollm2-135m: needs 1.00 GiB, 0.10 GiB free")

    monkeypatch.setattr("rmas.sources.fetch", refuse)
    assert refusal("fetch", "smol", "--cache", str(tmp_cache)) == "smollm2-135m: needs 1.00 GiB, 0.10 GiB free"


@pytest.mark.slow
def test_an_error_in_an_unpacking_process_comes_back_as_itself(tmp_path: Path, tmp_cache: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF but nothing more")
    with progress() as report, pytest.raises(BackboneError, match=r"broken\.gguf"):
        unpack_all({"broken": file}, tmp_cache, report)


def test_progress_without_a_terminal_is_a_line_at_the_start_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress() as report:
        for done in (0, 50_000_000, 98_000_000):
            report("smollm2-135m", done, 98_000_000)
        report("loading smollm2-135m", 0, 1)
        report("loading smollm2-135m", 1, 1)
    assert capsys.readouterr().err.splitlines() == [
        "smollm2-135m: 0 of 98 MB",
        "smollm2-135m: done in 0 s",
        "loading smollm2-135m …",
        "loading smollm2-135m: done in 0 s",
    ]


def test_demo_answers_every_question_at_every_number_of_rounds_through_both_channels(tmp_cache: Path) -> None:
    result = rmas("demo", "--system", "tiny", cache=tmp_cache)
    assert result.exit_code == 0
    for rounds in (1, 2, 3):
        for number, question in enumerate(QUESTIONS, start=1):
            assert f"R = {rounds}, question {number}: {question}\n" in result.stdout
    assert result.stdout.count("\n  latent: ") == result.stdout.count("\n  text:   ") == 9
    assert result.stdout.count("x the sequential steps") == 9
    assert "not trained" in result.stdout.splitlines()[-1]


def test_demo_of_a_system_without_agents_is_refused() -> None:
    assert refusal("demo", "--system", "echo").startswith("demo: system 'echo' has no agents to show.")
