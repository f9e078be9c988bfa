"""The prompt stage: what is proposed is judged by dev, what is kept is in the bundle, a stopped training goes on."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cli_runner import rmas
from rmas.errors import CheckpointError, ConfigError
from rmas.prompt import Question
from rmas.solvers import open_solver
from rmas.system import System, load_system
from rmas.systemfile import load_spec
from rmas.train import textual, wording
from rmas.train.config import PromptConfig
from rmas.train.textual import Answered, propose
from rmas.train.wording import TEXTS, train_prompt
from train_zoo import quiet, sums_file

ANSWERED = [Answered("1 + 1 = ?", "3", "2"), Answered("2 + 2 = ?", "4", "4")]
FILE = 'pattern = "solo"\nprompts = "terse"\nmax_new_tokens = 4\n[roles.solver]\nbackbone = "tiny:llama"\n'


def alone(folder: Path) -> System:
    path = folder / "alone.toml"
    path.write_text(FILE, encoding="utf-8")
    return load_system(load_spec(str(path)).alone(), cache=folder / "cache", dtype="float32")


def config(folder: Path, **changes: Any) -> PromptConfig:
    short: dict[str, Any] = {"data": sums_file(folder, 12), "dev": 4, "steps": 3, "batch_size": 2}
    return PromptConfig(**{**short, "feedback_tokens": 4, "max_new_tokens": 3, **changes})


def system_text(system: System) -> str:
    return system.spec.pack.roles["solver", "open"].system


@pytest.fixture
def proposals(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str | None]], list[str]]:
    """Proposals instead of the library's; -> the texts that they were made from."""

    def set_to(texts: Sequence[str | None]) -> list[str]:
        seen: list[str] = []

        def proposed(text: str, answered: Sequence[Answered], write: Any) -> str | None:
            seen.append(text)
            return texts[len(seen) - 1]

        monkeypatch.setattr(wording, "propose", proposed)
        return seen

    return set_to


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, float]], None]:
    """Dev accuracies by system text."""

    def set_to(accuracies: Mapping[str, float]) -> None:
        def measured(system: System, *_: Any, **__: Any) -> Mapping[str, float]:
            return {"accuracy": accuracies[system_text(system)], "loss": 1.0}

        monkeypatch.setattr(wording, "measure", measured)

    return set_to


def test_the_library_walks_from_the_verdict_to_the_text_and_asks_for_a_new_one() -> None:
    asked: list[str] = []

    def write(content: str, system: str) -> str:
        asked.append(content)
        return f"criticism {len(content)} <IMPROVED_VARIABLE> Say the sum. </IMPROVED_VARIABLE>"

    assert propose("Be kind.", ANSWERED, write) == "Say the sum."
    of_answers = [content for content in asked[:-1] if "<ROLE> the model's answer to the question </ROLE>" in content]
    of_text = [content for content in asked[:-1] if f"<ROLE> {textual.ROLE} </ROLE>" in content]
    assert (len(asked), len(of_answers), len(of_text)) == (5, 2, 2)
    assert sum("wrong: the right answer is 2" in content for content in of_answers) == 1
    assert all("criticism" in content for content in [*of_text, asked[-1]])
    assert "Be kind." in asked[-1]


def test_a_proposal_does_not_hang_on_the_order_of_the_librarys_sets() -> None:
    """What is drawn depends on what is asked alone, and the last question lists its criticisms sorted."""

    def last_question() -> str:
        asked: list[str] = []

        def write(content: str, system: str) -> str:
            asked.append(content)
            return hashlib.sha256((system + content).encode()).hexdigest()

        assert propose("Be kind.", [Answered(f"{n} + 1 = ?", "3", str(n + 1)) for n in range(6)], write) is None
        return asked[-1]

    assert len({last_question() for _ in range(4)}) == 1


def test_no_tags_are_no_proposal() -> None:
    assert propose("Be kind.", ANSWERED[:1], lambda *_: "I would say it better.") is None


def test_the_library_leaves_no_folder_and_no_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    library = textual.need_textgrad()
    assert list(tmp_path.iterdir()) == []
    assert library.logger.handlers == []
    assert library.logger.level == logging.CRITICAL


