"""A System binds a pattern to backbones and links. It runs nothing.

Only links are parameters of this nn.Module: backbones are plain attributes, frozen, so that `parameters()`,
`state_dict()` and an optimiser see links and nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, final

import torch
from platformdirs import user_cache_path
from torch import Tensor, nn

from rmas.alignment import Aligner
from rmas.backbone import HFBackbone, copy_backbone, pick_device
from rmas.checkpoint import digest, load_links
from rmas.conversation import Prompt
from rmas.designs import check_start, is_constant
from rmas.engine import Agent, Clip, ConstantChannel, KnownThoughts, LatentChannel, StandIn
from rmas.errors import ConfigError, PatternError, unknown
from rmas.link import SOFT_TOKEN, ConstantMessage, Link, SoftToken, hush, outer_link, write_constant, write_identity
from rmas.pattern import Edge, Pattern
from rmas.prompt import Question
from rmas.settings import Memory
from rmas.sources import Progress, silent
from rmas.spec import SystemSpec
from rmas.systemfile import load_spec
from rmas.tools import Toolbox, told_tools
from rmas.weights import Backbones, mirror_notes, open_backbones


@final
class System(nn.Module):
    """Pattern + backbones + links. `backbones`: one per role; roles that name the same model share one object.

    `tools`: what its agents may call as they write: the answerer here, and everyone in `Writing`. Raises PromptError
    where a prompt does not tell of them, or the answerer's family has no format of its own and is to use one.
    """

    def __init__(self, spec: SystemSpec, backbones: Mapping[str, HFBackbone], *, tools: Toolbox | None = None) -> None:
        super().__init__()
        if tools is not None:
            _check_tools(spec, tools)
        self.spec = spec
        self.tools = tools
        self.notes: tuple[str, ...] = ()
        self._backbones = dict(backbones)
        self._boxes: dict[str, Toolbox | None] = {}
        self.tools_of(spec.pattern.answerer)
        self.inner = nn.ModuleDict({role: self._inner(role) for role in spec.pattern.roles})
        self.outer = nn.ModuleDict({str(edge): self._outer(edge) for edge in spec.pattern.edges})

    @property
    def pattern(self) -> Pattern:
        return self.spec.pattern

    @property
    def memory(self) -> Memory:
        return self.spec.memory

    @property
    def backbones(self) -> Mapping[str, HFBackbone]:
        return self._backbones

    @cached_property
    def agents(self) -> Mapping[str, Agent]:
        answerer = self.pattern.answerer
        return {
            role: self.agent(role, self.tools_of(role) if role == answerer else None) for role in self.pattern.roles
        }

    def agent(self, role: str, tools: Toolbox | None) -> Agent:
        return Agent(role=role, backbone=self._backbones[role], inner=self.inner[role], tools=tools)

    def tools_of(self, role: str) -> Toolbox | None:
        """What a role may call where it writes, in the format of its model. Raises PromptError: the family has none."""
        if role not in self._boxes:
            box = None if self.tools is None else self.tools.of(role, self.pattern.answerer)
            backbone = self._backbones[role]
            self._boxes[role] = None if box is None else box.fitted(backbone.tokenizer, model=backbone.name)
        return self._boxes[role]

    def link(self, edge: Edge) -> Callable[[Tensor], Tensor]:
        """The outer link of an edge: z (…, D_source) -> (…, D_target), on the source's device."""
        module: nn.Module = self.outer[str(edge)]
        return module

    def render(self, role: str, question: Question, filled: frozenset[str], *, writes: bool = False) -> Prompt:
        """The prompt of `role` for a question, with the slots of `filled`. `writes`: it is told of its tools, as the
        answerer always is."""
        box = self.tools_of(role) if writes or role == self.pattern.answerer else None
        told, schemas = (None, ()) if box is None else (box.words, box.format.schemas)
        tokenizer = self._backbones[role].tokenizer.telling(schemas)
        return self.spec.pack.render(role, question, tokenizer, filled=filled, tools=told)

    def channel(
        self,
        latent_steps: int,
        *,
        checkpointed: bool = False,
        known: KnownThoughts | None = None,
        clip: Clip | None = None,
    ) -> LatentChannel | ConstantChannel:
        """How its agents think: in latents, unless its links have learned all messages by heart."""
        if self.spec.is_constant:
            return ConstantChannel(latent_steps=latent_steps)
        return LatentChannel(
            latent_steps=latent_steps, halts=self.spec.halts, checkpointed=checkpointed, known=known, clip=clip
        )

    def set_apart(self, role: str) -> None:
        """Give `role` a backbone of its own where it shares one, so that it can change alone."""
        backbone = self._backbones[role]
        if any(other is backbone for name, other in self._backbones.items() if name != role):
            self._backbones[role] = copy_backbone(backbone)
            if isinstance(self.inner[role], SoftToken):
                self.inner[role] = self._inner(role)
            vars(self).pop("agents", None)

    def digest(self) -> str:
        """SHA-256 over every link tensor: name, shape, dtype and bytes."""
        return digest(self.state_dict())

    def _inner(self, role: str) -> nn.Module:
        backbone, design = self._backbones[role], self.spec.roles[role].inner
        if design == SOFT_TOKEN:
            return SoftToken(backbone, self.spec.tau)
        return Link(design, "inner", backbone.dim, backbone.dim).to(backbone.device)

    def _outer(self, edge: Edge) -> nn.Module:
        source, target = self._backbones[edge.source], self._backbones[edge.target]
        design = self.spec.outer[edge]
        link = outer_link(design, source.dim, target.dim, latent_steps=self.spec.latent_steps)
        return link.to(target.device if is_constant(design) else source.device)


