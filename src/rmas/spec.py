"""What a system is: its pattern, words, models, links and settings, before any weight is touched. No torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rmas.designs import PLUS_CONSTANT, is_constant
from rmas.errors import ConfigError
from rmas.packs import Retry, solo_pack
from rmas.pattern import Edge, Pattern, load_pattern
from rmas.prompt import PromptPack
from rmas.settings import Memory, ToolConfig, check_dtype
from rmas.sources import Source


@dataclass(frozen=True, kw_only=True)
class RoleSpec:
    """One role: where its model comes from, what it was fine-tuned with, where it runs, its inner link's design."""

    source: Source
    inner: str
    device: str = "auto"
    dtype: str = "auto"
    adapter: Path | None = None  # a folder; added into the weights

    @property
    def model(self) -> "RoleSpec":
        """What of it decides which weights run: roles that agree in it share a model."""
        return replace(self, inner="")

    @property
    def told(self) -> list[str | None]:
        """What it is, wherever it lies."""
        name = self.source.name if self.source.path is None else self.source.path.name
        return [name, self.source.revision, self.inner, self.dtype, None if self.adapter is None else self.adapter.name]


@dataclass(frozen=True, kw_only=True)
class SystemSpec:
    """A system file, resolved: pattern and prompts loaded, every name checked, defaults filled in."""

    name: str
    path: Path
    pattern: Pattern
    pack: PromptPack
    roles: Mapping[str, RoleSpec]
    outer: Mapping[Edge, str]
    rounds: int = 3
    latent_steps: int = 32
    memory: Memory = "latest"
    start: str = "align"
    tau: float = 1.0
    halts: bool = False  # a latent message ends where its writer's text would; latent_steps is the most there is
    links: Path | None = None
    begun: Path | None = None  # an adapter that training goes on from: in nobody's weights
    max_new_tokens: int = 256
    message_tokens: int = 64  # of a text message, at most; 0: as many as an answer may have
    solver: str = "recursive"
    tools: ToolConfig = field(default_factory=ToolConfig)
    team: tuple[str, ...] = ()  # roles of what it was made of: a question may hold a context for them
    retries: Mapping[str, Retry] = field(default_factory=dict)  # by task kind; none: an answer stays as it is
    table: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_constant(self) -> bool:
        """Every message is a learned constant: nobody but the answerer has to read anything."""
        return bool(self.outer) and all(map(is_constant, self.outer.values()))

    @property
    def has_constant(self) -> bool:
        """Some message is a learned constant, or stands beside one: of as many vectors as there are latent steps."""
        return any(is_constant(design) or design.endswith(PLUS_CONSTANT) for design in self.outer.values())

    @property
    def tools_of(self) -> Mapping[str, tuple[str, ...]]:
        """The tools of each role that has some."""
        named = {**self.tools.roles, self.pattern.answerer: self.tools.names}
        return {role: named[role] for role in self.pattern.roles if named.get(role)}

    @property
    def tools_in_prompts(self) -> Mapping[str, tuple[str, ...]]:
        """Those that prompts have to tell of: a native format leaves it to chat templates."""
        return self.tools_of if self.tools.format == "tags" else {}

    @property
    def digest(self) -> str:
        """SHA-256, hex, over what it is made of: pattern, words, models by name, designs, settings, and its links by
        their manifest. Neither over its place nor over the bytes of models.
        """
        manifest = None if self.links is None else self.links.parent / "manifest.json"
        pack = self.pack.without_tools(keep=self.tools_in_prompts)
        parts = {
            "pattern": [self.pattern.schedule, [str(edge) for edge in self.pattern.edges], self.pattern.answerer],
            "words": [
                self.pack.tasks,
                sorted(map(repr, pack.roles.items())),
                dict(self.pack.holders),
                *(["whole"] if self.pack.whole else []),
            ],
            "models": {role: entry.told for role, entry in self.roles.items()},
            "outer": {str(edge): design for edge, design in self.outer.items()},
            "settings": [self.start, self.tau, self.memory, self.rounds, self.latent_steps, self.message_tokens],
            **({"halts": True} if self.halts else {}),
            **({"retries": self.retries} if self.retries else {}),
            **({"tools": self.tools.told} if self.tools_of else {}),
            "links": manifest.read_text(encoding="utf-8") if manifest is not None and manifest.exists() else None,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def placed(self, *, device: str, dtype: str) -> "SystemSpec":
        """The same system with `device` and `dtype` for every role whose file leaves them to the machine."""
        check_dtype(dtype)
        roles = {
            role: replace(
                entry,
                device=device if entry.device == "auto" else entry.device,
                dtype=dtype if entry.dtype == "auto" else entry.dtype,
            )
            for role, entry in self.roles.items()
        }
        return replace(self, roles=roles)

    def with_outer(self, design: str) -> "SystemSpec":
        """The same system with outer links of `design` on every edge, none of them trained."""
        table = {key: value for key, value in self.table.items() if key not in ("edges", "links")} | {"outer": design}
        return replace(self, outer=dict.fromkeys(self.outer, design), links=None, table=table)

    def with_answerer(self, other: "SystemSpec") -> "SystemSpec":
        """The same system with the model of `other`'s answerer, and what it was fine-tuned with, for its own.

        Raises ConfigError where one of the two has no agents.
        """
        for spec in (self, other):
            if not spec.roles:
                raise ConfigError(f"{spec.name} has no agents, so no answerer to exchange. Name a system such as smol.")
        role, entry = self.pattern.answerer, other.roles[other.pattern.answerer]
        taken = replace(self.roles[role], source=entry.source, adapter=entry.adapter)
        return replace(self, name=f"{self.name}+{other.name}", roles=dict(self.roles) | {role: taken})

    def going_on(self, *, shared: bool) -> "SystemSpec":
        """The same system without its answerer's adapter in the weights, for training that goes on from it (`begun`).

        `shared`: in nobody's that has it. Raises ConfigError where somebody has the same model without it, then.
        """
        answerer = self.pattern.answerer
        entry = self.roles[answerer]
        if entry.adapter is None:
            return self
        bare = replace(entry, adapter=None)
        if shared and (others := [role for role, other in self.roles.items() if other.model == bare.model]):
            raise ConfigError(
                f"{self.name}: {others[0]} has the model of {answerer} without its adapter, which shared would give "
                "it. Leave shared out, or give it the adapter."
            )
        opened = [role for role, other in self.roles.items() if shared and other.model == entry.model]
        roles = {role: replace(self.roles[role], adapter=None) for role in (*opened, answerer)}
        return replace(self, roles={**self.roles, **roles}, begun=entry.adapter)

    def alone(self) -> "SystemSpec":
        """Its answerer as an agent on its own: pattern `solo`, in the wording that its pack has for it, or the native.

        A system of one agent keeps its own wording. It is told what its answerer is told, and has its tools.
        """
        pattern, answerer = load_pattern("solo"), self.pattern.answerer
        is_alone = self.pattern.roles == pattern.roles
        pack = self.pack if is_alone else solo_pack(self.pack, pattern.name)
        return replace(
            self,
            name=f"{self.name}:{answerer}",
            pattern=pattern,
            pack=pack if answerer == pattern.answerer else replace(pack, holders={pattern.answerer: answerer}),
            roles={pattern.answerer: self.roles[answerer]},
            tools=self.tools.changed(roles={}),
            team=(*self.pattern.roles, *self.team),
            outer={},
            rounds=1,
            latent_steps=0,
            links=None,
        )
