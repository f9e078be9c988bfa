"""Prompt packs: what a file may hold, and how it must fit the pattern."""

from pathlib import Path

import pytest

from rmas.errors import PromptError
from rmas.packs import PACKS, known_packs, load_pack
from rmas.pattern import known_patterns, load_pattern
from rmas.prompt import KINDS, PromptPack
from rmas.system import load_system
from rmas.systemfile import load_spec

ROLE = """[roles.solver]
system = "You solve."
sections = ["Solve: {question}", "Know: {context}", "{answer}"]
"""


def parse(folder: Path, text: str) -> PromptPack:
    (folder / "words.toml").write_text(text, encoding="utf-8")
    return load_pack("words.toml", "solo", base=folder)


def refusal(folder: Path, text: str) -> str:
    """The message, which must name the file and stand on one line."""
    with pytest.raises(PromptError) as caught:
        parse(folder, text)
    assert "words.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pattern", known_patterns())
def test_the_native_pack_words_every_role_of_every_shipped_pattern(pattern: str) -> None:
    pack, roles = load_pack("native", pattern), load_pattern(pattern).roles
    assert {role for role, _ in pack.roles} == set(roles)
    for role in roles:
        assert set(pack.slots(role)) == {edge.source for edge in load_pattern(pattern).into(role)}
        assert {kind for name, kind in pack.roles if name == role} == set(KINDS)


TERSE = ["debate", "deliberation", "distillation", "looped", "mixture", "sequential", "solo"]


@pytest.mark.parametrize("pattern", TERSE)
def test_the_terse_pack_words_every_role_with_its_slots_and_private_context(pattern: str) -> None:
    pack, shape = load_pack("terse", pattern), load_pattern(pattern)
    for role in shape.roles:
        assert set(pack.slots(role)) == {edge.source for edge in shape.into(role)}
        for kind in KINDS:
            names = [name for section in pack.roles[role, kind].sections for name in section.names]
            assert names.count("context") == 1, (role, kind)


def test_the_native_pack_gives_every_role_a_place_for_private_context() -> None:
    for pattern in known_patterns():
        for key, text in load_pack("native", pattern).roles.items():
            assert [name for section in text.sections for name in section.names].count("context") == 1, key


def test_a_pack_file_of_your_own_takes_the_task_texts_of_the_native_pack(tmp_path: Path) -> None:
    assert parse(tmp_path, ROLE).tasks == load_pack("native", "solo").tasks


def test_a_pack_file_with_task_texts_beside_it_takes_those(tmp_path: Path) -> None:
    tasks = "".join(f'[{kind}]\nbrief = "b"\nanswer = "a {kind}"\n' for kind in KINDS)
    (tmp_path / "tasks.toml").write_text(tasks, encoding="utf-8")
    assert parse(tmp_path, ROLE).tasks["math"] == {"brief": "b", "answer": "a math"}


def test_a_pack_folder_of_your_own_loads(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "tasks.toml").write_bytes((PACKS / "native" / "tasks.toml").read_bytes())
    (folder / "solo.toml").write_text(ROLE, encoding="utf-8")
    assert load_pack("mine", "solo", base=tmp_path).roles["solver", "open"].system == "You solve."
    with pytest.raises(PromptError, match=r"no wording for pattern 'ring' \(have solo\)"):
        load_pack("mine", "ring", base=tmp_path)


def test_an_unknown_pack_is_refused_with_the_nearest() -> None:
    assert known_packs() == ["native", "released", "terse"]
    with pytest.raises(PromptError, match=r"unknown prompt pack 'nativ' .*Did you mean 'native'\?"):
        load_pack("nativ", "solo")


def test_a_missing_pack_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"words\.toml: no such file"):
        load_pack("words.toml", "solo", base=tmp_path)


