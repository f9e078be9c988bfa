"""The documents are true: names exist, links lead somewhere, code compiles, TOML loads, commands are known."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from rmas import Question, RecursiveSolver, load_system
from rmas.cli import app
from rmas.pattern import load_pattern
from rmas.systemfile import load_spec

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LOG.md")),
    *sorted(DOCS.rglob("*.md")),
]
WORDED = [page for page in PAGES if page.name != "help.md"]  # written by hand
MAP = (DOCS / "paper_map.md").read_text(encoding="utf-8")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def write_files(page: Path, folder: Path) -> list[str]:
    """Write every TOML block of a page under the name in its first line, `# name.toml`; the names."""
    names = []
    for block in blocks(page, "toml"):
        found = re.match(r"# (\w+\.toml)\n", block)
        assert found, f"{page.name}: a toml block must start with its file's name:\n{block}"
        names.append(found[1])
        (folder / found[1]).write_text(block, encoding="utf-8")
    return names


def commands(page: Path) -> list[list[str]]:
    """Every `rmas …` line of a page's shell blocks, split into words."""
    lines = "\n".join(blocks(page, "sh")).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("rmas ")]


def resolve(name: str) -> Any:
    """`package.module:NAME.attribute` -> the object."""
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(rmas[\w.]*:[\w.]+)`", MAP))))
def test_every_name_in_the_paper_map_exists(name: str) -> None:
    resolve(name)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(src/[\w./-]+)`", MAP))))
def test_every_path_in_the_paper_map_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+\.py::\w+)`", MAP))))
def test_every_test_in_the_paper_map_exists(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_about_the_release_names_a_test() -> None:
    table = MAP.split("## Where we deviate from the release")[1].split("\n\n")[1]
    rows = table.splitlines()[2:]
    assert rows
    assert all(re.search(r"`test_\w+\.py::\w+` \|$", row) for row in rows)


@pytest.mark.parametrize("page", WORDED, ids=page_id)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    for name in set(re.findall(r"`(rmas(?:\.[a-z_]\w*)+)`", page.read_text(encoding="utf-8"))):
        parts = name.split(".")
        try:
            import_module(name)
        except ModuleNotFoundError:
            resolve(f"{'.'.join(parts[:-1])}:{parts[-1]}")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_page_names_a_path_of_one_machine(page: Path) -> None:
    assert not re.findall(r"(?<![\w./:<*-])/[a-z]\w*/[\w.]", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", WORDED, ids=page_id)
def test_every_python_block_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    assert '"smol"' in block
    exec(compile(block.replace('"smol"', '"tiny"', 1), "README.md", "exec"), {})
    assert "verb='speak'" in capsys.readouterr().out


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "extending.md", DOCS / "training.md"], ids=page_id)
def test_every_toml_block_loads(page: Path, tmp_path: Path) -> None:
    names = write_files(page, tmp_path)
    assert names
    for name in names:
        text = (tmp_path / name).read_text(encoding="utf-8")
        if "schedule" in text:
            load_pattern(name, base=tmp_path)
        elif "backbone" in text:
            load_spec(str(tmp_path / name))


def test_the_pattern_worked_through_in_extending_runs(tmp_path: Path) -> None:
    write_files(DOCS / "extending.md", tmp_path)
    system = load_system(str(tmp_path / "interview_team.toml"))
    question = Question(text="Where was the bicycle?", context={"witness_one": "By the river."})
    turns = RecursiveSolver(system).solve([question])[0].trace.turns
    assert [(turn.role, turn.verb) for turn in turns[3:]] == [
        ("witness_one", "think"),
        ("witness_two", "think"),
        ("detective", "speak"),
    ]


@pytest.mark.parametrize("page", WORDED, ids=page_id)
def test_every_rmas_command_on_a_page_is_one_that_rmas_takes(page: Path) -> None:
    for verb, *words in commands(page):
        group = typer.main.get_group(app)
        while isinstance(inner := group.commands.get(verb), TyperGroup):
            group, verb, words = inner, words[0], words[1:]
        assert inner is not None, verb
        inner.make_context(verb, words)  # refuses an unknown option, a missing argument, a wrong type


def test_the_readme_shows_every_verb() -> None:
    assert {words[0] for words in commands(ROOT / "README.md")} == set(typer.main.get_group(app).commands)


def test_the_pattern_of_extending_is_drawn_with_its_way_back(tmp_path: Path) -> None:
    write_files(DOCS / "extending.md", tmp_path)
    result = CliRunner().invoke(app, ["show", str(tmp_path / "interview.toml")])
    assert result.exit_code == 0
    assert "<~~ detective" in result.output
