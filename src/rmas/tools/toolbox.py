"""The tools by name, and opening those that a configuration names. A row in TOOLS is a tool more.

The surprising thing: a prompt tells of tools that are not open. So a system with tools loads without their key, corpus
or sandbox; what makes answers opens them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

from rmas.errors import ConfigError, unknown
from rmas.settings import ToolConfig
from rmas.tools.corpus import Corpus
from rmas.tools.example import Example, shown
from rmas.tools.format import Format, Tags
from rmas.tools.native import Template, native_format
from rmas.tools.python import PYTHON_EXAMPLE, PythonTool, python_described
from rmas.tools.sandbox import find_sandbox
from rmas.tools.search import SEARCH_EXAMPLE, Provider, SearchTool, search_described
from rmas.tools.tool import Result, Tool
from rmas.tools.web import Ddgs, Tavily

_TAKES = "text"  # what the argument of a native call is named, of a tool that is not in TOOLS


class Workshop(NamedTuple):
    """What tools are made of. `key`: of a service that wants one; `allow_unsafe`: rather run code without isolation."""

    config: ToolConfig
    cache: Path
    key: str = ""
    allow_unsafe: bool = False


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """Open tools by name, and what an answer may use of them. `facts`: for a summary.

    `tools` are the answerer's; `roles`: what other agents have, by role. `native`: how the model that has them writes
    calls; None: in tags.
    """

    tools: Mapping[str, Tool]
    config: ToolConfig = field(default_factory=ToolConfig)
    facts: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, Mapping[str, Tool]] = field(default_factory=dict)
    native: Format | None = None

    @property
    def format(self) -> Format:
        """How calls and results are written."""
        return self.native or Tags(self.tools, TOOLS)

    def of(self, role: str, answerer: str) -> "Toolbox | None":
        """What one agent has; None: nothing."""
        tools = self.tools if role == answerer else self.roles.get(role)
        return replace(self, tools=tools, roles={}) if tools else None

    def fitted(self, template: Template, *, model: str) -> "Toolbox":
        """With the format that its configuration names, for one model. Raises PromptError: the family has none."""
        if self.config.format == "tags":
            return self
        takes = {name: TOOLS[name].takes if name in TOOLS else _TAKES for name in self.tools}
        return replace(self, native=native_format(template, self.tools.values(), takes, model=model))

    def open(self) -> None:
        """Open those that are only told of so far. Raises what `open_tools` raises."""
        for tool in self.tools.values():
            if isinstance(tool, Closed):
                tool.opened  # noqa: B018 (to open it is the point)

    @property
    def told(self) -> str:
        """What a prompt says of them: a line each; nothing where the chat template does."""
        if self.format.schemas:
            return ""
        return "\n".join(f"- {tool.description}" for tool in self.tools.values())

    @property
    def words(self) -> Mapping[str, str]:
        """What prompts can say of them: `tools`, a line each, or `examples`; nothing where the chat template does."""
        if not (told := self.told):
            return {}
        examples = {name: row.example for name, row in TOOLS.items()}
        written = self.format.written
        return {"tools": told, "examples": shown(self.tools.values(), examples, lambda text: written(text).text)}


@final
class Closed:
    """A tool that a prompt can tell of. It opens when it is asked to, or is called."""

    def __init__(self, name: str, workshop: Workshop) -> None:
        """Raises ConfigError for an unknown tool or search provider."""
        self.name, self.description, self._workshop = name, _row(name).told(workshop.config), workshop

    @cached_property
    def opened(self) -> Tool:
        return TOOLS[self.name].open(self._workshop)

    @property
    def facts(self) -> Mapping[str, str]:
        return self.opened.facts

    def run(self, text: str) -> Result:
        return self.opened.run(text)


def told_tools(config: ToolConfig, *, cache: Path) -> Toolbox | None:
    """The tools that `config` names, for prompts to tell of; opened, without a key, by what makes answers.

    Raises ConfigError for an unknown name.
    """
    return _boxed(config, {name: Closed(name, Workshop(config, cache)) for name in config.every}, {})


def open_tools(config: ToolConfig, *, cache: Path, key: str = "", allow_unsafe: bool = False) -> Toolbox | None:
    """The tools that `config` names, ready to be called; None where it names none.

    Raises ConfigError for an unknown name or no sandbox, ToolError for a missing key, corpus or package. `cache`: where
    indexes are kept. `key`: of the search service.
    """
    workshop = Workshop(config, cache, key, allow_unsafe)
    rows = {name: _row(name) for name in config.every}
    tools = {name: row.open(workshop) for name, row in rows.items()}
    return _boxed(config, tools, {name: value for tool in tools.values() for name, value in tool.facts.items()})


def _boxed(config: ToolConfig, tools: Mapping[str, Tool], facts: Mapping[str, Any]) -> Toolbox | None:
    """The tools of each, out of those of all; None where there are none."""
    if not tools:
        return None
    roles = {role: {name: tools[name] for name in names} for role, names in config.roles.items()}
    return Toolbox(tools={name: tools[name] for name in config.names}, config=config, facts=facts, roles=roles)


def _python(workshop: Workshop) -> Tool:
    config = workshop.config
    sandbox = find_sandbox(allow_unsafe=workshop.allow_unsafe)
    return PythonTool(sandbox, seconds=config.call_seconds, chars=config.chars)


def _search(workshop: Workshop) -> Tool:
    config = workshop.config
    return SearchTool(_provider(config).open(workshop), chars=config.chars)


def _corpus(workshop: Workshop) -> Provider:
    if workshop.config.corpus is None:
        raise ConfigError("search has no corpus. Name a folder of texts with --corpus DIR, or --search ddgs or tavily.")
    return Corpus(Path(workshop.config.corpus).expanduser(), cache=workshop.cache)


def _provider(config: ToolConfig) -> "ProviderKind":
    if config.search not in PROVIDERS:
        raise ConfigError(unknown("search provider", config.search, PROVIDERS))
    return PROVIDERS[config.search]


def _row(name: str) -> "ToolKind":
    if name not in TOOLS:
        raise ConfigError(unknown("tool", name, TOOLS))
    return TOOLS[name]


class ToolKind(NamedTuple):
    """How a tool is opened, its description without that, what the argument of a native call is named, and a call
    worked through."""

    open: Callable[[Workshop], Tool]
    told: Callable[[ToolConfig], str]
    takes: str
    example: Example


class ProviderKind(NamedTuple):
    """How a provider is opened, and what it searches."""

    open: Callable[[Workshop], Provider]
    about: str


TOOLS: Mapping[str, ToolKind] = {
    "python": ToolKind(_python, lambda config: python_described(), "code", PYTHON_EXAMPLE),
    "search": ToolKind(_search, lambda config: search_described(_provider(config).about), "query", SEARCH_EXAMPLE),
}
PROVIDERS: Mapping[str, ProviderKind] = {
    "corpus": ProviderKind(_corpus, Corpus.about),
    "ddgs": ProviderKind(lambda workshop: Ddgs(), Ddgs.about),
    "tavily": ProviderKind(lambda workshop: Tavily(workshop.key), Tavily.about),
}
