"""Tools from a system's file, the command line and an evaluation to the answerer's text and its trace."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from call_zoo import PAIR, TAGS, begin_all, box_of, longhand_of
from cli_runner import refusal, rmas
from rmas.checkpoint import save_system
from rmas.conversation import Slot
from rmas.errors import ConfigError, PromptError, QuestionError, ToolError
from rmas.packs import PACKS, load_pack
from rmas.pattern import load_pattern
from rmas.prompt import KINDS, TOLD
from rmas.settings import RunConfig, Sampling, ToolConfig
from rmas.solver import Answer
from rmas.solvers import SOLVERS, RecursiveSolver, open_solver, solver_spec, solver_tools
from rmas.system import System, load_system
from rmas.systemfile import load_spec
from rmas.tools import Toolbox, open_tools, told_tools
from zoo import FAMILIES, PATTERNS, QUESTIONS, backbone, tiny_system

SYSTEM = f"""\
{PAIR}max_new_tokens = 40
message_tokens = 4
[roles.reflector]
backbone = "tiny:llama"
[roles.toolcaller]
backbone = "tiny:llama"
"""
TOOLS = """\
[tools]
names = ["python", "search"]
corpus = "texts"
calls = 2
tokens = 600
"""
CALL = "<search>river</search>"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A system with tools, and the texts that it searches."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "rivers.md").write_text("# Rivers\nThe Nile is a river.\n", encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(SYSTEM + TOOLS, encoding="utf-8")
    return path


@pytest.fixture
def calling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer begins with CALL; other texts are the model's own."""
    begin_all(monkeypatch, backbone("llama").encode(CALL))  # all tiny models spell alike


def equipped(system: System, box: Toolbox) -> System:
    """The same system with a pack that tells of tools, and with tools."""
    spec = replace(system.spec, pack=load_pack("terse", system.pattern.name))
    found = System(spec, system.backbones, tools=box).double()
    found.load_state_dict(system.state_dict())
    return found


# Prompts


@pytest.mark.parametrize(
    ("pack", "pattern"),
    [(pack, name) for pack in ("native", "terse") for name in PATTERNS if (PACKS / pack / f"{name}.toml").exists()],
)
def test_every_role_can_be_told_of_its_tools(pack: str, pattern: str) -> None:
    shape, words = load_pattern(pattern), load_pack(pack, pattern)
    for role in shape.roles:
        words.check_tools(role, TAGS)
        for kind in KINDS:
            told = [name for section in words.roles[role, kind].sections for name in section.names]
            assert sum(name in TOLD for name in told) == 1


def test_the_section_on_tools_stands_only_where_there_are_some() -> None:
    box = box_of()
    system = tiny_system("deliberation", ["llama"], pack="terse")
    with_tools = System(system.spec, system.backbones, tools=box)

    def text(system: System, role: str) -> str:
        prompt = system.render(role, QUESTIONS[0], frozenset())
        ids = [*prompt.head, *(i for part in prompt.body if not isinstance(part, Slot) for i in part)]
        return system.backbones[role].decode(ids)

    assert "<result>" not in text(system, "toolcaller")
    assert box.told in text(with_tools, "toolcaller")
    assert "Tools:" in text(with_tools, "toolcaller")
    assert "Tools:" not in text(system, "toolcaller")
    assert text(with_tools, "reflector") == text(system, "reflector")


def test_an_answerer_whose_prompt_tells_of_no_tools_is_refused() -> None:
    system = tiny_system("deliberation", ["llama"])
    with pytest.raises(PromptError, match=r"toolcaller has tools, and no section .* holds \{tools\}"):
        System(system.spec, system.backbones, tools=box_of())


def test_a_prompt_may_tell_of_its_tools_in_words_of_its_own() -> None:
    spec = tiny_system("deliberation", ["llama"]).spec
    own = {key: text._replace(system="Write <python>1+1</python>.") for key, text in spec.pack.roles.items()}
    pack = replace(spec.pack, roles=own)
    pack.check_tools("toolcaller", ["python"])
    with pytest.raises(PromptError, match="toolcaller has tools"):
        pack.check_tools("toolcaller", ["python", "search"])


