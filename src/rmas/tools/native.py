"""Calls as a model's own family writes them, and results as its chat template hands them back.

A row of SYNTAXES is how a family writes calls. Which row holds, and every id around a result, is read off the model's
chat template: it renders a conversation with a call and a result of stand-ins. What it writes for the call, the row has
to read back; what stands between the call, the result and the next reply is what the model will read there.

The surprising thing: after a call the model writes in a new turn, and yet in the same row and state.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, final

from rmas.errors import PromptError
from rmas.tools.format import Found, Tags, Written, defanged, enclosed
from rmas.tools.tool import Tool

NOBODY = "?"  # the tool of a call that names none of ours
_SHOWN = 40  # characters of a wrong name
_ID = "000000001"  # of the one call that is under way; Mistral's template wants nine letters or digits
_USER, _ASKED, _RESULT = "\ue000user\ue001", "\ue000asked\ue001", '\ue000"\n\ue001'  # no template contains them
_FIX = "Use the tool format tags."
Asked = tuple[str, Mapping[str, Any]]  # the name of a tool, and arguments


class Template(Protocol):
    """What is needed of a tokenizer: its chat template, and that template's text as ids."""

    def conversation(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str | None:
        """Messages as one text, ready for the reply; None without a template. Raises PromptError: it refuses them."""

    def encode_template(self, text: str) -> list[int]:
        """Template text to ids: special tokens are recognised."""


class Syntax(NamedTuple):
    """How a family writes a call: what opens it, what closes it, and how what stands between is read.

    Without `closing` it is JSON, which says itself where it ends. `read` raises ValueError: what is wrong. `is_marked`:
    nothing but a call begins so; else what cannot be read is text. `bare`: what a turn may begin with instead, where
    its JSON alone is a call of a tool that there is: small models leave the marks out (Qwen2.5-Coder does).
    """

    opening: str
    closing: str
    read: Callable[[str], Asked]
    is_marked: bool = True
    bare: str = ""

    def bodies(self, text: str, begin: int) -> Iterator[tuple[str, int]]:
        """What may be calls behind `begin`: body and end. The last opening before its end counts."""
        opening = re.compile(self.opening)
        if not self.closing:
            yield from _each_json(text, opening, begin)
            return
        for closing in re.compile(self.closing).finditer(text, begin):
            if (body := enclosed(text, opening, begin, closing)) is not None:
                yield body, closing.end()


def _each_json(text: str, opening: re.Pattern[str], begin: int) -> Iterator[tuple[str, int]]:
    if text.find("}", begin) < 0 and text.find("]", begin) < 0:
        return
    for found in opening.finditer(text, begin):
        if (value := _json_at(text, found.end())) is not None:
            yield value


def _json_at(text: str, begin: int) -> tuple[str, int] | None:
    """The JSON value that begins there, and where it ends; None where there is none, or none that is whole."""
    try:
        _, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None
    return text[begin:end], end


def _json(body: str) -> Asked:
    """Reads `{"name": …, "arguments": {…}}`, or a list of one; Llama says `parameters`."""
    try:
        value = json.loads(body)
    except RecursionError:
        raise ValueError("too deep") from None
    if isinstance(value, list) and len(value) != 1:
        raise ValueError(f"a list of {len(value)}, expected one call at a time")
    call = value[0] if isinstance(value, list) else value
    given = call.get("arguments", call.get("parameters")) if isinstance(call, dict) else None
    if not isinstance(given, dict) or not isinstance(call.get("name"), str):
        raise ValueError("expected a name and a table of arguments")
    return call["name"], given


def _xml(body: str) -> Asked:
    """Reads `<function=NAME><parameter=KEY>…</parameter></function>`."""
    found = re.fullmatch(r"\s*<function=([^>\n]+)>(.*)</function>\s*", body, re.DOTALL)
    if found is None:
        raise ValueError("expected one function in its tags")
    pairs = re.findall(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", found[2], re.DOTALL)
    return found[1].strip(), {key.strip(): value for key, value in pairs}


SYNTAXES: Mapping[str, Syntax] = {
    "Qwen2.5 and Qwen3": Syntax("<tool_call>", "</tool_call>", _json, bare=r'\s*(?:```(?:json)?\s*)?(?=\{\s*"name")'),
    "Qwen3.5": Syntax("<tool_call>", "</tool_call>", _xml),
    "Mistral": Syntax(r"\[TOOL_CALLS\]\s*(?=[\[{])", "", _json),
    "Llama 3": Syntax(r'(?=\{\s*"(?:type|name|parameters)")', "", _json, is_marked=False),
}  # family -> how it writes calls


@final
@dataclass(frozen=True)
class Native:
    """Calls in a family's syntax. `takes`: tool -> the argument that it is given; `schemas`: what its chat template
    tells of the tools; `before`, `after`: the ids around a result; `is_json`: it is a JSON string; `tags`: what no
    result can hold."""

    syntax: Syntax
    takes: Mapping[str, str]
    schemas: Sequence[Mapping[str, Any]] = ()
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    is_json: bool = False
    tags: frozenset[str] = frozenset()
    has_control = True

    def find(self, text: str, begin: int = 0) -> Found | None:
        if (bare := self._bare(text, begin)) is not None:
            return bare
        for body, end in self.syntax.bodies(text, begin):
            try:
                return self._found(*self.syntax.read(body), end)
            except ValueError as problem:
                if self.syntax.is_marked:
                    return Found(NOBODY, body, end, f"[the call cannot be read: {problem}]")
        return None

    def _bare(self, text: str, begin: int) -> Found | None:
        opening = re.compile(self.syntax.bare).match(text, begin) if self.syntax.bare else None
        if opening is None or (value := _json_at(text, opening.end())) is None:
            return None
        try:
            name, arguments = self.syntax.read(value[0])
        except ValueError:
            return None
        return self._found(name, arguments, value[1]) if name in self.takes else None

    def _found(self, name: str, arguments: Mapping[str, Any], end: int) -> Found:
        if name not in self.takes:
            have = ", ".join(self.takes)
            return Found(NOBODY, name, end, f"[there is no tool {name[:_SHOWN]!r}: have {have}]")
        request = _request(arguments, self.takes[name])
        problem = "" if request.strip() else f"[the call of {name} is empty: give {self.takes[name]}]"
        return Found(name, request, end, problem)

    def written(self, text: str) -> Written:
        safe = defanged(text, self.tags)
        return Written(_quoted(safe) if self.is_json else safe, self.before, self.after)


def _request(arguments: Mapping[str, Any], key: str) -> str:
    """The argument of that name, or else the only one, as a text."""
    value = arguments.get(key, next(iter(arguments.values()), None) if len(arguments) == 1 else None)
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()  # JSON can spell half a letter


def _quoted(text: str) -> str:
    """As it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _schema(tool: Tool, takes: str) -> dict[str, Any]:
    """What a chat template tells of a tool: its description, with the example call in it as one of its argument."""
    example = Tags((tool.name,)).find(tool.description)
    about = tool.description if example is None else tool.description[example.end :].strip()
    argument = {"type": "string"} | ({} if example is None else {"description": f"for example: {example.request}"})
    parameters = {"type": "object", "properties": {takes: argument}, "required": [takes]}
    function = {"name": tool.name, "description": about[:1].upper() + about[1:], "parameters": parameters}
    return {"type": "function", "function": function}


def native_format(template: Template, tools: Collection[Tool], takes: Mapping[str, str], *, model: str) -> Native:
    """The format of a model's family. `takes`: tool -> the argument that it is given.

    Raises PromptError where the chat template tells of no tools, or in a way that is not in SYNTAXES.
    """
    schemas = [_schema(tool, takes[tool.name]) for tool in tools]
    asked = {"role": "user", "content": _USER}
    if (plain := template.conversation([asked], ())) is None:
        raise PromptError(f"{model} has no chat template, so no tool calls of its own. {_FIX}")
    if template.conversation([asked], schemas) == plain:
        raise PromptError(f"{model}: its chat template does not tell of tools. {_FIX}")
    name, argument = next(iter(takes.items()))
    call = {"id": _ID, "type": "function", "function": {"name": name, "arguments": {argument: _ASKED}}}
    called = {"role": "assistant", "content": "", "tool_calls": [call]}
    answered = {"role": "tool", "name": name, "tool_call_id": _ID, "content": _RESULT}
    text = (template.conversation([asked, called, answered], schemas) or "").rpartition(_USER)[2]
    for syntax in SYNTAXES.values():
        found = Native(syntax, takes, schemas).find(text)
        if found is not None and (found.tool, found.request) == (name, _ASKED):
            before, after, is_json = _around(text[found.end :], model)
            tags = frozenset(re.findall(r"</?(\w+)", text))
            first, last = (tuple(template.encode_template(piece)) for piece in (before, after))
            return Native(syntax, takes, schemas, first, last, is_json, tags)
    raise PromptError(f"{model}: its chat template writes calls as none of {', '.join(SYNTAXES)} does. {_FIX}")


def _around(text: str, model: str) -> tuple[str, str, bool]:
    """What stands before and after a result, behind its call; whether the result is a JSON string."""
    before, found, after = text.partition(_RESULT)
    if found and before.rstrip().endswith('":'):  # Mistral's stands bare where JSON has a value
        return f'{before}"', f'"{after}', True
    if found:
        return before, after, False
    before, found, after = text.partition(_quoted(_RESULT))
    if not found:
        raise PromptError(f"{model}: its chat template drops the result of a call. {_FIX}")
    return before, after, True
