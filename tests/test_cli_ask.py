"""`rmas ask` on the systems without weights: answers, JSON, samples, and every refusal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli_runner import refusal, rmas
from rmas.checkpoint import save_system
from rmas.system import load_system

_SYSTEM = """\
pattern = "deliberation"
rounds = 1
latent_steps = 2
inner = "linear"
outer = "linear"
start = "identity"
max_new_tokens = 4
[roles.reflector]
backbone = "tiny:llama"
[roles.toolcaller]
backbone = "tiny:qwen2"
"""
Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the system above with one text replaced by another; its path."""

    def written(old: str, new: str) -> str:
        assert old in _SYSTEM
        path = tmp_path / "mine.toml"
        path.write_text(_SYSTEM.replace(old, new, 1), encoding="utf-8")
        return str(path)

    return written


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    save_system(load_system("tiny"), folder)
    return folder


def _json(*arguments: str, stdin: str | None = None) -> dict[str, Any]:
    result = rmas("ask", *arguments, "--json", stdin=stdin)
    assert (result.exit_code, result.stderr.count("rmas:")) == (0, 0)
    table: dict[str, Any] = json.loads(result.stdout)
    return table


def test_echo_answers_with_the_question() -> None:
    result = rmas("ask", "echo", "Why is the sky blue?")
    assert (result.exit_code, result.stdout) == (0, "Why is the sky blue?\n")


def test_a_dash_reads_standard_input() -> None:
    assert rmas("ask", "echo", "-", stdin="from a pipe").stdout == "from a pipe\n"


def test_json_is_one_object_with_the_answer_its_usage_and_every_turn() -> None:
    table = _json("tiny", "Why?", "--rounds", "2", "--latent-steps", "3")
    assert list(table) == ["answer", "text", "usage", "trace", "finish", "config", "notes"]
    assert table["answer"] == table["text"].strip()
    assert [(turn["round"], turn["role"], turn["verb"]) for turn in table["trace"]] == [
        (1, "planner", "think"),
        (1, "critic", "think"),
        (1, "solver", "think"),
        (2, "planner", "think"),
        (2, "critic", "think"),
        (2, "solver", "speak"),
    ]
    fields = ["round", "role", "verb", "tokens_in", "latent_steps", "tokens_out", "seconds"]
    assert all(list(turn) == fields for turn in table["trace"])
    assert table["usage"]["latent_steps"] == 5 * 3
    assert table["usage"]["prompt_tokens"] == sum(turn["tokens_in"] for turn in table["trace"])


def test_the_config_that_is_printed_is_the_one_that_runs() -> None:
    table = _json("tiny", "Why?", "--max-new-tokens", "3", "--stop", "x", "--stop", "y", "--seed", "7")
    config = table["config"]
    assert (config["rounds"], config["latent_steps"], config["max_new_tokens"]) == (2, 4, 3)
    assert (config["stop"], config["seed"], config["channel"]) == (["x", "y"], 7, "latent")
    assert max(turn["round"] for turn in table["trace"]) == config["rounds"]
    assert table["trace"][0]["latent_steps"] == config["latent_steps"]
    assert table["usage"]["completion_tokens"] <= 3


def test_the_config_is_the_first_line_and_the_turns_follow_the_answer() -> None:
    result = rmas("ask", "tiny", "Why?")
    first, *_, last = result.stderr.splitlines()
    assert first.startswith("system=tiny pattern=sequential ")
    assert last.split()[0] == "total"
    assert "latent steps" in result.stderr


def test_the_streamed_text_is_the_whole_text() -> None:
    streamed = rmas("ask", "tiny", "Why?", "--temperature", "1", "--seed", "3").stdout
    assert streamed == _json("tiny", "Why?", "--temperature", "1", "--seed", "3")["text"] + "\n"


def test_samples_differ_and_a_seed_repeats_them() -> None:
    options = ("tiny", "Why?", "--samples", "3", "--temperature", "1", "--seed", "5")
    first, again = _json(*options), _json(*options)
    assert first["samples"] == again["samples"]
    assert len(set(first["samples"])) == 3
    assert first["text"] == first["samples"][0]


def test_samples_are_numbered() -> None:
    result = rmas("ask", "tiny", "Why?", "--samples", "2", "--temperature", "1", "--max-new-tokens", "4")
    assert result.stdout.startswith("[1] ")
    assert "\n[2] " in result.stdout


def test_without_latent_steps_the_answerer_speaks_alone() -> None:
    table = _json("tiny", "Why?", "--latent-steps", "0")
    assert [(turn["role"], turn["verb"]) for turn in table["trace"]] == [("solver", "speak")]


def test_the_text_channel_makes_everyone_speak() -> None:
    table = _json("tiny", "Why?", "--rounds", "1", "--channel", "text", "--message-tokens", "5")
    assert {turn["verb"] for turn in table["trace"]} == {"speak"}
    assert max(turn["tokens_out"] for turn in table["trace"][:-1]) <= 5


def test_private_context_reaches_its_role_alone(tmp_path: Path) -> None:
    fact = tmp_path / "fact.txt"
    fact.write_text("The sky is green.", encoding="utf-8")
    plain = _json("tiny", "Why?", "--rounds", "1")["trace"]
    told = _json("tiny", "Why?", "--rounds", "1", "--context", f"critic=@{fact}")["trace"]
    longer = [turn["role"] for one, turn in zip(plain, told, strict=True) if turn["tokens_in"] > one["tokens_in"]]
    assert longer == ["critic"]