@final
class Writing(StandIn[System]):
    """A system in which every agent writes, and so may call what its role has: what a run with text messages walks."""

    def __init__(self, system: System) -> None:
        super().__init__(system, {role: system.agent(role, system.tools_of(role)) for role in system.pattern.roles})

    def render(self, role: str, question: Question, filled: frozenset[str]) -> Prompt:
        return self.system.render(role, question, filled, writes=True)


def load_system(
    name: str | SystemSpec,
    *,
    cache: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    start: str | None = None,
    seed: int = 0,
    tools: Toolbox | None = None,
    backbones: Backbones | None = None,
    progress: Progress = silent,
) -> System:
    """A shipped system by name, a system file, a bundle, or what one says -> a System ready to run, on its device(s).

    `device` and `dtype` hold for every role whose file does not say otherwise. Missing weights are fetched, GGUF
    files unpacked once into `cache` (default: the user's cache folder),
    links loaded from the bundle or computed in closed form (and cached). `start`: begin there instead, whatever the
    file or the bundle says. `seed`: of what a start leaves to chance; the global random state stays as it was. `tools`:
    where they are open already; None: those that the file names, which a solver opens, with no key. `backbones`: models
    that are loaded already, which are taken as they are; what is loaded here is put among them.
    """
    cache = cache or user_cache_path("rmas")
    spec = (load_spec(name) if isinstance(name, str) else name).placed(device=device, dtype=dtype)
    if start is not None:
        check_start(start)
        spec = replace(spec, start=start, links=None)
    _check_names(spec)
    tools = told_tools(spec.tools, cache=cache) if tools is None else tools
    loaded = {} if backbones is None else backbones
    open_backbones(spec, loaded, cache=cache, progress=progress)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        system = System(spec, {role: loaded[entry.model] for role, entry in spec.roles.items()}, tools=tools)
    system.notes = mirror_notes(spec, cache=cache) + ((spec.pack.note,) if spec.pack.note else ())
    if spec.links is None:
        start_links(system, cache=cache, seed=seed, progress=progress)
    else:
        system.notes += load_links(system, spec.links)
    return system


def _check_tools(spec: SystemSpec, tools: Toolbox) -> None:
    """Refuse tools of a role that is not there, and a prompt that does not tell of them."""
    for role in (spec.pattern.answerer, *tools.roles):
        if role not in spec.pattern.roles:
            raise ConfigError("tools: " + unknown("role", role, spec.pattern.roles))
        if (box := tools.of(role, spec.pattern.answerer)) is not None and tools.config.format == "tags":
            spec.pack.check_tools(role, box.tools)


def _check_names(spec: SystemSpec) -> None:
    """Refuse no agents at all, a role that no nn.ModuleDict can hold, and an unknown device; touches no weight."""
    if not spec.roles:
        raise ConfigError(f"{spec.name}: solver {spec.solver!r} has no agents to load. Use rmas.solvers.open_solver.")
    taken = dir(nn.ModuleDict())
    for role in spec.pattern.roles:
        if role in taken:
            raise PatternError(f"{spec.pattern.name}: role {role!r} is a name that torch takes. Choose another name.")
    for entry in spec.roles.values():
        pick_device(entry.device)


def _link_of(outer: nn.Module) -> Link | None:
    """The link that an outer link is, or that its learned vectors go through."""
    link = outer.through if isinstance(outer, ConstantMessage) else outer
    return link if isinstance(link, Link) else None


def start_links(system: System, *, cache: Path, seed: int = 0, progress: Progress = silent) -> None:
    """Give every link the start that the spec names: pytorch, identity, or align and align_soft (closed
    form; cached). `seed`: of the tokens whose embeddings constants start as, others on every edge."""
    start = system.spec.start
    links = [module for module in system.modules() if isinstance(module, Link)]
    if start == "identity":
        for link in links:
            write_identity(link)
    elif start != "pytorch":
        teacher: Literal["next_token", "soft_token"] = "next_token" if start == "align" else "soft_token"
        Aligner(system.backbones, cache=cache, progress=progress, teacher=teacher).write(
            {role: link for role, link in system.inner.items() if isinstance(link, Link)},
            {edge: found for edge in system.pattern.edges if (found := _link_of(system.outer[str(edge)])) is not None},
        )
    edges = system.pattern.edges
    for number, edge in enumerate(edges, start=seed * len(edges)):
        outer = system.outer[str(edge)]
        if isinstance(outer, Link | ConstantMessage) and outer.message_MD is not None:
            is_read = isinstance(outer, ConstantMessage) and outer.through is not None  # by a link, as the sender's
            reader = system.backbones[edge.source if is_read else edge.target]
            write_constant(outer.message_MD, reader, seed=number)
        if isinstance(outer, Link) and outer.message_MD is not None:
            hush(outer)
