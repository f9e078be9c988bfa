"""Examples of calls: they say what the tools would do, in the form in which a model writes and reads it."""

from call_zoo import box_of
from rmas.tools import TOOLS, Toolbox
from rmas.tools.example import shown
from rmas.tools.format import Tags
from rmas.tools.python import PythonTool
from rmas.tools.sandbox import find_sandbox
from rmas.tools.search import Hit, SearchTool
from rmas.tools.tool import Tool


class OneHit:
    """Finds the passage of the example, whatever is asked."""

    about, digest = "songs", ""

    def find(self, query: str, count: int) -> list[Hit]:
        return [Hit("Song of Avar", "avar.md", "The Song of Avar was written by Ada Brun.")]


def open_tool(name: str) -> Tool:
    return PythonTool(find_sandbox()) if name == "python" else SearchTool(OneHit())


def box(*names: str) -> Toolbox:
    tools = box_of().tools
    return Toolbox(tools={name: tools[name] for name in names})


def test_the_result_of_an_example_is_what_the_tool_gives() -> None:
    for name, row in TOOLS.items():
        assert open_tool(name).run(row.example.request).text == row.example.result


def test_the_calls_and_results_shown_are_those_that_are_found_and_written() -> None:
    text, tags, begin = box(*TOOLS).words["examples"], Tags(TOOLS), 0
    for name, row in TOOLS.items():
        call = tags.find(text, begin)
        assert call is not None
        assert (call.tool, call.request) == (name, row.example.request)
        assert text[call.end :].startswith(tags.written(row.example.result).text)
        begin = call.end


def test_only_tools_that_are_there_are_shown() -> None:
    text = box("search").words["examples"]
    assert TOOLS["search"].example.question in text
    assert "python" not in text


def test_a_tool_without_an_example_is_told_of_above_the_others() -> None:
    tools = box(*TOOLS).tools
    text = shown(tools.values(), {"search": TOOLS["search"].example}, str)
    assert text.startswith(f"- {tools['python'].description}\n\nExample:\nQuestion:")
    assert text.count("- ") == 1
    assert shown([tools["python"]], {}, str) == f"- {tools['python'].description}"
