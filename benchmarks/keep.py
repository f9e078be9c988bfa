"""Keep what a run of a suite has finished in benchmarks/SUITE/results, packed, so that it goes on from there.

    python -m benchmarks.keep SUITE DIR

DIR is the --out of `rmas compare`. Verdicts, tokens and turns stay; the words of known benchmarks go, since questions
and tests are not ours to ship, and so do checkpoints and fine-tuned models: `trained.json` stands for them. Weights of
bundles are kept in bfloat16, in which the suite runs; those of the same training that are there already stay as they
are. What nobody trains on or looks into is kept without weights, to save room: its cells are done, and training makes
it again.

    cp -r benchmarks/smol/results runs/smol
    rmas compare benchmarks/smol/suite.toml --out runs/smol --data gsm8k=FILE --data humaneval=FILE --data mbpp=FILE
    python -m benchmarks.keep smol runs/smol
"""

import argparse
import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file

from benchmarks.eval.keep import WORDS
from rmas.backbone.adapter import WEIGHTS
from rmas.checkpoint import digest
from rmas.eval.record import ORIGIN, PACKED, SAMPLES, SESSIONS, SUMMARY, pack_records
from rmas.runfolder import CONFIG
from rmas.suite.standing import TRAINED
from rmas.wholefile import write_whole

KNOWN = ("gsm8k", "humaneval", "mbpp")
RUN = (CONFIG, ORIGIN, SESSIONS, SUMMARY)
BUNDLE = (CONFIG, TRAINED, "log.jsonl", "system.toml", "README.md", "curves.png")
FOLDERS = ("adapter", "prompts")
LINKED = ("manifest.json", "links.safetensors")
WITHOUT_WEIGHTS = {  # by suite
    "smol": (
        *("text-tuned-more*", "text-copied*", "text-shared*", "lora-more*", "latent-joint*", "wide*"),
        *("latent-copied-2*", "latent-mlp*", "constant-mapped*", "three-qwens*", "latent-tuned-more*", "latent-half*"),
        *("text-rejection*", "latent-tuned*-seed1"),
    ),
    "ablations": ("*",),
}


class Store(NamedTuple):
    """Where a suite ran, and where that is kept."""

    out: Path
    results: Path

    def place(self, path: Path) -> Path:
        """Of what is below `out`."""
        return self.results / path.relative_to(self.out)

    def copy(self, source: Path, names: tuple[str, ...]) -> Path:
        """Those files of a folder that are there."""
        folder = self.place(source)
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (source / name).exists():
                shutil.copyfile(source / name, folder / name)
        return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="keep a suite's finished trainings and cells, packed")
    parser.add_argument("suite", choices=[*WITHOUT_WEIGHTS])
    parser.add_argument("out", type=Path, metavar="DIR")
    given = parser.parse_args()
    store = Store(given.out, Path(__file__).parent / given.suite / "results")
    if store.out.resolve() == store.results.resolve():
        parser.error(f"{store.out} is where results are kept. Run the suite in a copy of it, and keep that.")
    for trained in sorted(store.out.glob(f"trained/*/{TRAINED}")):
        _keep_training(trained, store, WITHOUT_WEIGHTS[given.suite])
    for summary in sorted(store.out.glob(f"runs/*/*/{SUMMARY}")):
        if (summary.parent / SAMPLES).exists():
            _keep_run(summary.parent, store)


def _keep_training(trained: Path, store: Store, without_weights: tuple[str, ...]) -> None:
    kept = store.place(trained)
    if kept.exists() and kept.read_bytes() != trained.read_bytes():
        shutil.rmtree(kept.parent)  # trained anew, so nothing of it is what it was
    folder = store.copy(trained.parent, BUNDLE)
    if any(fnmatch(folder.name, pattern) for pattern in without_weights):
        return
    _copy_weights(trained.parent, folder)
    for part in (trained.parent / name for name in FOLDERS):
        if part.exists():
            own = shutil.ignore_patterns("README.md", WEIGHTS)  # peft's card names a folder of this machine
            shutil.copytree(part, store.place(part), dirs_exist_ok=True, ignore=own)


def _keep_run(run: Path, store: Store) -> None:
    folder = store.copy(run, RUN)
    lines = (run / SAMPLES).read_text(encoding="utf-8").split("\n")[:-1]
    if run.parent.name in KNOWN:
        lines = [json.dumps(json.loads(line) | WORDS) for line in lines]
    write_whole(folder / SAMPLES, "".join(f"{line}\n" for line in lines))
    (folder / PACKED).unlink(missing_ok=True)
    pack_records(folder)
    print(folder)


def _copy_weights(bundle: Path, folder: Path) -> None:
    """Its links with their manifest, and its adapter, unless they are there."""
    links, manifest = (bundle / name for name in reversed(LINKED))
    if links.exists() and not (folder / links.name).exists():
        tensors = _halved(links)
        told = json.loads(manifest.read_text(encoding="utf-8")) | {"digest": digest(tensors)}
        save_file(tensors, folder / links.name)
        write_whole(folder / manifest.name, json.dumps(told, indent=2) + "\n")
    adapter = Path("adapter") / WEIGHTS
    if (bundle / adapter).exists() and not (folder / adapter).exists():
        (folder / adapter).parent.mkdir(exist_ok=True)
        save_file(_halved(bundle / adapter), folder / adapter, metadata={"format": "pt"})


def _halved(file: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()}


if __name__ == "__main__":
    main()
