"""The text baseline: the pattern, prompts and rounds of the method, with words for messages."""

from dataclasses import replace

from rmas.settings import RunConfig
from rmas.solvers.kind import Kind
from rmas.solvers.recursive import open_recursive
from rmas.spec import SystemSpec


def _in_text(spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]:
    return spec, replace(config, channel="text")


KIND = Kind(
    about="the same pattern, prompts and rounds with text messages",
    variant=_in_text,
    open=open_recursive,
    lacks=("latent_steps", "links"),
)
