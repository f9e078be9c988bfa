"""The layer table: imports run only downwards, siblings keep apart, heavy packages stay where they belong.

A component is a module or folder directly below src/rmas. A row here is the only place where a new one is declared.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SRC = Path(__file__).parent.parent / "src" / "rmas"

LEVELS = {
    "canvas": 0,
    "configfile": 0,
    "conversation": 0,
    "designs": 0,
    "errors": 0,
    "runfolder": 0,
    "settings": 0,
    "tomlfile": 0,
    "wholefile": 0,
    "precision": 0,
    "pattern": 1,
    "prompt": 1,
    "packs": 1,
    "link": 1,
    "backbone": 1,
    "rows": 1,
    "sources": 1,
    "tools": 1,
    "engine": 2,
    "graph": 2,
    "importing": 2,
    "spec": 2,
    "systemfile": 2,
    "alignment": 3,
    "system": 3,
    "weights": 3,
    "checkpoint": 3,
    "release": 4,
    "solver": 4,
    "solvers": 4,
    "eval": 5,
    "train": 5,
    "publish": 6,
    "serve": 6,
    "suite": 6,
    "cli": 7,
    "__init__": 8,
    "__main__": 8,
}
# The only imports between components of one level.
SIDEWAYS = {
    ("canvas", "errors"),
    ("configfile", "errors"),
    ("configfile", "tomlfile"),
    ("conversation", "errors"),
    ("runfolder", "configfile"),
    ("runfolder", "errors"),
    ("runfolder", "tomlfile"),
    ("runfolder", "wholefile"),
    ("designs", "errors"),
    ("settings", "errors"),
    ("tomlfile", "errors"),
    ("packs", "pattern"),
    ("packs", "prompt"),
    ("system", "checkpoint"),
    ("system", "alignment"),
    ("system", "weights"),
    ("checkpoint", "alignment"),
    ("solvers", "solver"),
    ("systemfile", "spec"),
    ("__main__", "__init__"),
}
# Downwards, and still not wanted: the command line joins the two.
FORBIDDEN = {("eval", "solvers")}
# Third-party package -> the only components that may import it, anywhere.
ONLY = {"transformers": {"backbone"}, "peft": {"backbone"}}
# Component, or one module of it -> packages that importing it must not load.
ML = frozenset({"torch", "transformers"})
HEAVY = ML | {"accelerate", "gguf", "huggingface_hub", "numpy", "peft", "rich", "safetensors", "tokenizers"}
LIGHT = {
    "canvas": HEAVY | {"matplotlib"},
    "designs": HEAVY,
    "errors": HEAVY,
    "settings": HEAVY,
    "tomlfile": HEAVY,
    "wholefile": HEAVY,
    "pattern": ML,
    "packs": ML,
    "conversation": ML,
    "prompt": ML,
    "sources": ML,
    "spec": ML,
    "systemfile": ML,
    "tools": ML,
    "eval.task": ML,
    "eval.grade": ML,
    "train.card": ML,
    "train.config": ML,
    "train.data": ML,
    "train.resolve": ML,
    "runfolder": ML,
    "train.journal": ML,
    "cli": HEAVY,
    "__init__": HEAVY,
}


class Import(NamedTuple):
    """One imported module, `rmas.pattern` or `torch.nn`, and whether it is loaded along with its file."""

    target: str
    line: int
    is_eager: bool


def breaches(root: Path) -> list[str]:
    """Every breach of the tables above in the package at `root`, one line each, in the order of the files."""
    return [line for path in sorted(root.rglob("*.py")) for line in _breaches_of(root, path)]


def _breaches_of(root: Path, path: Path) -> Iterator[str]:
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    source = module.split(".")[0]
    if source not in LEVELS:
        yield f"{module}: not in LEVELS. Add a row to tests/test_layers.py."
        return
    for target, line, is_eager in _imports(path):
        where = f"{module}:{line} imports {target}"
        top, _, rest = target.partition(".")
        if top == root.name:
            yield from (f"{where}: {reason}" for reason in _inward(source, rest.split(".")[0] or "__init__"))
        elif source not in ONLY.get(top, {source}):
            yield f"{where}: only {', '.join(sorted(ONLY[top]))} may"
        elif is_eager and top in _unwanted(module):
            yield f"{where}: import it inside the function that needs it"


def _inward(source: str, target: str) -> Iterator[str]:
    """Why `source` may not import the component `target`, if so."""
    if target not in LEVELS:
        yield f"{target} is not in LEVELS"
    elif source == target or (source, target) in SIDEWAYS:
        return
    elif LEVELS[target] > LEVELS[source]:
        yield f"upwards, from level {LEVELS[source]} to {LEVELS[target]}"
    elif LEVELS[target] == LEVELS[source]:
        yield f"sideways, both are level {LEVELS[source]}"
    elif (source, target) in FORBIDDEN:
        yield "these two do not know each other"


def _unwanted(module: str) -> frozenset[str]:
    """What `module` must not load: the row of the module itself or of a package it is in."""
    return frozenset().union(
        *(packages for name, packages in LIGHT.items() if module == name or module.startswith(name + "."))
    )


def _imports(path: Path) -> Iterator[Import]:
    """Every import statement in the file. Relative ones are refused by ruff (TID252), so none is resolved here."""
    nodes: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), True)]
    while nodes:
        node, is_eager = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, is_eager) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "rmas":
            yield from (Import(_member(alias.name), node.lineno, is_eager) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield Import("." * node.level + (node.module or ""), node.lineno, is_eager)
        is_lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_for_types(node)
        nodes += [(child, is_eager and not is_lazy) for child in ast.iter_child_nodes(node)]


def _member(name: str) -> str:
    """`from rmas import pattern` names a component, `from rmas import Pattern` the public namespace."""
    return f"rmas.{name}" if name in LEVELS else "rmas"


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def test_every_import_in_the_package_keeps_to_the_layers() -> None:
    assert breaches(SRC) == []


def test_every_row_about_one_component_is_a_row_of_the_level_table() -> None:
    named = {name for pair in SIDEWAYS | FORBIDDEN for name in pair}
    named |= {name.split(".")[0] for name in LIGHT} | set().union(*ONLY.values())
    assert named <= set(LEVELS)


def test_importing_a_light_module_loads_no_heavy_package() -> None:
    present = [name for name in LIGHT if _is_present(name)]
    script = (
        "import importlib, sys\n"
        "for name, unwanted in TABLE.items():\n"
        "    importlib.import_module(name)\n"
        "    loaded = unwanted & set(sys.modules)\n"
        "    if loaded: sys.exit(f'{name} loads {sorted(loaded)}')\n"
    )
    # Strictest first: what a later row may load must not be blamed on an earlier one.
    table = {_dotted(name): set(LIGHT[name]) for name in sorted(present, key=lambda name: -len(LIGHT[name]))}
    done = subprocess.run(
        [sys.executable, "-c", script.replace("TABLE", repr(table))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def _is_present(name: str) -> bool:
    path = SRC.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def _dotted(name: str) -> str:
    return "rmas" if name == "__init__" else f"rmas.{name}"


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("pattern.py", "import rmas.engine.turn", "upwards, from level 1 to 2"),
        ("pattern.py", "from rmas import engine", "upwards, from level 1 to 2"),
        ("engine/turn.py", "from rmas import System", "upwards, from level 2 to 8"),
        ("engine/turn.py", "def f():\n    from rmas.system import System", "upwards, from level 2 to 3"),
        ("link.py", "from rmas.pattern import Edge", "sideways, both are level 1"),
        ("backbone/load.py", "from rmas.sources import locate", "sideways, both are level 1"),
        ("train/loop.py", "import rmas.eval.run", "sideways, both are level 5"),
        ("eval/run.py", "import rmas.solvers.text", "these two do not know each other"),
        ("engine/turn.py", "def f():\n    import transformers", "only backbone may"),
        ("prompt.py", "from torch import Tensor", "import it inside the function that needs it"),
        ("prompt.py", "try:\n    import torch.nn\nexcept ImportError:\n    pass", "import it inside the function"),
        ("cli/ask.py", "import rich.table", "import it inside the function that needs it"),
        ("eval/grade.py", "import torch", "import it inside the function that needs it"),
        ("helpers.py", "", "not in LEVELS"),
        ("errors.py", "import rmas.helpers", "helpers is not in LEVELS"),
    ],
)
def test_a_breach_is_caught(tmp_path: Path, path: str, text: str, problem: str) -> None:
    found = breaches(_package(tmp_path, path, text))
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("engine/turn.py", "import torch\nfrom rmas.pattern import Edge\nfrom rmas.engine import trace"),
        ("backbone/hf.py", "import transformers"),
        ("solvers/text.py", "from rmas.solver import Answer"),
        ("cli/ask.py", "def f():\n    import torch\n    import rmas.system"),
        ("prompt.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("eval/run.py", "import torch"),
    ],
)
def test_a_downward_or_late_import_is_allowed(tmp_path: Path, path: str, text: str) -> None:
    assert breaches(_package(tmp_path, path, text)) == []


def _package(folder: Path, path: str, text: str) -> Path:
    file = folder / "rmas" / path
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return folder / "rmas"