def test_a_text_that_dev_likes_less_does_not_stay(
    tmp_path: Path,
    proposals: Callable[[Sequence[str | None]], list[str]],
    scores: Callable[[Mapping[str, float]], None],
) -> None:
    system = alone(tmp_path)
    first = system_text(system)
    seen = proposals(["worse", "better", None])
    scores({first: 0.5, "worse": 0.25, "better": 0.75})
    result = train_prompt(system, config(tmp_path), tmp_path / "out", resume=False, report=quiet)
    assert seen == [first, first, "better"]
    assert result.figures["dev_accuracy"] == 0.75
    assert (result.steps, result.is_complete, result.num_parameters) == (3, True, 0)
    rows = json.loads((tmp_path / "out" / TEXTS).read_text(encoding="utf-8"))
    assert [(row["text"], row["is_kept"]) for row in rows] == [
        (first, True),
        ("worse", False),
        ("better", True),
        (None, False),
    ]
    bundle = load_spec(str(tmp_path / "out"))
    assert bundle.pack.roles["solver", "open"].system == "better"
    assert bundle.pack.roles["solver", "math"].system == first  # the data's kind alone was trained
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "2 proposals, 1 kept; dev accuracy 0.500 before, 0.750 after" in card


def test_a_text_that_leaves_no_room_for_the_question_does_not_stay(
    tmp_path: Path, proposals: Callable[[Sequence[str | None]], list[str]]
) -> None:
    proposals(["word " * 4000])
    out = tmp_path / "out"
    train_prompt(alone(tmp_path), config(tmp_path, steps=1), out, resume=False, report=quiet)
    assert json.loads((out / TEXTS).read_text(encoding="utf-8"))[1]["text"] is None


def test_a_stopped_training_goes_on_where_it_was(
    tmp_path: Path,
    proposals: Callable[[Sequence[str | None]], list[str]],
    scores: Callable[[Mapping[str, float]], None],
) -> None:
    texts = ["one", "two", "three"]
    first = system_text(alone(tmp_path))
    scores({first: 0.1, "one": 0.3, "two": 0.2, "three": 0.4})

    def stop(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == 2:
            raise KeyboardInterrupt

    proposals(texts)
    with pytest.raises(KeyboardInterrupt):
        train_prompt(alone(tmp_path), config(tmp_path), tmp_path / "out", resume=False, report=stop)
    seen = proposals(texts[2:])
    train_prompt(alone(tmp_path), config(tmp_path), tmp_path / "out", resume=True, report=quiet)
    assert seen == ["one"]
    proposals(texts)
    train_prompt(alone(tmp_path), config(tmp_path), tmp_path / "whole", resume=False, report=quiet)
    for name in ("prompts/solo.toml", "system.toml", "README.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.timeout(60)
def test_a_model_that_proposes_nothing_keeps_its_text_and_its_bundle_answers(tmp_path: Path) -> None:
    """The whole way with a random model: criticisms are noise, and no proposal is between tags."""
    system = alone(tmp_path)
    system.backbones["solver"].context = 1 << 20  # a letter a token makes long criticisms
    first, out = system_text(system), tmp_path / "out"
    result = train_prompt(system, config(tmp_path, steps=1), out, resume=False, report=quiet)
    assert result.cost.operations > 0
    assert load_spec(str(out)).pack.roles["solver", "open"].system == first
    answer = open_solver(str(out), cache=tmp_path / "cache").solve([Question(text="1 + 1 = ?")])[0]
    assert answer.trace.usage.completion_tokens > 0


def test_the_command_trains_tells_and_goes_on(
    tmp_path: Path, proposals: Callable[[Sequence[str | None]], list[str]]
) -> None:
    (tmp_path / "alone.toml").write_text(FILE, encoding="utf-8")
    proposals([None, None])
    arguments = ["train", "prompt", str(tmp_path / "alone.toml"), "--out", str(tmp_path / "out")]
    arguments += ["--data", sums_file(tmp_path, 12), "--set", "dev=4", "--set", "steps=2", "--set", "batch_size=2"]
    arguments += ["--set", "max_new_tokens=3"]
    result = rmas(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "system text: 2 of 2, loss" in result.stderr
    assert "2 steps, dev_accuracy" in result.stdout
    assert rmas(*arguments, "--resume").stdout == result.stdout


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    system = alone(tmp_path)
    with pytest.raises(ConfigError, match="dev is 0, expected 1 or more"):
        config(tmp_path, dev=0)
    with pytest.raises(ConfigError, match=r"a criticism of 2 answers is \d+ tokens too long for tiny:llama"):
        train_prompt(system, config(tmp_path), tmp_path / "long", resume=False, report=quiet)
    (tmp_path / "long" / TEXTS).write_text("[{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"prompts\.json: cannot be read"):
        train_prompt(system, config(tmp_path), tmp_path / "long", resume=True, report=quiet)
