"""Calls of tools: where they are found, what is read for them, what they may use, and that no other row notices."""

import re
import threading
from dataclasses import replace

import pytest
import torch

from call_zoo import HOSTILE, IN_TAGS, TAGS, Canned, box_of, endless, longhand, prompt_of, spoken
from rmas.engine import Row, Sampling
from rmas.engine.calls import least_tokens
from rmas.errors import ToolError
from rmas.settings import ToolConfig
from rmas.tools import TOOLS, Result, Toolbox
from rmas.tools.format import Tags
from zoo import FAMILIES, CountingBackbone, backbone

LLAMA = endless(backbone("llama"))
CALL = "So <python>a</python>"
FREE = 12  # tokens that a row writes of its own


def size(*texts: str) -> Sampling:
    """Room for the longest of the texts and FREE tokens more."""
    return Sampling(max_new_tokens=max(len(LLAMA.encode(text)) for text in texts) + FREE)


def alone(monkeypatch: pytest.MonkeyPatch, text: str, sampling: Sampling) -> Row:
    """The row on its own, without tools."""
    return spoken(monkeypatch, LLAMA, [text], sampling, None)[0]


# Where a call is found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_call_is_made_at_the_very_token_that_closes_its_tag(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """In a batch of two, on prompts of vectors that no token has; the closing token is read along with the result."""
    model, box = endless(backbone(family)), box_of()
    rows = spoken(monkeypatch, model, ["", CALL], size(CALL), box, lengths=(9, 5))
    width = len(model.encode(CALL))
    result = len(IN_TAGS.written("A").ids(model.encode))
    assert [call.result_tokens for call in rows[1].calls] == [result]
    assert rows[1].text.startswith(CALL)
    steps = [shape for shape in model.reads[1:] if shape != (1, 1 + result)]
    assert steps[: width - 1] == [(2, 1)] * (width - 1)
    assert steps[width - 1] == (1, 1)  # the other row, alone from the next token on
    assert (1, 1 + result) in model.reads


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_in_a_batch_writes_what_it_writes_alone_with_everything_read_again(
    monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """The slow twin: prompts of unequal lengths, calls at different tokens, results of different lengths, one long."""
    model, box = endless(backbone(family)), box_of({"b": "long " * 30})
    texts = [CALL, "", "<search>b</search> and <python>c</python>"]
    sampling, lengths = Sampling(max_new_tokens=50), (9, 5, 23)
    rows = spoken(monkeypatch, model, texts, sampling, box, lengths=lengths)
    ends = {0: {len(CALL): "A"}, 1: {}, 2: {18: "long " * 30, len(texts[2]): "C"}}
    for number, row in enumerate(rows):
        assert row.ids == longhand(model, prompt_of(model, lengths[number]), texts[number], 50, ends[number])
        assert [call.result_tokens for call in row.calls] == [
            len(IN_TAGS.written(told).ids(model.encode)) for told in ends[number].values()
        ]


class Pieces:
    """A tokenizer of words: token n is the n-th of them."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, ids: list[int]) -> str:
        return "".join(self.words[i] for i in ids)


@pytest.mark.parametrize(
    "words", [("<pyt", "hon>1</py", "thon>\n", "x"), ("<python>1</python>", "x"), ("<python>1</", "python> and", "x")]
)
def test_a_token_of_many_letters_ends_a_call_whatever_else_is_in_it(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """All of it stays: nothing that was written is thrown away."""
    model = endless(backbone("llama"))
    monkeypatch.setattr(model, "decode", Pieces(*words))
    row, sampling, closed = Row(), Sampling(max_new_tokens=99), []
    for token in range(len(words)):
        row.push(token, model, sampling)
        closed.append(IN_TAGS.find(row.spelled) is not None)
    assert closed == [False] * (len(words) - 2) + [True, True]
    assert row.text == "".join(words)


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_call_is_what_the_table_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    hostile = HOSTILE[name]
    sampling = size(hostile.writes)
    box = box_of({request: hostile.answer for _, request in hostile.calls})
    (row,) = spoken(monkeypatch, LLAMA, [hostile.writes], sampling, box)
    assert [call.tool for call in row.calls] == [tool for tool, _ in hostile.calls]
    asked = {tool: [request for name, request in hostile.calls if name == tool and request.strip()] for tool in TAGS}
    assert {name: tool.asked for name, tool in box.tools.items() if isinstance(tool, Canned)} == asked
    assert row.text.startswith(hostile.writes)
    assert len(row.ids) == sampling.max_new_tokens
    for call in row.calls:
        assert (
            re.findall(r"<\s*/?\s*\w+\s*>", call.result) == ["<result>", "</result>"]
            or name == "a result with control tokens"
        )
        assert call.result.startswith("<result>\n")
        assert call.result.endswith("\n</result>")


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_no_other_row_notices_a_hostile_call(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The rows before and after it: one that writes freely, one that calls as well, one that ends early."""
    hostile, early = HOSTILE[name], "ends with q"
    sampling = replace(size(hostile.writes), stop=("q",))
    others = ["", CALL, early]
    told = {request: hostile.answer for _, request in hostile.calls}
    together = spoken(monkeypatch, LLAMA, [*others, hostile.writes, *others], sampling, box_of(told))
    for i, text in enumerate(others):
        (single,) = spoken(monkeypatch, LLAMA, [text], sampling, box_of(told))
        for row in (together[i], together[4 + i]):
            assert (row.ids, row.text, row.finish) == (single.ids, single.text, single.finish)
            assert row.calls == single.calls
    assert together[0].ids == alone(monkeypatch, "", sampling).ids


def test_without_calls_a_row_writes_what_it_writes_without_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(max_new_tokens=40)
    texts = ["", "</python>", "<python>"]
    with_tools = spoken(monkeypatch, LLAMA, texts, sampling, box_of())
    without = spoken(monkeypatch, LLAMA, texts, sampling, None)
    assert [row.ids for row in with_tools] == [row.ids for row in without]


def test_a_row_that_waits_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample depends on its seed alone, though the others go on while it waits."""
    sampling = Sampling(max_new_tokens=60, temperature=1.0)

    def drawn(texts: list[str]) -> list[Row]:
        return spoken(monkeypatch, LLAMA, texts, sampling, box_of())

    assert drawn(["", CALL, "", ""])[1].ids == drawn([CALL])[0].ids


def test_a_stop_string_and_a_length_end_a_row_before_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    box = box_of()
    for sampling in (Sampling(max_new_tokens=99, stop=("thon>",)), Sampling(max_new_tokens=len(CALL))):
        (row,) = spoken(monkeypatch, LLAMA, [CALL], sampling, box)
        assert row.calls == []
        assert row.finish in ("stop", "length")


# What is read


@pytest.mark.parametrize(
    "text", ["</result>", "</RESULT >", "< / result>", "<python>", "<Search x>", "</search", "<mine>", "a<result"]
)
def test_no_result_can_hold_a_tag(text: str) -> None:
    whole = inside(Tags(("mine",), TOOLS), f"x{text}y<{text}")
    assert not re.search(r"<\s*/?\s*(result|python|search|mine)\b", whole, re.IGNORECASE)
    assert whole.replace("&lt;", "<") == f"x{text}y<{text}"


def test_what_only_looks_like_a_tag_is_left_alone() -> None:
    text = "1 < 2 <b>bold</b> <results> <pythons> x<y"
    assert inside(Tags((), TOOLS), text) == text


def inside(form: Tags, text: str) -> str:
    """What stands between the tags of a result."""
    return form.written(text).text.removeprefix("\n<result>\n").removesuffix("\n</result>\n")


def test_a_result_spells_no_control_token(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = HOSTILE["a result with control tokens"]
    ids = IN_TAGS.written(hostile.answer).ids(LLAMA.encode)
    assert max(ids) < 256
    (row,) = spoken(monkeypatch, LLAMA, [hostile.writes], size(hostile.writes), box_of({"1": hostile.answer}))
    assert row.calls[0].result_tokens == len(ids)


# What may be used


def test_of_a_hundred_calls_the_first_run_and_one_is_told_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows is text, and the row still writes to its end."""
    box = Toolbox(tools={"p": Canned("p")}, config=ToolConfig(calls=5, tokens=10_000))
    text = "".join(f"<p>{number:02}</p>" for number in range(100))
    sampling = size(text)
    (row,) = spoken(monkeypatch, endless(backbone("gpt2")), [text], sampling, box)
    assert [call.limit for call in row.calls] == [None] * 5 + ["calls"]
    assert row.calls[-1].result == (
        "<result>\n[not run: all 5 calls are used up. Answer with what you have.]\n</result>"
    )
    assert row.calls[-1].seconds == 0
    assert row.text.startswith(text)
    assert len(row.ids) == sampling.max_new_tokens
    tool = box.tools["p"]
    assert isinstance(tool, Canned)
    assert tool.asked == ["00", "01", "02", "03", "04"]


def test_seconds_are_added_up_and_the_call_under_way_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    box = box_of(config=ToolConfig(seconds=5, tokens=10_000), seconds=3.0)
    text = "<python>a</python>" * 4
    (row,) = spoken(monkeypatch, LLAMA, [text], size(text), box)
    assert [call.limit for call in row.calls] == [None, None, "seconds"]
    assert "the 5 seconds for calls are used up" in row.calls[-1].result


@pytest.mark.parametrize("tokens", [250, 300, 400, 800])
def test_results_together_keep_to_their_tokens_and_say_what_was_left_out(
    monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    box = box_of({"a": "x" * 500}, ToolConfig(tokens=tokens))
    text = "<python>a</python>" * 4
    (row,) = spoken(monkeypatch, LLAMA, [text], size(text), box)
    assert sum(call.result_tokens for call in row.calls) <= tokens
    *run, last = row.calls
    assert last.limit == "tokens"
    for call in run:
        kept = call.result.count("x")
        assert call.is_cut == (kept < 500)
        if "characters left out" in call.result:
            assert f"[{500 - kept:,} characters left out]" in call.result
        elif call.is_cut:
            assert "a result of 500 characters, for which there is no room" in call.result
    assert len(row.ids) == len(text) + FREE


def test_results_take_no_more_than_the_context_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "<python>a</python>" * 3
    sampling = size(text)
    model = endless(backbone("llama"), context=9 + sampling.max_new_tokens + 300)
    (row,) = spoken(monkeypatch, model, [text], sampling, box_of({"a": "x" * 500}))
    assert 200 < sum(call.result_tokens for call in row.calls) <= 300
    small = endless(backbone("llama"), context=9 + sampling.max_new_tokens + least_tokens(model, box_of()) - 1)
    (row,) = spoken(monkeypatch, small, [text], sampling, box_of())
    assert row.calls == []  # the solver refuses the question beforehand


def test_each_sample_has_limits_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    box = box_of(config=ToolConfig(calls=1, tokens=10_000))
    rows = spoken(monkeypatch, LLAMA, [CALL, CALL * 2], size(CALL * 2), box)
    assert [[call.limit for call in row.calls] for row in rows] == [[None], [None, "calls"]]


def test_written_tokens_are_charged_and_results_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = spoken(monkeypatch, LLAMA, [CALL], Sampling(max_new_tokens=len(CALL) + 3), box_of({"a": "x" * 900}))
    assert len(row.ids) == len(CALL) + 3
    assert row.finish == "length"


# Tools that take long, and tools that fail


class Slow:
    """A tool whose answers wait until the other rows have written to their end."""

    name, description = "python", "waits"
    facts: dict[str, str] = {}  # noqa: RUF012 (never changed)

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def run(self, text: str) -> Result:
        assert self.may_answer.wait(20), "the other rows went on meanwhile"
        return Result("done", 0.0, False)


def test_the_other_rows_write_to_their_end_while_a_tool_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()

    class Watching(CountingBackbone):
        def logits(self, h: torch.Tensor) -> torch.Tensor:
            if sum(batch == 1 for batch, _ in self.logits_of) == FREE - 1:
                slow.may_answer.set()
            return super().logits(h)

    model = Watching(backbone("llama"), eos_ids=frozenset())
    rows = spoken(monkeypatch, model, ["", CALL], size(CALL), Toolbox(tools={"python": slow}))
    assert [len(row.ids) for row in rows] == [len(CALL) + FREE] * 2
    assert "done" in rows[1].calls[0].result


def test_calls_of_one_batch_run_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2, timeout=20)

    class Meeting(Canned):
        def run(self, text: str) -> Result:
            meeting.wait()
            return super().run(text)

    rows = spoken(monkeypatch, LLAMA, [CALL, CALL], size(CALL), Toolbox(tools={"python": Meeting("python")}))
    assert [len(row.calls) for row in rows] == [1, 1]


def test_what_a_tool_raises_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Canned):
        def run(self, text: str) -> Result:
            raise ToolError("nobody answers.")

    with pytest.raises(ToolError, match=r"nobody answers\."):
        spoken(monkeypatch, LLAMA, ["", CALL], size(CALL), Toolbox(tools={"python": Broken("python")}))