def test_a_bundle_answers_as_the_system_it_was_saved_from(bundle: Path) -> None:
    assert _json(str(bundle), "Why?")["text"] == _json("tiny", "Why?")["text"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--rounds", "0"], "rounds is 0, expected 1 or more."),
        (["--rounds", "-1"], "rounds is -1, expected 1 or more."),
        (["--latent-steps", "-1"], "latent_steps is -1, expected 0 (the answerer alone) or more."),
        (["--message-tokens", "0"], "message_tokens is 0, expected 1 or more."),
        (["--samples", "0"], "samples is 0, expected 1 or more."),
        (["--max-new-tokens", "0"], "max_new_tokens is 0, expected 1 or more."),
        (["--temperature", "-0.5"], "temperature is -0.5, expected 0 or more."),
        (["--temperature", "nan"], "temperature is nan, expected 0 or more."),
        (["--top-p", "1.5"], "top_p is 1.5, expected above 0, at most 1."),
        (["--top-k", "-1"], "top_k is -1, expected 0 (off) or more."),
        (["--stop", ""], "stop is ('',), expected strings that are not empty."),
        (["--channel", "latnet"], "unknown channel 'latnet' (have latent, text). Did you mean 'latent'?"),
        (
            ["--kind", "maths"],
            "unknown task kind 'maths' (have choice, code, math, open, search). Did you mean 'math'?",
        ),
        (["--dtype", "float31"], "unknown dtype 'float31' "),
        (["--device", "warp"], "device 'warp': "),
        (["--context", "critic"], "context 'critic': expected ROLE=TEXT or ROLE=@FILE."),
        (
            ["--context", "critc=x"],
            "context: unknown role 'critc' (have critic, planner, solver). Did you mean 'critic'?",
        ),
        (["--context", "critic=x", "--context", "critic=y"], "context: role 'critic' stands twice."),
        (["--context", "critic=@nowhere.txt"], "context of critic: nowhere.txt: No such file or directory."),
        (["--context", "critic=@."], "context of critic: .: Is a directory."),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], line: str) -> None:
    assert refusal("ask", "tiny", "Why?", *options).startswith(line)


def test_a_context_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes(b"caf\xe9")
    assert "latin.txt: not UTF-8 text" in refusal("ask", "tiny", "Why?", "--context", f"critic=@{file}")


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(question: str) -> None:
    assert refusal("ask", "smol", question) == "the question is empty. Write what you want to know."
    assert refusal("ask", "smol", "-", stdin=question) == "the question is empty. Write what you want to know."


def test_bytes_that_are_not_utf8_are_refused() -> None:
    assert refusal("ask", "tiny", "caf\udce9") == (
        "the question holds bytes that are not UTF-8 text. Convert it to UTF-8."
    )
    assert "standard input is not UTF-8 text" in refusal("ask", "tiny", "-", stdin=b"caf\xe9")


def test_a_question_longer_than_the_context_is_refused_by_how_much() -> None:
    line = refusal("ask", "tiny", "why " * 600)
    assert "its context is 2048: " in line
    assert "too many" in line


def test_an_unknown_system_names_the_nearest() -> None:
    assert refusal("ask", "smoll", "Why?").startswith("unknown system 'smoll' (have echo, smol, ")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('"deliberation"', '"deliberate"', ["unknown pattern 'deliberate'", "Did you mean 'deliberation'?"]),
        ("tiny:llama", "smolm2-135m", ["unknown model 'smolm2-135m'", "smollm2-135m"]),
        ("tiny:llama", "tiny:lama", ["unknown tiny family 'lama'", "Did you mean 'llama'?"]),
        ('inner = "linear"', 'inner = "liner"', ["unknown inner link design 'liner'", "Did you mean 'linear'?"]),
        ('outer = "linear"', 'outer = "liner"', ["unknown outer link design 'liner'", "Did you mean 'linear'?"]),
        ('"identity"', '"identty"', ["unknown start 'identty'", "Did you mean 'identity'?"]),
        ("roles.reflector", "roles.reflecter", ["mine.toml:8", "unknown role 'reflecter'", "'reflector'"]),
        ("latent_steps", "latent_step", ["mine.toml:3", "unknown key 'latent_step'", "'latent_steps'"]),
        ("rounds = 1", "rounds = 0", ["mine.toml:2", "rounds: expected a whole number of 1 or more, got 0"]),
        ("rounds = 1", "rounds 1", ["mine.toml: not valid TOML", "line 2"]),
        ("rounds = 1", 'solver = "ecko"', ["unknown solver 'ecko'", "Did you mean 'echo'?"]),
        ('"tiny:llama"', '"tiny:llama"\ndtype = "float31"', ["roles.reflector.dtype", "unknown dtype 'float31'"]),
    ],
)
def test_a_mistake_in_a_system_file_is_one_line(write: Write, old: str, new: str, parts: list[str]) -> None:
    line = refusal("ask", write(old, new), "Why?")
    assert [part for part in parts if part not in line] == []


def test_a_system_file_that_is_not_there_is_refused() -> None:
    assert refusal("ask", "nowhere.toml", "Why?") == "nowhere.toml: no such file. Check the path."


def test_a_truncated_bundle_is_refused_and_left_as_it_was(bundle: Path, tmp_path: Path) -> None:
    for file in bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    links = tmp_path / "links.safetensors"
    links.write_bytes(links.read_bytes()[:-100])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert "links.safetensors: truncated or altered" in refusal("ask", str(tmp_path), "Why?")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
