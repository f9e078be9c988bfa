"""The single agent: a system's answerer on its own, in the wording of the same pack."""

from dataclasses import replace

from rmas.settings import RunConfig
from rmas.solvers.kind import Kind
from rmas.solvers.recursive import open_recursive
from rmas.spec import SystemSpec


def _alone(spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]:
    return spec.alone(), replace(config, rounds=None, latent_steps=None)


KIND = Kind(
    about="the system's answerer on its own",
    variant=_alone,
    open=open_recursive,
    has_messages=False,
    lacks=("rounds", "latent_steps", "message_tokens", "links"),
)
