"""Training-free starts for a system's links, in closed form: an untrained system is usable.

Inner links regress the embedding of the next token on the hidden state, over a short calibration text that ships
with the package; or, with the soft token as teacher, the embedding that the model itself expects there. Outer links
regress the receiver's embedding of a string on the sender's, over the strings that both vocabularies hold, each
weighed as often as such a token is met (Zipf's law on its rank): else the rare many decide where a digit goes. All
end with the mean norm of the receiver's embeddings.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from rmas.backbone import HFBackbone
from rmas.errors import SourceError
from rmas.link import Link, SoftToken, fit_affine, left_to_chance, mean_norm, write_affine
from rmas.pattern import Edge
from rmas.sources import Progress, silent

CALIBRATION = Path(__file__).parent / "calibration.txt"
_VERSION = "3"  # of what this file computes; part of every cache key
_COMMON = 10  # ranks up to here weigh about the same
_BATCH = 8  # texts
_SOFT_BATCH = 64  # states: each becomes a row of logits
_log = logging.getLogger(__name__)


class Pairs(NamedTuple):
    """Inputs and targets of a regression. x (N, D_in), y (N, D_out), float32; w (N,) weighs them, None: all alike."""

    x_ND: Tensor
    y_NE: Tensor
    w_N: Tensor | None = None


@final
class Aligner:
    """Writes closed-form starts into links, computing each at most once per machine."""

    def __init__(
        self,
        backbones: Mapping[str, HFBackbone],
        *,
        cache: Path,
        progress: Progress = silent,
        teacher: Literal["next_token", "soft_token"] = "next_token",
    ) -> None:
        self._backbones = backbones
        self._teacher = teacher
        self._cache = cache / "starts"
        self._progress = progress
        self._thoughts: dict[str, Pairs] = {}

    def write(self, inner: Mapping[str, Link], outer: Mapping[Edge, Link]) -> None:
        """Start each link; `inner` by role, `outer` by edge."""
        done, total = 0, len(inner) + len(outer)
        for role, link in inner.items():
            self._progress("aligning links", done, total)
            backbone = self._backbones[role]
            identity = [fingerprint(backbone), _text_hash(), self._teacher]
            self._start(link, identity, partial(self._inner_pairs, backbone))
            done += 1
        for edge, link in outer.items():
            self._progress("aligning links", done, total)
            source, target = self._backbones[edge.source], self._backbones[edge.target]
            identity = [fingerprint(source), fingerprint(target), "zipf"]
            self._start(link, identity, partial(shared_rows, source, target))
            done += 1
        self._progress("aligning links", total, total)

    def _start(self, link: Link, identity: Iterable[str], pairs: Callable[[], Pairs]) -> None:
        key = " ".join([_VERSION, link.place, link.design, str(link.d_in), str(link.d_out), *identity])
        file = self._cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
        if (stored := _stored(file)) is not None:
            link.load_state_dict(stored, strict=False)
            return
        device = next(link.parameters()).device
        x_ND, y_NE, w_N = pairs()
        link.cpu()
        write_affine(link, fit_affine(x_ND, y_NE, w_N), x_ND, y_NE, w_N)
        drawn = left_to_chance(link)
        _store({name: tensor for name, tensor in link.state_dict().items() if name not in drawn}, file)
        link.to(device)

    def _inner_pairs(self, backbone: HFBackbone) -> Pairs:
        name = fingerprint(backbone)
        if name not in self._thoughts:
            pairs = next_token_pairs(backbone, CALIBRATION.read_text(encoding="utf-8").split("\n---\n"))
            self._thoughts[name] = pairs if self._teacher == "next_token" else soft_token_pairs(backbone, pairs)
        return self._thoughts[name]


@torch.no_grad()
def next_token_pairs(backbone: HFBackbone, texts: Iterable[str]) -> Pairs:
    """The hidden state at each position of `texts`, and the embedding of the token that follows there."""
    x, y = [], []
    rows = sorted((backbone.tokenizer.bos + backbone.encode(text.strip()) for text in texts), key=len)
    for first in range(0, len(rows), _BATCH):
        batch = rows[first : first + _BATCH]
        length = max(len(row) for row in batch)
        ids_BL = torch.tensor([row + [0] * (length - len(row)) for row in batch])  # right padding: causal, so harmless
        x_BLD = backbone.embed(ids_BL)
        h_BLD, _ = backbone.extend(backbone.start(cached=False), x_BLD)
        for i, row in enumerate(batch):
            x.append(h_BLD[i, : len(row) - 1].float().cpu())
            y.append(x_BLD[i, 1 : len(row)].float().cpu())
    return Pairs(torch.cat(x), torch.cat(y))


@torch.no_grad()
def soft_token_pairs(backbone: HFBackbone, pairs: Pairs) -> Pairs:
    """The same states with the soft token as target, brought to the mean norm of the real embeddings."""
    teacher = SoftToken(backbone)
    rows = (teacher(h_ND.to(backbone.device, backbone.dtype)) for h_ND in pairs.x_ND.split(_SOFT_BATCH))
    y_NE = torch.cat([row.float().cpu() for row in rows])
    return Pairs(pairs.x_ND, y_NE * (mean_norm(pairs.y_NE) / mean_norm(y_NE)))


@torch.no_grad()
def shared_rows(source: HFBackbone, target: HFBackbone) -> Pairs:
    """Both embeddings of every string that stands in both vocabularies, leading spaces counted.

    A vocabulary made by merging lists its tokens by how often they were met, so the rank stands for the frequency.
    """
    ours, theirs = source.tokenizer.strings, target.tokenizer.strings
    strings = [string for string in ours if string in theirs]
    x_ND, y_NE = (
        backbone.embed(torch.tensor([table[string] for string in strings])).float().cpu()
        for backbone, table in ((source, ours), (target, theirs))
    )
    ranks_N = torch.tensor([min(ours[string], theirs[string]) for string in strings], dtype=torch.float64)
    return Pairs(x_ND, y_NE, 1 / (_COMMON + ranks_N))


@torch.no_grad()
def fingerprint(backbone: HFBackbone) -> str:
    """A cheap identity of weights and vocabulary: the start of every weight, as bfloat16, and the vocabulary's hash.

    Equal for a model loaded in float32 or bfloat16 from the same bfloat16 file; quantising changes it, and so does a
    fine-tuning that leaves the embeddings alone.
    """
    total = hashlib.sha256(backbone.tokenizer.vocabulary_hash.encode())
    for name, weight in sorted(backbone.model.named_parameters()):
        start = weight.flatten()[:64].to(torch.bfloat16).cpu()
        total.update(name.encode() + start.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def _stored(file: Path) -> dict[str, Tensor] | None:
    """A cached start; None where there is none, or where it was damaged and has to be computed again."""
    try:
        return load_file(file) if file.exists() else None
    except SafetensorError:
        _log.warning("%s: damaged; computing this start again", file)
        return None


def _store(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write a cached start: whole, or not at all. Raises SourceError where the disk is full or read-only."""
    unfinished = file.with_suffix(f".{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(save(dict(tensors)))
        unfinished.replace(file)
    except OSError as problem:
        raise SourceError(
            f"{file}: cannot be written ({problem.strerror}). Free some room or pass --cache DIR."
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


def _text_hash() -> str:
    return hashlib.sha256(CALIBRATION.read_bytes()).hexdigest()[:16]
