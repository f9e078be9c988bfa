"""Save a system's links as a bundle, load it again, and see a changed byte refused.

A bundle is a folder: system.toml, links.safetensors, manifest.json. It holds no backbone.
"""

import tempfile
from pathlib import Path

from rmas import Question, RecursiveSolver, RmasError, load_system, save_system

QUESTION = Question(text="How many legs has a spider?")


def main(name: str = "tiny") -> None:
    system = load_system(name)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        save_system(system, bundle)
        for file in sorted(bundle.iterdir()):
            print(f"{file.name:18} {file.stat().st_size:8,} bytes")

        again = load_system(str(bundle))
        same = [RecursiveSolver(s).solve([QUESTION])[0].text for s in (system, again)]
        print(f"same links: {system.digest() == again.digest()}, same answer: {same[0] == same[1]}")

        links = bundle / "links.safetensors"
        links.write_bytes(links.read_bytes()[:-1] + b"\x01")
        try:
            load_system(str(bundle))
        except RmasError as problem:
            print(f"after one changed byte: {str(problem).replace(str(bundle), 'bundle')}")


if __name__ == "__main__":
    main()