def test_what_a_system_is_made_of_is_told_apart_by_its_tools_alone(file: Path) -> None:
    """Sections that nobody reads do not count, nor where a corpus lies."""
    spec = load_spec(str(file))
    without = replace(spec, tools=ToolConfig())
    assert without.digest == replace(without, pack=spec.pack.without_tools()).digest
    assert spec.digest != without.digest
    assert replace(spec, tools=spec.tools.changed(corpus="elsewhere/texts")).digest == spec.digest
    assert replace(spec, tools=spec.tools.changed(calls=3)).digest != spec.digest


# Solvers


@pytest.mark.usefixtures("calling")
@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_after_latent_rounds_reads_its_results(family: str) -> None:
    """In every family, in a batch: the last round's answerer, whose prompt holds latents, calls and goes on."""
    box = box_of({"river": "The Nile."})
    system = equipped(tiny_system("deliberation", [family]), box)
    config, sampling = RunConfig(rounds=2, latent_steps=2), Sampling(max_new_tokens=len(CALL) + 6)
    answers = RecursiveSolver(system, config, sampling).solve(QUESTIONS)
    for answer, question in zip(answers, QUESTIONS, strict=True):
        (call,) = answer.trace.calls
        assert (call.tool, call.result) == ("search", "<result>\nThe Nile.\n</result>")
        assert answer.text.startswith(CALL)
        ids, turns = longhand_of(
            system, question, rounds=2, latent_steps=2, written=CALL, size=len(CALL) + 6, result="The Nile."
        )
        assert answer.text == system.backbones["toolcaller"].decode(ids[: _end(system, ids)])
        assert answer.trace.turns[-1].tokens_in == turns + call.result_tokens


def _end(system: System, ids: list[int]) -> int:
    """Where a text ends: at its first end token."""
    eos = system.backbones["toolcaller"].eos_ids
    return next((n for n, i in enumerate(ids) if i in eos), len(ids))


@pytest.mark.usefixtures("calling")
def test_usage_counts_results_as_read_and_calls_stand_by_sample(file: Path) -> None:
    sampling = Sampling(max_new_tokens=40, samples=2, temperature=1.0)
    system = load_system(str(file))
    (answer,) = RecursiveSolver(system, sampling=sampling).solve(QUESTIONS[:1])
    (plain,) = RecursiveSolver(system, RunConfig(rounds=2), sampling).solve(QUESTIONS[:1])
    assert [call.sample for call in answer.trace.calls] == [0, 1]
    assert all("The Nile is a river." in call.result for call in answer.trace.calls)
    *_, last = answer.trace.turns
    read = sum(call.result_tokens for call in answer.trace.calls)
    assert all(turn.calls == () for turn in answer.trace.turns[:-1])
    prompt = system.render("toolcaller", QUESTIONS[0], frozenset(["reflector"])).num_tokens + 2
    assert last.tokens_in == prompt + read
    assert last.tokens_out == sum(answer.trace.sample_tokens)
    assert answer.trace.usage.prompt_tokens == sum(turn.tokens_in for turn in answer.trace.turns)
    assert [turn.get("calls", []) == [] for turn in answer.trace.to_json()] == [True, True, True, False]
    assert json.loads(json.dumps(answer.trace.to_json()))[-1]["calls"][0]["tool"] == "search"
    assert told(plain) == told(answer)


def told(answer: Answer) -> tuple[Any, ...]:
    return answer.samples, [replace(call, seconds=0.0) for call in answer.trace.calls]


