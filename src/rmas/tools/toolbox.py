"""The tools by name, and opening those that a configuration names. A row in TOOLS is a tool more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rmas.errors import ConfigError, unknown
from rmas.settings import ToolConfig
from rmas.tools.corpus import Corpus
from rmas.tools.python import PythonTool
from rmas.tools.sandbox import find_sandbox
from rmas.tools.search import Provider, SearchTool
from rmas.tools.tool import Tool
from rmas.tools.web import Ddgs, Tavily


class Workshop(NamedTuple):
    """What tools are made of. `key`: of a service that wants one; `allow_unsafe`: rather run code without isolation."""

    config: ToolConfig
    cache: Path
    key: str = ""
    allow_unsafe: bool = False


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """Open tools by name, and what an answer may use of them. `facts`: for a summary."""

    tools: Mapping[str, Tool]
    config: ToolConfig = field(default_factory=ToolConfig)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """What a prompt says of them: a line each."""
        return "\n".join(f"- {tool.description}" for tool in self.tools.values())


def open_tools(config: ToolConfig, *, cache: Path, key: str = "", allow_unsafe: bool = False) -> Toolbox | None:
    """The tools that `config` names, ready to be called; None where it names none.

    Raises ConfigError for an unknown name or no sandbox, ToolError for a missing key, corpus or package. `cache`: where
    indexes are kept. `key`: of the search service.
    """
    workshop = Workshop(config, cache, key, allow_unsafe)
    for name in config.names:
        if name not in TOOLS:
            raise ConfigError(unknown("tool", name, TOOLS))
    tools = {name: TOOLS[name](workshop) for name in config.names}
    if not tools:
        return None
    facts = {name: value for tool in tools.values() for name, value in tool.facts.items()}
    return Toolbox(tools=tools, config=config, facts=facts)


def _python(workshop: Workshop) -> Tool:
    config = workshop.config
    sandbox = find_sandbox(allow_unsafe=workshop.allow_unsafe)
    return PythonTool(sandbox, seconds=config.call_seconds, chars=config.chars)


def _search(workshop: Workshop) -> Tool:
    config = workshop.config
    if config.search not in PROVIDERS:
        raise ConfigError(unknown("search provider", config.search, PROVIDERS))
    return SearchTool(PROVIDERS[config.search](workshop), chars=config.chars)


def _corpus(workshop: Workshop) -> Provider:
    if workshop.config.corpus is None:
        raise ConfigError("search has no corpus. Name a folder of texts with --corpus DIR, or --search ddgs or tavily.")
    return Corpus(Path(workshop.config.corpus).expanduser(), cache=workshop.cache)


TOOLS: Mapping[str, Callable[[Workshop], Tool]] = {"python": _python, "search": _search}
PROVIDERS: Mapping[str, Callable[[Workshop], Provider]] = {
    "corpus": _corpus,
    "ddgs": lambda workshop: Ddgs(),
    "tavily": lambda workshop: Tavily(workshop.key),
}
