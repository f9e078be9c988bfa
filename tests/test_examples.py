"""Every example runs, on its default system, without network and without writing to the user's cache."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
SLOW = {"06_relay"}  # trains its agents first
MARKS = (pytest.mark.slow, pytest.mark.timeout(300))


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=MARKS if path.stem in SLOW else (), id=path.stem) for path in EXAMPLES]
)
def test_an_example_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "fonts"))  # of matplotlib, which notes them where it is told
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main()
    assert capsys.readouterr().out.strip()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) <= 40


def test_the_examples_are_found() -> None:
    assert len(EXAMPLES) >= 5
