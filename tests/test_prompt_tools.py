"""What a prompt tells of tools: sections that stand only where a role has some, or only where it has none."""

from pathlib import Path

import pytest

from rmas.conversation import Prompt, Slot
from rmas.errors import PromptError
from rmas.packs import load_pack
from rmas.prompt import KINDS, PromptPack, Question
from zoo import backbone

TOKENIZER = backbone("llama").tokenizer
HEARD = frozenset({"reflector"})
TOLD = {"tools": "- <x>1</x> does it.", "examples": "<x>one</x> does it."}
PLAIN = """[roles.reflector]
system = "s"
sections = ["{question}", "{toolcaller}"]
[roles.toolcaller]
system = "You act."
sections = ["Solve: {question}", "Heard: {reflector}", "Now answer."]
"""
BOTH = """[roles.reflector]
system = "s"
sections = ["{question}", "{toolcaller}"]
[roles.toolcaller]
system = "You act."
sections = [
  "{examples}",
  { text = "Solve: {question}", unless = "tools" },
  { text = "Heard: {reflector}", unless = "tools" },
  { text = "Lead.", after = "tools" },
  { text = "{reflector}", after = "tools" },
  { text = "Now you: {question}", after = "tools" },
  { text = "Now answer.", unless = "tools" },
]
"""


def parse(folder: Path, text: str, *, whole: bool = False) -> PromptPack:
    (folder / "words.toml").write_text("whole = true\n" * whole + text, encoding="utf-8")
    return load_pack("words.toml", "deliberation", base=folder)


def prompt_of(pack: PromptPack, told: dict[str, str], filled: frozenset[str] = HEARD) -> Prompt:
    return pack.render("toolcaller", Question(text="Who?"), TOKENIZER, filled=filled, tools=told)


def spelled(prompt: Prompt) -> str:
    parts = [f"[{part.source}]" if isinstance(part, Slot) else TOKENIZER.hf.decode(part) for part in prompt.body]
    return str(TOKENIZER.hf.decode(prompt.head) + "".join(parts))


@pytest.mark.parametrize("whole", [False, True])
def test_a_prompt_without_tools_is_that_of_a_pack_that_has_no_word_on_them(tmp_path: Path, whole: bool) -> None:
    both, plain = parse(tmp_path, BOTH, whole=whole), parse(tmp_path, PLAIN, whole=whole)
    for filled in (frozenset[str](), HEARD):
        assert prompt_of(both, {}, filled) == prompt_of(plain, {}, filled)


def test_a_pack_without_tools_is_a_pack_that_has_no_word_on_them(tmp_path: Path) -> None:
    """So digests stay as they were before it had one."""
    assert repr(parse(tmp_path, BOTH).without_tools().roles) == repr(parse(tmp_path, PLAIN).roles)


def test_with_tools_the_sections_for_them_stand_in_the_place_of_the_others(tmp_path: Path) -> None:
    text = spelled(prompt_of(parse(tmp_path, BOTH), TOLD))
    assert "<x>one</x> does it.\n\nLead.\n\n[reflector]\n\nNow you: Who?" in text
    assert not any(other in text for other in ("Solve", "Heard", "Now answer", "- <x>"))


def test_the_head_goes_on_behind_sections_that_stand_with_tools_alone(tmp_path: Path) -> None:
    """Who has tools has them in every round."""
    pack = parse(tmp_path, BOTH)
    for filled in (frozenset[str](), HEARD):
        assert TOKENIZER.hf.decode(prompt_of(pack, TOLD, filled).head).endswith("Lead.")


def test_a_pack_that_shows_examples_tells_of_tools(tmp_path: Path) -> None:
    parse(tmp_path, BOTH).check_tools("toolcaller", ["x"])
    with pytest.raises(PromptError, match=r"toolcaller has tools, and no section .* holds \{tools\}"):
        parse(tmp_path, PLAIN).check_tools("toolcaller", ["x"])


def test_a_question_that_stands_twice_with_tools_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"stands 2 times once tools wrote"):
        parse(tmp_path, BOTH.replace('{ text = "Solve: {question}", unless = "tools" }', '"Solve: {question}"'))


@pytest.mark.parametrize(("pattern", "role"), [("deliberation", "toolcaller"), ("solo", "solver")])
def test_in_the_native_pack_the_question_stands_behind_the_examples(pattern: str, role: str) -> None:
    """A small model calls a tool that it has just seen called."""
    pack = load_pack("native", pattern)
    shown = [kind for kind in KINDS if any("examples" in part.names for part in pack.roles[role, kind].sections)]
    assert "search" in shown
    for kind in shown:
        prompt = pack.render(role, Question(text="Who?", kind=kind), TOKENIZER, filled=frozenset(), tools=TOLD)
        before, after = spelled(prompt).split("Who?")
        assert TOLD["examples"] in before
        assert "examples" not in after
