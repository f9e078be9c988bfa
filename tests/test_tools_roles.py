"""Tools of agents that do not answer: called where they write, told of nowhere else, in their own turn's trace."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from call_zoo import PAIR, box_of, longhand
from cli_runner import refusal, rmas
from rmas.backbone import HFBackbone
from rmas.checkpoint import save_system
from rmas.engine import decode as decode_module
from rmas.engine import splice
from rmas.errors import ConfigError, PromptError, QuestionError
from rmas.packs import load_pack
from rmas.settings import RunConfig, Sampling, ToolConfig
from rmas.solver import Answer
from rmas.solvers import RecursiveSolver, solver_spec, solver_tools
from rmas.system import System, Writing, load_system
from rmas.systemfile import load_spec
from rmas.tools import Toolbox
from zoo import FAMILIES, QUESTIONS, Recorder, backbone, tiny_system, written

SYSTEM = f"""\
{PAIR}max_new_tokens = 30
message_tokens = 30
[tools]
corpus = "texts"
[roles.reflector]
backbone = "tiny:llama"
tools = ["search"]
[roles.toolcaller]
backbone = "tiny:llama"
"""
CALL = "<search>river</search>"
TEXT = RunConfig(rounds=2, channel="text", message_tokens=len(CALL) + 6)
SAMPLING = Sampling(max_new_tokens=len(CALL) + 6)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A system whose reflector alone has a tool, and the texts that it searches."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "rivers.md").write_text("# Rivers\nThe Nile is a river.\n", encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(SYSTEM, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def calling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text begins with CALL."""
    pick, ids = decode_module.pick, backbone("llama").encode(CALL)  # all tiny models spell alike
    left: dict[torch.Generator, list[int]] = {}

    def forced(logits_BV: Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> list[int]:
        scripts = [left.setdefault(generator, list(ids)) for generator in generators]
        tokens = pick(logits_BV, sampling, generators)
        return [script.pop(0) if script else token for script, token in zip(scripts, tokens, strict=True)]

    monkeypatch.setattr(decode_module, "pick", forced)


def equipped(family: str = "llama", answer: str = "The Nile.", config: ToolConfig | None = None) -> System:
    """Two agents of one family; the one that does not answer has a search, which finds `answer`."""
    bare, box = tiny_system("deliberation", [family]), box_of({"river": answer}, config)
    box = replace(box, tools={}, roles={"reflector": {"search": box.tools["search"]}})
    system = System(replace(bare.spec, pack=load_pack("terse", "deliberation")), bare.backbones, tools=box).double()
    system.load_state_dict(bare.state_dict())
    return system


def spelled(system: System, role: str, *, writes: bool) -> str:
    prompt = system.render(role, QUESTIONS[0], frozenset(), writes=writes)
    ids = [*prompt.head, *(i for part in prompt.body for i in part if isinstance(i, int))]
    return system.backbones[role].decode(ids)


def told(answer: Answer) -> tuple[object, ...]:
    return answer.samples, [replace(call, seconds=0.0) for call in answer.trace.calls]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_message_is_what_its_writer_writes_alone_with_everything_read_again(family: str) -> None:
    """The slow twin of the first turn, in a batch of unequal prompts."""
    system = equipped(family)
    solver = RecursiveSolver(system, TEXT, SAMPLING)
    solver.channel = recorder = Recorder(solver.channel)
    solver.solve(QUESTIONS)
    (_, thought), model = recorder.thoughts[0], system.backbones["reflector"]
    prompts = [Writing(system).render("reflector", question, frozenset()) for question in QUESTIONS]
    starts = [(splice(model, [[prompt.head, *prompt.body]], {})[0][0], prompt.head) for prompt in prompts]
    twins = {  # rows stand in the order of their lengths
        len(x_LD): _until_end(model, longhand(model, x_LD, CALL, len(CALL) + 6, {len(CALL): "The Nile."}))
        for x_LD, _ in starts
    }
    read = [tokens - row.result_tokens for tokens, row in zip(thought.tokens_in, written(thought), strict=True)]
    assert {length: row.ids for length, row in zip(read, written(thought), strict=True)} == twins


def _until_end(model: HFBackbone, ids: list[int]) -> list[int]:
    return ids[: next((n for n, i in enumerate(ids, start=1) if i in model.eos_ids), len(ids))]


def test_calls_stand_in_the_turn_that_made_them_and_results_in_no_message() -> None:
    system = equipped()
    solver = RecursiveSolver(system, TEXT, SAMPLING)
    solver.channel = recorder = Recorder(solver.channel)
    (answer,) = solver.solve(QUESTIONS[:1])
    made = [(turn.round, turn.role, [call.tool for call in turn.calls]) for turn in answer.trace.turns]
    assert made == [
        (1, "reflector", ["search"]),
        (1, "toolcaller", []),
        (2, "reflector", ["search"]),
        (2, "toolcaller", []),
    ]
    first = answer.trace.turns[0]
    prompt = Writing(system).render("reflector", QUESTIONS[0], frozenset())
    assert first.tokens_in == prompt.num_tokens + first.calls[0].result_tokens
    assert first.calls[0].result == "<result>\nThe Nile.\n</result>"
    assert [row.text[: len(CALL)] for row in written(recorder.thoughts[0][1])] == [CALL]
    assert "Nile" not in written(recorder.thoughts[0][1])[0].text
    assert answer.trace.notes == ()


def test_a_question_in_a_batch_gets_the_messages_that_it_gets_alone() -> None:
    solver = RecursiveSolver(equipped(), TEXT, SAMPLING)
    together = solver.solve(QUESTIONS)
    assert [told(answer) for answer in together] == [told(solver.solve([question])[0]) for question in QUESTIONS]


def test_an_answerer_with_tools_calls_them_in_its_messages_too(file: Path) -> None:
    file.write_text(SYSTEM.replace("[tools]", '[tools]\nnames = ["search"]'), encoding="utf-8")
    (answer,) = RecursiveSolver(load_system(str(file)), TEXT, SAMPLING).solve(QUESTIONS[:1])
    assert [[call.tool for call in turn.calls] for turn in answer.trace.turns] == [["search"]] * 4


def test_limits_hold_for_each_turn_of_each_question() -> None:
    system = equipped(config=ToolConfig(calls=1, tokens=1500))
    for answer in RecursiveSolver(system, TEXT, SAMPLING).solve(QUESTIONS):
        assert [[call.limit for call in turn.calls] for turn in answer.trace.turns] == [[None], [], [None], []]


def test_with_latents_the_role_is_not_told_of_its_tools_and_the_answer_says_so() -> None:
    """Nor is a tool opened that nobody can call; the latents are those of the system without tools."""
    box = Toolbox(tools={}, roles={"reflector": {"search": box_of().tools["search"]}})
    bare = tiny_system("deliberation", ["llama"], pack="terse")
    system = System(bare.spec, bare.backbones, tools=box).double()
    system.load_state_dict(bare.state_dict())
    config = RunConfig(rounds=2, latent_steps=2)
    (answer,) = RecursiveSolver(system, config, SAMPLING).solve(QUESTIONS[:1])
    (plain,) = RecursiveSolver(bare, config, SAMPLING).solve(QUESTIONS[:1])
    assert answer.trace.notes == ("reflector has tools (search) and calls none: with latents it writes nothing",)
    assert (answer.samples, answer.prompt) == (plain.samples, plain.prompt)
    assert system.render("reflector", QUESTIONS[0], frozenset()) == bare.render("reflector", QUESTIONS[0], frozenset())


def test_only_a_role_that_has_tools_is_told_of_them_and_only_where_it_writes() -> None:
    system = equipped()
    assert "Tools:" in spelled(system, "reflector", writes=True)
    assert "Tools:" not in spelled(system, "reflector", writes=False)
    assert "Tools:" not in spelled(system, "toolcaller", writes=True)


def test_a_role_of_a_file_has_tools_of_its_own_over_those_of_the_answerer(file: Path) -> None:
    assert load_spec(str(file)).tools_of == {"reflector": ("search",)}
    file.write_text(SYSTEM.replace("[tools]", '[tools]\nnames = ["python"]'), encoding="utf-8")
    assert load_spec(str(file)).tools_of == {"reflector": ("search",), "toolcaller": ("python",)}
    both = SYSTEM.replace("[tools]", '[tools]\nnames = ["python"]') + 'tools = ["search"]\n'
    file.write_text(both, encoding="utf-8")
    assert load_spec(str(file)).tools_of == {"reflector": ("search",), "toolcaller": ("search",)}
    file.write_text(both.replace('["search"]', "[]"), encoding="utf-8")
    assert load_spec(str(file)).tools_of == {}


def test_without_names_nobody_has_tools(file: Path, tmp_cache: Path) -> None:
    own = load_spec(str(file)).tools
    assert own.changed(calls=3).roles == own.roles
    assert own.changed(names=()).every == ()
    nobody = RunConfig(channel="text", tools=own.changed(names=()))
    assert solver_tools(str(file), nobody, cache=tmp_cache) is None
    assert solver_tools(str(file), RunConfig(), cache=tmp_cache) is None  # with latents nobody can call
    box = solver_tools(str(file), RunConfig(channel="text"), cache=tmp_cache)
    assert box is not None
    assert list(box.tools) == []
    assert {role: list(tools) for role, tools in box.roles.items()} == {"reflector": ["search"]}


def test_a_digest_knows_the_tools_of_roles_and_no_section_that_nobody_reads(file: Path) -> None:
    spec = load_spec(str(file))
    answerers = replace(spec, tools=spec.tools.changed(names=("search",), roles={}))
    kept = spec.pack.without_tools(keep=("toolcaller",))
    assert answerers.digest == replace(answerers, pack=kept).digest
    assert len({spec.digest, answerers.digest, replace(spec, tools=ToolConfig()).digest}) == 3


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('["search"]', '["serch"]', "mine.toml:14: roles.reflector.tools: unknown tool 'serch'"),
        ('["search"]', '"search"', "roles.reflector.tools: expected a list, each a text, got 'search'."),
        ("[tools]", "[tools]\nroles = {}", "unknown key 'roles'"),
    ],
)
def test_a_mistake_about_the_tools_of_a_role_is_one_line(file: Path, old: str, new: str, line: str) -> None:
    file.write_text(SYSTEM.replace(old, new, 1), encoding="utf-8")
    assert line in refusal("ask", str(file), "Why?")


