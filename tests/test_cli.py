"""The command line as a whole: help, version, and how it ends."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs.generate_help import HELP, render

from cli_runner import rmas
from rmas import solvers
from rmas.cli import app, main
from rmas.cli.screen import size, table

_VERBS = ("ask", "show", "demo", "doctor", "fetch", "train inner", "train outer")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_help_loads_no_heavy_package() -> None:
    script = (
        "import sys\nsys.argv = ['rmas', '--help']\n"
        "from rmas.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "loaded = {'torch', 'transformers', 'rich', 'numpy', 'tokenizers'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = python("-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(verb.split()[0] in done.stdout for verb in _VERBS)


def test_a_wrong_setting_is_refused_before_torch_loads() -> None:
    script = (
        "import sys\nsys.argv = ['rmas', 'ask', 'smol', 'Why?', '--rounds', '0']\n"
        "from rmas.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = python("-c", script)
    assert done.stderr == "rmas: rounds is 0, expected 1 or more.\n"
    assert done.returncode == 0


def test_the_package_runs_as_a_module() -> None:
    done = python("-m", "rmas", "show", "nonesuch")
    assert done.returncode == 2
    assert done.stderr.startswith("rmas: unknown system or pattern 'nonesuch' (have ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have no such limit")
def test_freed_memory_goes_back_to_the_system() -> None:
    """A freed block of 20 MiB raises glibc's own limit: blocks of 5 MiB then come from its heap, which keeps them."""
    script = (
        "import ctypes\nfrom rmas import cli\n"
        "libc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\nlibc.malloc.argtypes = [ctypes.c_size_t]\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "class Info(ctypes.Structure):\n"
        "    _fields_ = [(name, ctypes.c_int) for name in ('arena', 'free', 'fast', 'mapped', *'abcdef')]\n"
        "libc.mallinfo.restype = Info\n"
        "def is_mapped():\n"
        "    before = libc.mallinfo().mapped\n    libc.malloc(5 << 20)\n    return libc.mallinfo().mapped > before\n"
        "libc.free(libc.malloc(20 << 20))\nassert not is_mapped()\ncli._give_back_freed_memory()\nassert is_mapped()\n"
    )
    done = python("-c", script)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", _VERBS)
def test_help_names_no_path_of_this_machine(verb: str) -> None:
    text = re.sub(r"\s+", " ", rmas(*verb.split(), "--help").stdout)
    assert str(Path.home()) not in text
    assert "env var: RMAS_CACHE" in text


def test_the_help_page_of_the_docs_is_up_to_date() -> None:
    assert HELP.read_text(encoding="utf-8") == render(app, "rmas")


def test_version_is_one_line() -> None:
    result = rmas("--version")
    assert result.exit_code == 0
    assert re.fullmatch(r"rmas \S.*\n", result.stdout)


def test_an_unknown_verb_is_a_usage_error() -> None:
    assert rmas("aks").exit_code == 2


@pytest.mark.parametrize(
    ("problem", "line", "code"),
    [
        (KeyboardInterrupt(), "rmas: interrupted.", 130),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB.\nMore."), "rmas: out of memory (CUDA", 2),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "rmas: out of memory (Default", 2),
        (MemoryError(), "rmas: out of memory (no memory left)", 2),
        (OSError(28, "No space left on device", "/cache/x"), "rmas: /cache/x: No space left on device", 2),
    ],
)
def test_what_the_machine_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, problem: BaseException, line: str, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(solvers, "open_solver", fail)
    result = rmas("ask", "tiny", "Why?", "--json")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(solvers, "open_solver", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        rmas("ask", "tiny", "Why?")


def test_main_leaves_with_the_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["rmas", "show", "nonesuch"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("rmas: unknown system or pattern 'nonesuch'")


def test_a_table_puts_numbers_to_the_right() -> None:
    text = table(("who", "count"), [("a", 5), ("bcd", 1234), ("e", None)])
    assert text.splitlines() == ["who  count", "a        5", "bcd   1234", "e        ?"]


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(None, "?"), (140_000, "0.14 MB"), (98_362_432, "98 MB"), (4_253_000_000, "4.25 GB")]
)
def test_sizes_are_for_people(num_bytes: int | None, text: str) -> None:
    assert size(num_bytes) == text
