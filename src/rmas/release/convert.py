"""A released system becomes a bundle of ours: its links keep their bytes, its models stay where they are.

The surprising thing: everything that can be refused is refused before a weight is loaded; then each model is loaded
once, alone, for the manifest to say which weights the links belong to. Only then is anything written.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

import tomli_w
from torch import Tensor

from rmas.backbone import HFBackbone
from rmas.checkpoint import LINKS, SYSTEM, save_system
from rmas.errors import CheckpointError, ConfigError, unknown
from rmas.release.layout import inner_file, outer_files, width_of
from rmas.release.repository import OUTER_FILES, ROLE_FILES, Repository, open_repository
from rmas.release.table import KEYS, find_released
from rmas.release.weights import LinkState, read_link
from rmas.sources import Progress, silent
from rmas.spec import SystemSpec
from rmas.systemfile import load_spec
from rmas.weights import open_backbone

ROUNDS, LATENT_STEPS, MAX_NEW_TOKENS = 3, 32, 2000  # the release's own defaults


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to convert. `roles` and `outer`: folders or hub ids in the place of the published ones.

    `prompts`: a pack in the place of our own wording, such as one made by `rmas import-prompts`. `with_slip`: from
    round 2 the first agent of a code task is worded as for mathematics, as published.
    """

    system: str
    task: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    outer: str | None = None
    prompts: str = "released"
    with_slip: bool = False


class Converted(NamedTuple):
    """What came out: the manifest, the task whose links it has, and the folder of the answerer's small files."""

    manifest: Mapping[str, Any]
    task: str | None
    answerer: Path


def convert(recipe: Recipe, out: Path, *, cache: Path, progress: Progress = silent) -> Converted:
    """Write the bundle `out`. Raises ConfigError, SourceError or CheckpointError, and has then written nothing."""
    released = find_released(recipe.system)
    task = released.task(recipe.task)
    if recipe.with_slip and released.pattern != "sequential":
        raise ConfigError(f"{recipe.system}: the published slip is one of sequential systems. Leave --with-slip out.")
    for role in recipe.roles:
        if role not in released.roles:
            raise ConfigError(f"{recipe.system}: " + unknown("role", role, released.roles))
    _check_free(out)
    places = {**released.roles, **recipe.roles}
    homes = {role: open_repository(text, ROLE_FILES, what=f"role {role}") for role, text in places.items()}
    outer = open_repository(recipe.outer or released.outer, OUTER_FILES, what="outer links")
    links = _read_links(released.pattern, homes, outer, task)
    table = _table(recipe, released.pattern, homes, links)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / SYSTEM
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        spec = load_spec(str(path.parent))
        manifest = save_system(_Converted(spec, links, _OneByOne(spec, cache, progress)), out)
    return Converted(manifest, task, homes[spec.pattern.answerer].folder)


def _check_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: exists and is not empty. Name a new folder.")


def _read_links(
    pattern: str, homes: Mapping[str, Repository], outer: Repository, task: str | None
) -> dict[str, LinkState]:
    """Every link by its place in a System: `inner.<role>`, `outer.<edge>`."""
    widths = {role: width_of(home.folder) for role, home in homes.items()}
    links = {
        f"inner.{role}": read_link(inner_file(home.folder, task), "inner", widths[role], widths[role])
        for role, home in homes.items()
    }
    files, keys = outer_files(outer.folder, task), KEYS[pattern]
    for key in sorted(keys.keys() ^ files.keys()):
        state = "lacks" if key in keys else "has an unknown"
        raise CheckpointError(f"{outer.folder}: {state} link {key}; {pattern} has {', '.join(keys)}.")
    for key, edge in keys.items():
        links[f"outer.{edge}"] = read_link(files[key], "outer", widths[edge.source], widths[edge.target])
    return links


def _table(
    recipe: Recipe, pattern: str, homes: Mapping[str, Repository], links: Mapping[str, LinkState]
) -> dict[str, Any]:
    """The system file."""
    prompts = Path(recipe.prompts).expanduser()
    slip = {"later_kinds": {"code": "math"}} if recipe.with_slip else {}
    return {
        "pattern": pattern,
        "prompts": str(prompts.absolute()) if prompts.exists() else recipe.prompts,
        "rounds": ROUNDS,
        "latent_steps": LATENT_STEPS,
        "max_new_tokens": MAX_NEW_TOKENS,
        "retry": True,
        "links": LINKS,
        **slip,
        "roles": {
            role: {"backbone": home.reference, "inner": links[f"inner.{role}"].design} for role, home in homes.items()
        },
        "edges": {str(edge): {"outer": links[f"outer.{edge}"].design} for edge in KEYS[pattern].values()},
    }


@final
class _OneByOne(Mapping[str, HFBackbone]):
    """The backbones of a system by role, each loaded when it is asked for and kept by nobody."""

    def __init__(self, spec: SystemSpec, cache: Path, progress: Progress) -> None:
        self._spec, self._cache, self._progress = spec, cache, progress

    def __getitem__(self, role: str) -> HFBackbone:
        source = self._spec.roles[role].source
        return open_backbone(source, cache=self._cache, device="cpu", dtype="bfloat16", progress=self._progress)

    def __iter__(self) -> Iterator[str]:
        return iter(self._spec.roles)

    def __len__(self) -> int:
        return len(self._spec.roles)


class _Converted(NamedTuple):
    """What `save_system` needs of a System."""

    spec: SystemSpec
    links: Mapping[str, LinkState]
    backbones: Mapping[str, HFBackbone]

    def state_dict(self) -> dict[str, Tensor]:
        return {
            f"{place}.{name}": tensor for place, link in self.links.items() for name, tensor in link.tensors.items()
        }