def test_tools_for_a_role_that_is_not_there_or_not_told_of_them_are_refused() -> None:
    bare = tiny_system("deliberation", ["llama"], pack="terse")
    box = Toolbox(tools={}, roles={"reflectr": {"search": box_of().tools["search"]}})
    with pytest.raises(ConfigError, match=r"tools: unknown role 'reflectr'.*Did you mean 'reflector'"):
        System(bare.spec, bare.backbones, tools=box)
    with pytest.raises(PromptError, match=r"reflector has tools, and no section"):
        System(
            tiny_system("deliberation").spec,
            bare.backbones,
            tools=replace(box, roles={"reflector": box.roles["reflectr"]}),
        )


def test_a_context_without_room_for_a_word_about_limits_is_refused_for_a_role_that_writes() -> None:
    system = equipped()
    room = system.backbones["reflector"].context
    prompt = Writing(system).render("reflector", QUESTIONS[1], frozenset(["toolcaller"])).num_tokens
    small = Sampling(max_new_tokens=2)

    def of(spare: int) -> RecursiveSolver:
        tokens = (room - prompt - spare) // 2  # of the message that it reads, and of the one that it writes
        return RecursiveSolver(system, replace(TEXT, message_tokens=tokens), small)

    of(220).check(QUESTIONS[1:2])
    with pytest.raises(QuestionError, match="too long for reflector"):
        of(20).check(QUESTIONS[1:2])