@pytest.mark.usefixtures("calling")
@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_a_solver_calls_tools_or_says_that_it_cannot(file: Path, name: str) -> None:
    config = RunConfig(rounds=1, message_tokens=2)
    if "tools" in SOLVERS[name].lacks:
        with pytest.raises(
            ConfigError, match=f"tools are python, search, but solver {name} calls none. Leave them out"
        ):
            solver_spec(str(file), config, name)
        return
    solver = open_solver(str(file), config, Sampling(max_new_tokens=30), solver=name)
    answers = solver.solve(QUESTIONS)
    assert [[call.tool for call in answer.trace.calls] for answer in answers] == [["search"]] * 3
    assert all(call.limit is None for answer in answers for call in answer.trace.calls)
    singles = [solver.solve([question])[0] for question in QUESTIONS]
    assert [told(answer) for answer in answers] == [told(answer) for answer in singles]


def test_a_run_may_have_other_tools_than_its_system(file: Path, tmp_cache: Path) -> None:
    without = RunConfig(tools=ToolConfig())
    assert solver_tools(str(file), without, cache=tmp_cache) is None
    other = solver_tools(str(file), RunConfig(tools=ToolConfig(names=("python",), calls=1)), cache=tmp_cache)
    assert other is not None
    assert (list(other.tools), other.config.calls) == (["python"], 1)
    own = solver_tools(str(file), RunConfig(), cache=tmp_cache)
    assert own is not None
    assert (list(own.tools), own.config.calls) == (["python", "search"], 2)


def test_a_context_without_room_for_a_word_about_limits_is_refused() -> None:
    system = equipped(tiny_system("deliberation", ["llama"]), box_of())
    room = system.backbones["toolcaller"].context
    prompt = system.render("toolcaller", QUESTIONS[1], frozenset(["reflector"])).num_tokens
    fits = RecursiveSolver(system, RunConfig(latent_steps=2), Sampling(max_new_tokens=room - prompt - 200))
    fits.check(QUESTIONS[1:2])
    tight = RecursiveSolver(system, RunConfig(latent_steps=2), Sampling(max_new_tokens=room - prompt - 20))
    with pytest.raises(QuestionError, match="too long for toolcaller"):
        tight.check(QUESTIONS[1:2])


# Files


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"python", "search"', '"pyhton"', "unknown tool 'pyhton' (have python, search). Did you mean 'python'?"),
        ("calls = 2", "calls = 0", "mine.toml:14: tools: calls is 0, expected 1 or more."),
        ("calls = 2", 'calls = "2"', "mine.toml:17: tools.calls: expected a whole number, got '2'."),
        ("calls = 2", "cals = 2", "unknown key 'cals'"),
        ('"texts"', '"nowhere"', "no such folder"),
        ('"texts"', '"texts"\nsearch = "tavilly"', "unknown search provider 'tavilly'"),
        ('"texts"', '"texts"\nsearch = "tavily"', "tavily needs a key, and there is none."),
    ],
)
def test_a_mistake_about_tools_in_a_file_is_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, line: str
) -> None:
    monkeypatch.delenv("TAVILY_API_KEY", raising=False)
    file.write_text((SYSTEM + TOOLS).replace(old, new, 1), encoding="utf-8")
    assert line in refusal("ask", str(file), "Why?")


def test_a_bundle_keeps_its_tools_and_finds_its_texts(file: Path, tmp_path: Path) -> None:
    save_system(load_system(str(file)), tmp_path / "bundle")
    assert load_spec(str(tmp_path / "bundle")).tools == load_spec(str(file)).tools


# The command line


def asked(*arguments: str, cache: Path) -> dict[str, Any]:
    result = rmas("ask", *arguments, "--json", cache=cache)
    assert result.exit_code == 0, result.stderr
    table: dict[str, Any] = json.loads(result.stdout)
    return table


