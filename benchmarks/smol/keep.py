"""Keep what a run of the suite has finished in benchmarks/smol/results, packed, so that it goes on from there.

    python -m benchmarks.smol.keep DIR

DIR is the --out of `rmas compare`. Verdicts, tokens and turns stay; the words of known benchmarks go, since questions
and tests are not ours to ship, and so do checkpoints and fine-tuned models: `trained.json` stands for them. Weights of
bundles are kept in bfloat16, in which the suite runs; those of the same training that are there already stay as they
are. What nobody trains on or looks into is kept without weights, to save room: its cells are done, and training makes
it again.

    cp -r benchmarks/smol/results runs/smol
    rmas compare benchmarks/smol/suite.toml --out runs/smol --data gsm8k=FILE --data humaneval=FILE --data mbpp=FILE
    python -m benchmarks.smol.keep runs/smol
"""

import argparse
import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.eval.keep import WORDS
from rmas.backbone.adapter import WEIGHTS
from rmas.checkpoint import digest
from rmas.eval.record import ORIGIN, PACKED, SAMPLES, SESSIONS, SUMMARY, pack_records
from rmas.runfolder import CONFIG
from rmas.suite.standing import TRAINED
from rmas.wholefile import write_whole

RESULTS = Path(__file__).parent / "results"
KNOWN = ("gsm8k", "humaneval", "mbpp")
RUN = (CONFIG, ORIGIN, SESSIONS, SUMMARY)
BUNDLE = (CONFIG, TRAINED, "log.jsonl", "system.toml", "README.md", "curves.png")
FOLDERS = ("adapter", "prompts")
LINKED = ("manifest.json", "links.safetensors")
WITHOUT_WEIGHTS = ("text-tuned-more*", "text-copied*", "text-shared*", "lora-more*", "latent-joint*", "wide*")


def main() -> None:
    parser = argparse.ArgumentParser(description="keep finished trainings and cells in benchmarks/smol/results, packed")
    parser.add_argument("out", type=Path, metavar="DIR")
    out: Path = parser.parse_args().out
    if out.resolve() == RESULTS.resolve():
        parser.error(f"{out} is where results are kept. Run the suite in a copy of it, and keep that.")
    for trained in sorted(out.glob(f"trained/*/{TRAINED}")):
        kept = RESULTS / trained.relative_to(out)
        if kept.exists() and kept.read_bytes() != trained.read_bytes():
            shutil.rmtree(kept.parent)  # trained anew, so nothing of it is what it was
        folder = _copy(trained.parent, out, BUNDLE)
        if any(fnmatch(folder.name, pattern) for pattern in WITHOUT_WEIGHTS):
            continue
        _copy_weights(trained.parent, folder)
        for part in (trained.parent / name for name in FOLDERS):
            if part.exists():
                own = shutil.ignore_patterns("README.md", WEIGHTS)  # peft's card names a folder of this machine
                shutil.copytree(part, RESULTS / part.relative_to(out), dirs_exist_ok=True, ignore=own)
    for summary in sorted(out.glob(f"runs/*/*/{SUMMARY}")):
        if (summary.parent / SAMPLES).exists():
            _keep_run(summary.parent, out)


def _keep_run(run: Path, out: Path) -> None:
    folder = _copy(run, out, RUN)
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


def _copy(source: Path, out: Path, names: tuple[str, ...]) -> Path:
    folder = RESULTS / source.relative_to(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    return folder


if __name__ == "__main__":
    main()
