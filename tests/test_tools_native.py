"""The native format from a system's file and the command line to prompts, messages, answers and summaries."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from call_zoo import PAIR, begin_all, longhand_of
from cli_runner import refusal, rmas
from native_zoo import NATIVE, asked, call, native_backbone, native_box
from rmas.backbone import TINY
from rmas.conversation import Slot
from rmas.errors import ConfigError, PromptError
from rmas.packs import load_pack
from rmas.settings import RunConfig, Sampling, ToolConfig
from rmas.solvers import RecursiveSolver
from rmas.system import System, Writing
from rmas.systemfile import load_spec
from zoo import QUESTIONS, tiny_system

OWN = sorted(NATIVE)
SYSTEM = f"""\
{PAIR}max_new_tokens = 90
message_tokens = 4
[tools]
names = ["search"]
corpus = "texts"
FORMAT
[roles.reflector]
backbone = "tiny:llama"
[roles.toolcaller]
backbone = "tiny:llama"
"""
CALL = call("llama", "search", "river")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system of models whose chat template tells of tools."""
    monkeypatch.setitem(TINY["llama"], "template", NATIVE["llama"].template)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "rivers.md").write_text("# Rivers\nThe Nile is a river.\n", encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(SYSTEM.replace("FORMAT", 'format = "native"'), encoding="utf-8")
    return path


def equipped(family: str) -> System:
    """Two agents of one family, each with a search of its own that is called as the family does."""
    bare, box = tiny_system("deliberation", [family]), native_box(family, {"river": "The Nile."})
    box = replace(box, tools={"search": box.tools["search"]}, roles={"reflector": dict(box.tools)}, native=None)
    spec = replace(bare.spec, pack=load_pack("terse", "deliberation"), tools=box.config)
    return System(spec, dict.fromkeys(spec.pattern.roles, native_backbone(family)), tools=box).double()


def spelled(system: System, role: str, *, writes: bool = True) -> str:
    prompt = system.render(role, QUESTIONS[0], frozenset(), writes=writes)
    ids = [*prompt.head, *(i for part in prompt.body if not isinstance(part, Slot) for i in part)]
    return system.backbones[role].decode(ids, control=True)


@pytest.mark.parametrize("family", OWN)
def test_a_prompt_tells_of_tools_by_its_template_alone(family: str) -> None:
    system = equipped(family)
    assert '"search"' in spelled(system, "toolcaller")
    assert '"python"' not in spelled(system, "toolcaller")
    assert '"python"' in spelled(system, "reflector")
    assert "Tools:" not in spelled(system, "toolcaller") + spelled(system, "reflector")
    bare = System(system.spec, system.backbones)
    assert spelled(system, "reflector", writes=False) == spelled(bare, "reflector")
    assert '"search"' not in spelled(bare, "toolcaller")


@pytest.mark.parametrize("family", OWN)
def test_an_answer_after_latent_rounds_reads_its_results(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Against the slow twin, in a batch: latents in the prompt, the call in the family's own tokens."""
    system, written = equipped(family), call(family, "search", "river")
    ids = native_backbone(family).tokenizer.encode_template(written)
    begin_all(monkeypatch, ids)
    sampling = Sampling(max_new_tokens=len(ids) + 6)
    answers = RecursiveSolver(system, RunConfig(rounds=2, latent_steps=2), sampling).solve(QUESTIONS[:2])
    box = system.tools_of("toolcaller")
    assert box is not None
    for answer, question in zip(answers, QUESTIONS[:2], strict=True):
        (made,) = answer.trace.calls
        assert (made.tool, made.call_chars, made.result) == ("search", 5, "The Nile.")
        twin, read = longhand_of(
            system,
            question,
            rounds=2,
            latent_steps=2,
            written=ids,
            size=len(ids) + 6,
            result="The Nile.",
            form=box.format,
        )
        eos = system.backbones["toolcaller"].eos_ids
        end = next((n for n, i in enumerate(twin) if i in eos), len(twin))
        assert answer.text == system.backbones["toolcaller"].decode(twin[:end])
        assert answer.trace.turns[-1].tokens_in == read + made.result_tokens


def test_a_role_that_writes_messages_calls_natively_too(monkeypatch: pytest.MonkeyPatch) -> None:
    system = equipped("qwen2")
    ids = native_backbone("qwen2").tokenizer.encode_template(call("qwen2", "python", "river"))
    begin_all(monkeypatch, ids)
    config = RunConfig(rounds=1, channel="text", message_tokens=len(ids) + 4)
    (answer,) = RecursiveSolver(system, config, Sampling(max_new_tokens=4)).solve(QUESTIONS[:1])
    assert [[made.tool for made in turn.calls] for turn in answer.trace.turns] == [["python"], []]
    box = Writing(system).agents["reflector"].tools
    assert box is not None
    assert asked(box)["python"] == ["river"]


def test_a_family_without_a_format_is_one_line() -> None:
    bare = tiny_system("deliberation", ["llama"], pack="terse")
    box = replace(native_box("llama"), native=None)
    with pytest.raises(PromptError, match=r"tiny:llama: its chat template does not tell of tools\. Use the tool"):
        System(bare.spec, bare.backbones, tools=box)


# Files and the command line


def test_only_a_format_that_is_not_the_tags_changes_a_digest(file: Path) -> None:
    native = load_spec(str(file))
    tags = replace(native, tools=native.tools.changed(format="tags"))
    assert native.tools.format == "native"
    assert native.tools.told == [*tags.tools.told, "native"]
    assert native.digest != tags.digest
    assert replace(native, pack=native.pack.without_tools()).digest == native.digest
    file.write_text(SYSTEM.replace("FORMAT", ""), encoding="utf-8")
    assert load_spec(str(file)).digest == tags.digest
    nobody = replace(native, tools=native.tools.changed(names=()))
    assert nobody.digest == replace(tags, tools=tags.tools.changed(names=())).digest


def test_ask_calls_in_the_format_of_the_file_or_of_the_option(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_cache: Path
) -> None:
    begin_all(monkeypatch, native_backbone("llama").encode(CALL))
    result = rmas("ask", str(file), "Why?", "--json", cache=tmp_cache)
    assert result.exit_code == 0, result.stderr
    table = json.loads(result.stdout)
    (made,) = table["trace"][-1]["calls"]
    assert made["tool"] == "search"
    assert "The Nile is a river." in made["result"]
    assert table["config"]["tool_format"] == "native"
    file.write_text(SYSTEM.replace("FORMAT", ""), encoding="utf-8")
    in_tags = json.loads(rmas("ask", str(file), "Why?", "--json", cache=tmp_cache).stdout)
    assert (in_tags["config"]["tool_format"], in_tags["trace"][-1].get("calls")) == ("tags", None)
    option = json.loads(rmas("ask", str(file), "Why?", "--tool-format", "native", "--json", cache=tmp_cache).stdout)
    assert [turn.get("calls", [])[:1] != [] for turn in option["trace"]] == [False, False, False, True]


def test_an_evaluation_takes_the_format_and_says_so(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_cache: Path
) -> None:
    file.write_text(SYSTEM.replace("FORMAT", ""), encoding="utf-8")
    begin_all(monkeypatch, native_backbone("llama").encode(CALL))
    (tmp_path / "rows.jsonl").write_text('{"question": "Which river?", "answer": "Nile"}\n', encoding="utf-8")
    options = ("--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out"), "--set", "max_new_tokens=90")
    which = ("--system", str(file), "--task", "bamboogle", "--tool-format", "native")
    result = rmas("eval", *which, *options, cache=tmp_cache)
    assert result.exit_code == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["config"]["tool_format"] == "native"
    assert summary["system"]["tools"]["format"] == "native"
    assert summary["result"]["calls"] == {"search": 1.0}
    shown = rmas("report", str(tmp_path / "out"), "--out", str(tmp_path / "report"), cache=tmp_cache)
    assert "search, native" in shown.stdout


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ('format = "natve"', "tools.format: expected one of tags, native, got 'natve'."),
        ("format = 1", "tools.format: expected one of tags, native, got 1."),
    ],
)
def test_a_mistake_about_the_format_in_a_file_is_one_line(file: Path, form: str, line: str) -> None:
    file.write_text(SYSTEM.replace("FORMAT", form), encoding="utf-8")
    assert line in refusal("ask", str(file), "Why?")


def test_a_mistake_about_the_format_on_the_command_line_is_one_line(file: Path, tmp_path: Path) -> None:
    line = "unknown tool format 'natve' (have native, tags). Did you mean 'native'?"
    assert line in refusal("ask", str(file), "Why?", "--tool-format", "natve")
    out = ("--out", str(tmp_path / "out"))
    assert line in refusal("eval", "--system", str(file), "--task", "bamboogle", "--tool-format", "natve", *out)
    with pytest.raises(ConfigError, match="unknown tool format"):
        ToolConfig(format="natve")  # type: ignore[arg-type]


def test_models_without_a_format_are_refused_on_the_command_line_in_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TINY["llama"], "template", None)
    line = "tiny:llama has no chat template, so no tool calls of its own. Use the tool format tags."
    assert refusal("ask", str(file), "Why?") == line