@pytest.mark.usefixtures("calling")
def test_ask_takes_tools_and_a_corpus_and_its_trace_shows_the_calls(file: Path, tmp_cache: Path) -> None:
    file.write_text(SYSTEM, encoding="utf-8")
    corpus = str(file.parent / "texts")
    table = asked(str(file), "Why?", "--tools", "python,search", "--corpus", corpus, cache=tmp_cache)
    (call,) = table["trace"][-1]["calls"]
    assert (call["tool"], call["call_chars"], call["is_cut"], call["limit"]) == ("search", 5, False, None)
    assert "[1] Rivers (rivers.md): The Nile is a river." in call["result"]
    assert call["result_chars"] == len(call["result"])
    assert (table["config"]["tools"], table["config"]["corpus"]) == (["python", "search"], corpus)
    assert "calls" not in asked(str(file), "Why?", cache=tmp_cache)["trace"][-1]


@pytest.mark.usefixtures("calling")
def test_the_calls_are_listed_below_the_turns(file: Path, tmp_cache: Path) -> None:
    result = rmas("ask", str(file), "Why?", cache=tmp_cache)
    assert result.stdout.startswith(CALL)
    lines = result.stderr.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("call of"))
    assert lines[header + 1].split()[:2] == ["search", "5"]
    assert "call of" not in rmas("ask", str(file), "Why?", "--tools", "none", cache=tmp_cache).stderr


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--tools", "pyhton"], "unknown tool 'pyhton' (have python, search). Did you mean 'python'?"),
        (["--tools", "search"], "search has no corpus. Name a folder of texts with --corpus DIR"),
        (["--tools", "search", "--corpus", "nowhere"], "corpus nowhere: no such folder."),
        (["--tools", "search", "--search", "ddgo"], "unknown search provider 'ddgo'"),
        (["--tools", "search", "--search", "tavily"], "tavily needs a key, and there is none. Set TAVILY_API_KEY"),
    ],
)
def test_tools_that_cannot_be_had_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_cache: Path, options: list[str], line: str
) -> None:
    monkeypatch.delenv("TAVILY_API_KEY", raising=False)
    monkeypatch.setenv("RMAS_CACHE", str(tmp_cache))
    assert refusal("ask", "smol-deliberation", "Why?", *options).startswith(line)
    assert not tmp_cache.exists()


def test_echo_has_no_use_for_tools() -> None:
    assert refusal("ask", "echo", "Why?", "--tools", "python") == (
        "tools are python, but solver echo calls none. Leave them out."
    )


def test_the_key_of_the_environment_reaches_the_service_and_stands_nowhere(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_cache: Path
) -> None:
    keys: list[str] = []
    monkeypatch.setattr("tavily.TavilyClient", lambda api_key: keys.append(api_key))
    monkeypatch.setenv("TAVILY_API_KEY", "tvly-very-secret")
    result = rmas("ask", str(file), "Why?", "--search", "tavily", cache=tmp_cache)
    assert (result.exit_code, keys) == (0, ["tvly-very-secret"])
    assert "tvly-very-secret" not in result.stdout + result.stderr


# Evaluation


