"""Mixture-of-Agents (Wang et al. 2024, arXiv:2406.04692): layers of agents that answer, each reading all answers of the
layer before; an aggregator writes the last one.

It is a pattern with text messages. The system's agents propose, its answerer aggregates, and its rounds are the layers
of proposers. Everyone is asked as a single agent is, with the answers of others below the question. A message is a
whole answer, so it may be as long as the last one unless `message_tokens` says otherwise.
"""

from collections import ChainMap
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from rmas.pattern import Edge, Pattern
from rmas.prompt import PromptPack, RoleText, Section
from rmas.settings import RunConfig
from rmas.solvers.kind import Kind
from rmas.solvers.recursive import open_recursive
from rmas.spec import SystemSpec

AGGREGATOR = "aggregator"
_HEARD = ("Another agent answered:\n", "")


def moa_pattern(layers: Sequence[Sequence[str]]) -> Pattern:
    """Each layer reads the whole one before, and the aggregator the last."""
    steps = [*map(tuple, layers), (AGGREGATOR,)]
    edges = [Edge(source, target) for earlier, later in pairwise(steps) for target in later for source in earlier]
    return Pattern(name="moa", schedule=tuple(steps), edges=tuple(edges), answerer=AGGREGATOR)


def _layered(spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]:
    alone, depth = spec.alone(), config.rounds or spec.rounds
    layers = [{f"{role}_{layer}": spec.roles[role] for role in spec.pattern.roles} for layer in range(1, depth + 1)]
    pattern = moa_pattern([list(layer) for layer in layers])
    holders = {name: role for layer in layers for name, role in zip(layer, spec.pattern.roles, strict=True)}
    holders[AGGREGATOR] = spec.pattern.answerer
    own = spec.tools.roles
    agents = ChainMap(*layers, {AGGREGATOR: spec.roles[spec.pattern.answerer]})
    moa = replace(
        alone,
        name=f"{spec.name}:moa",
        pattern=pattern,
        pack=replace(_pack(alone.pack, alone.pattern.answerer, pattern), holders=holders),
        roles={role: replace(agents[role], inner="linear") for role in pattern.roles},
        outer=dict.fromkeys(pattern.edges, "linear"),  # never asked: messages are text
        tools=spec.tools.changed(roles={name: own[role] for name, role in holders.items() if role in own}),
        start="pytorch",
        message_tokens=0,
    )
    return moa, replace(config, rounds=1, channel="text")


def _pack(pack: PromptPack, solo: str, pattern: Pattern) -> PromptPack:
    """The single agent's wording for every role, with a section for each answer that it reads."""
    roles = {
        (role, kind): _hearing(text, [edge.source for edge in pattern.into(role)])
        for (name, kind), text in pack.roles.items()
        if name == solo
        for role in pattern.roles
    }
    return replace(pack, roles=roles)


def _hearing(text: RoleText, sources: list[str]) -> RoleText:
    """With the answers of others behind what is asked, and before a last word that asks nothing."""
    sections = text.sections
    end = len(sections) - (not sections[-1].names)
    heard = tuple(Section((_HEARD[0], source, _HEARD[1])) for source in sources)
    return text._replace(sections=(*sections[:end], *heard, *sections[end:]))


KIND = Kind(
    about="Mixture-of-Agents: layers of answers in text, then an aggregator",
    variant=_layered,
    open=open_recursive,
    lacks=("latent_steps", "links"),
)