def test_doubled_braces_are_braces(tmp_path: Path) -> None:
    pack = parse(tmp_path, ROLE.replace("{answer}", "Write \\\\boxed{{}} {{x}}"))
    assert pack.roles["solver", "open"].sections[-1].parts == ("Write \\boxed{} {x}",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "roles: the file words no role"),
        ("roles = 3", ":1: roles: the file words no role"),
        ("[roles]\nsolver = 3", ":2: roles.solver: expected a table, got 3"),
        ("[rolls.solver]\n", ":1: rolls: unknown key 'rolls' (have note, roles, whole). Did you mean 'roles'?"),
        (ROLE + 'sistem = "x"', ":4: roles.solver.sistem: unknown key 'sistem'"),
        ("[roles.solver]\nsystem = 'x'", ":1: roles.solver: expected a text `system` and a list of texts"),
        ("[roles.solver]\nsystem = 3\nsections = ['{question}']", "expected a text `system`"),
        ("[roles.solver]\nsystem = 'x'\nsections = []", "a list of texts `sections`"),
        ("[roles.solver]\nsystem = 'x'\nsections = '{question}'", "a list of texts `sections`"),
        ("[roles.solver]\nsystem = 'x'\nsections = [3]", "a section must be a text, got 3"),
        ("[roles.solver]\nsystem = 'x'\nsections = ['hi']", "{question} must stand exactly once, stands 0 times"),
        ("[roles.solver]\nsystem = 'x'\nsections = ['{question}', '{question}']", "stands 2 times"),
        (ROLE.replace('"{answer}"', '"{planner}", "again {planner}"'), "slot {planner} stands 2 times. Keep one."),
        (ROLE.replace('"{answer}"', '"{planner} and {critic}"'), "must hold one slot and no {question}: split it"),
        (ROLE.replace("Know: {context}", "{planner} {context}"), "must hold one slot"),
        (ROLE.replace("Solve: {question}", "{question} {context}"), "must hold one slot and no {question}"),
        (ROLE.replace("{answer}", "a { b"), "a lone brace in 'a { b'"),
        (ROLE + "[roles.solver.tasks.maths]\nsystem = 'x'", "unknown key 'maths'"),
        (ROLE + "tasks = 3", "roles.solver.tasks: expected a table, got 3"),
        (ROLE + "tasks.math = 3", "roles.solver.tasks.math: expected a table, got 3"),
        (ROLE + "[roles.solver.tasks.math]\nsistem = 'x'", ":5: roles.solver.tasks.math.sistem: unknown key 'sistem'"),
        (ROLE + "[roles.solver.tasks.math]\nsections = ['{question} x', '{planner}']", "its slots ('planner',) differ"),
        ("[roles.solver\n", "not valid TOML: "),
    ],
)
def test_nonsense_in_a_pack_is_refused_with_file_line_and_key(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[open]\nbrief = 'b'\nanswer = 'a'\n[maths]\n", "unknown key 'maths'"),
        ("[open]\nbrief = 'b'\nanswer = 'a'\n", "math: expected two texts, brief and answer, got None"),
        ("[open]\nbrief = 'b'\n", ":1: open: expected two texts, brief and answer"),
        ("[open]\nbrief = 'b'\nanswer = 3\n", ":1: open: expected two texts, brief and answer"),
        ("open = 3", ":1: open: expected two texts, brief and answer, got 3"),
    ],
)
def test_nonsense_in_task_texts_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "tasks.toml").write_text(text, encoding="utf-8")
    with pytest.raises(PromptError) as caught:
        parse(tmp_path, ROLE)
    assert "tasks.toml" in str(caught.value)
    assert problem in str(caught.value)


PATTERN = (
    'schedule = [["asker"], ["teller"]]\nedges = [["asker", "teller"], ["teller", "asker"]]\nanswerer = "teller"\n'
)
WORDS = """[roles.asker]
system = "You ask."
sections = ["Ask: {question}", "Heard: {teller}"]
[roles.teller]
system = "You tell."
sections = ["Tell: {question}", "Heard: {asker}", "{answer}"]
"""
SYSTEM = """pattern = "chat.toml"
prompts = "words.toml"
latent_steps = 2
start = "identity"
[roles.asker]
backbone = "tiny:llama"
[roles.teller]
backbone = "tiny:mistral"
"""


def write_system(folder: Path, *, pattern: str = PATTERN, words: str = WORDS, system: str = SYSTEM) -> str:
    """A system of the user's own, in three files; the path of the system file."""
    for name, text in (("chat.toml", pattern), ("words.toml", words), ("mine.toml", system)):
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder / "mine.toml")


def test_a_system_with_a_pattern_and_prompts_of_your_own_loads(tmp_path: Path) -> None:
    system = load_system(write_system(tmp_path), cache=tmp_path / "cache")
    assert system.pattern.roles == ("asker", "teller")
    assert system.spec.name == "mine"
    assert {str(edge) for edge in system.pattern.edges} == {"asker->teller", "teller->asker"}


def test_an_edge_without_a_slot_is_refused(tmp_path: Path) -> None:
    words = WORDS.replace(', "Heard: {asker}"', "")
    with pytest.raises(
        PromptError, match=r"words\.toml:4: roles\.teller: edge asker->teller of pattern 'chat' has no slot\. Add a sec"
    ):
        load_spec(write_system(tmp_path, words=words))


def test_a_slot_without_an_edge_is_refused(tmp_path: Path) -> None:
    pattern = PATTERN.replace(', ["teller", "asker"]', "")
    with pytest.raises(
        PromptError, match=r"words\.toml:1: roles\.asker: slot \{teller\} has no edge teller->asker in pattern 'chat'"
    ):
        load_spec(write_system(tmp_path, pattern=pattern))


def test_a_misspelt_slot_is_a_slot_without_an_edge(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"roles\.teller: slot \{askr\} has no edge askr->teller"):
        load_spec(write_system(tmp_path, words=WORDS.replace("{asker}", "{askr}")))


def test_a_role_without_wording_is_refused(tmp_path: Path) -> None:
    words = WORDS[: WORDS.index("[roles.teller]")]
    with pytest.raises(PromptError, match=r"words\.toml: roles\.teller: the pack has no wording for this role"):
        load_spec(write_system(tmp_path, words=words))


def test_a_pattern_of_your_own_needs_prompts_of_your_own(tmp_path: Path) -> None:
    system = SYSTEM.replace('prompts = "words.toml"\n', "")
    with pytest.raises(PromptError, match=r'no wording for pattern \'chat\' .*prompts = "chat_prompts\.toml"'):
        load_spec(write_system(tmp_path, system=system))