def evaluated(file: Path, out: Path, cache: Path, *more: str) -> Any:
    data = file.parent / "capitals.jsonl"
    rows = [{"question": f"Which river is number {n}?", "answer": "Nile"} for n in range(3)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ("--task", "bamboogle", "--data", str(data), "--set", "max_new_tokens=40")
    return rmas("eval", "--system", str(file), *options, "--out", str(out), *more, cache=cache)


@pytest.mark.usefixtures("calling")
def test_an_evaluation_calls_tools_and_keeps_every_call(file: Path, tmp_path: Path, tmp_cache: Path) -> None:
    file.write_text(SYSTEM, encoding="utf-8")
    corpus = ("--tools", "python,search", "--corpus", str(file.parent / "texts"), "--set", "tool_calls=1")
    result = evaluated(file, tmp_path / "out", tmp_cache, *corpus)
    assert result.exit_code == 0, result.stderr
    assert "1.0 calls of search" in result.stdout
    records = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert [[call["tool"] for call in record["turns"][-1]["calls"]] for record in records] == [["search"]] * 3
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["result"]["calls"] == {"search": 1.0}
    assert summary["system"]["tools"]["calls"] == 1
    assert summary["config"]["tools"] == ["python", "search"]


@pytest.mark.usefixtures("calling")
def test_a_run_goes_on_only_with_the_texts_that_it_began_with(file: Path, tmp_path: Path, tmp_cache: Path) -> None:
    assert evaluated(file, tmp_path / "out", tmp_cache, "--limit", "2").exit_code == 0
    assert evaluated(file, tmp_path / "out", tmp_cache, "--resume").exit_code == 0
    (file.parent / "texts" / "rivers.md").write_text("The Rhine is a river.", encoding="utf-8")
    result = evaluated(file, tmp_path / "out", tmp_cache, "--resume")
    assert result.exit_code == 2
    assert "its searched texts was" in result.stderr


# Without a key


def without_a_key(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system searches with a service that wants a key, and has no sandbox either."""
    monkeypatch.delenv("TAVILY_API_KEY", raising=False)
    monkeypatch.setenv("PATH", "")
    file.write_text(SYSTEM + TOOLS + 'search = "tavily"\n', encoding="utf-8")


def test_a_system_loads_without_what_its_tools_need_and_a_solver_opens_them(
    file: Path, tmp_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, told = load_spec(str(file)).tools, told_tools(load_spec(str(file)).tools, cache=tmp_cache)
    opened = open_tools(config, cache=tmp_cache)
    assert told is not None
    assert opened is not None
    assert (told.told, list(told.tools)) == (opened.told, list(opened.tools))
    without_a_key(file, monkeypatch)
    system = load_system(str(file), cache=tmp_cache)
    prompt = system.render("toolcaller", QUESTIONS[0], frozenset())
    ids = [*prompt.head, *(i for part in prompt.body if not isinstance(part, Slot) for i in part)]
    assert "searches the web and gives back" in system.backbones["toolcaller"].decode(ids)
    assert rmas("show", str(file), cache=tmp_cache).exit_code == 0
    with pytest.raises(ConfigError, match="there is no bwrap here"):
        RecursiveSolver(system)
    file.write_text(file.read_text(encoding="utf-8").replace('"python", ', ""), encoding="utf-8")
    with pytest.raises(ToolError, match="tavily needs a key"):
        RecursiveSolver(load_system(str(file), cache=tmp_cache))


def test_links_are_trained_without_what_their_systems_tools_need(
    file: Path, tmp_path: Path, tmp_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_a_key(file, monkeypatch)
    (tmp_path / "rows.jsonl").write_text('{"question": "2+2?", "answer": "4"}\n', encoding="utf-8")
    options = ("--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out"))
    small = ("--set", "steps=1", "--set", "dev=0", "--set", "batch_size=1", "--set", "rounds=1")
    result = rmas("train", "outer", str(file), *options, *small, cache=tmp_cache)
    assert result.exit_code == 0, result.stderr
    assert load_spec(str(tmp_path / "out")).tools.search == "tavily"


def test_a_suites_cells_get_the_key_of_the_environment_which_stands_nowhere(
    file: Path, tmp_path: Path, tmp_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []
    monkeypatch.setattr("tavily.TavilyClient", lambda api_key: keys.append(api_key))
    monkeypatch.setenv("TAVILY_API_KEY", "tvly-very-secret")
    (tmp_path / "rows.jsonl").write_text('{"question": "Which river?", "answer": "Nile"}\n', encoding="utf-8")
    (tmp_path / "suite.toml").write_text(
        f'max_new_tokens = 2\n[tasks.bamboogle]\ntask = "bamboogle"\ndata = "{tmp_path / "rows.jsonl"}"\n'
        f'[methods.mine]\nsystem = "{file}"\nsearch = "tavily"\ntools = ["search"]\n',
        encoding="utf-8",
    )
    result = rmas("compare", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "out"), cache=tmp_cache)
    assert (result.exit_code, keys) == (0, ["tvly-very-secret"]), result.stderr
    texts = [path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in (*texts, result.stdout, result.stderr) if "tvly-very-secret" in text]