def test_solvers_give_the_tools_of_a_role_to_those_that_stand_for_it(file: Path) -> None:
    _, moa, _ = solver_spec(str(file), RunConfig(rounds=2), "moa")
    assert moa.tools_of == {"reflector_1": ("search",), "reflector_2": ("search",)}
    _, single, _ = solver_spec(str(file), RunConfig(), "single")
    assert single.tools_of == {}
    with pytest.raises(ConfigError, match="tools are search, but solver latent_kv calls none"):
        solver_spec(str(file), RunConfig(), "latent_kv")


def test_a_bundle_keeps_the_tools_of_its_roles(file: Path, tmp_path: Path) -> None:
    save_system(load_system(str(file)), tmp_path / "bundle")
    assert load_spec(str(tmp_path / "bundle")).tools == load_spec(str(file)).tools


def test_ask_shows_who_called_and_notes_who_cannot(file: Path, tmp_cache: Path) -> None:
    in_text = rmas("ask", str(file), "Why?", "--channel", "text", cache=tmp_cache)
    assert in_text.exit_code == 0, in_text.stderr
    lines = in_text.stderr.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("call of"))
    assert [line.split()[0::5] for line in lines[header + 1 : header + 3]] == [["search", "reflector"]] * 2
    assert "role_tools={'reflector': ['search']}" in in_text.stderr
    in_latents = rmas("ask", str(file), "Why?", cache=tmp_cache)
    assert "note: reflector has tools (search) and calls none" in in_latents.stderr
    assert "call of" not in in_latents.stderr
    without = rmas("ask", str(file), "Why?", "--channel", "text", "--tools", "none", cache=tmp_cache)
    assert "call of" not in without.stderr
