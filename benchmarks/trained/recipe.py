"""Train what benchmarks/trained compares, as it was trained: the stages of a recipe, one `rmas train outer` each.

    python -m benchmarks.trained.recipe smol --out runs/smol

Each stage makes a bundle OUT/STAGE. Started again, it goes on where it was interrupted. `{out}` in a recipe is OUT.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Stage(NamedTuple):
    """One training: the bundle that it makes and the arguments of `rmas train outer`."""

    bundle: Path
    arguments: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", choices=sorted(file.parent.name for file in HERE.glob("*/recipe.toml")))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for bundle, training in stages(arguments.name, arguments.out):
        if (bundle / "links.safetensors").exists():
            print(f"{bundle}: is there", flush=True)
            continue
        going_on = ["--resume"] if (bundle / "config.toml").exists() else []
        command = [sys.executable, "-m", "rmas", "train", "outer", *training, *going_on]
        if code := subprocess.run(command).returncode:
            raise SystemExit(code)


def stages(name: str, out: Path) -> Iterator[Stage]:
    """The trainings of benchmarks/trained/NAME/recipe.toml, in their order."""
    folder = HERE / name
    for stage, row in tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8")).items():
        system = folder / row["system"].format(out=out.resolve())  # an absolute path stays as it is
        sets = [f"{key}={_toml(value, out)}" for key, value in row.get("set", {}).items()]
        arguments = [str(system), "--config", str(folder / row["config"]), "--out", str(out / stage)]
        yield Stage(out / stage, arguments + [word for one in sets for word in ("--set", one)])


def _toml(value: object, out: Path) -> str:
    return json.dumps(value.format(out=out) if isinstance(value, str) else value)


if __name__ == "__main__":
    main()
