"""Calls as families write them: found, read and answered as the family's own chat template says."""

from collections.abc import Sequence

import pytest

from call_zoo import TAGS, box_of, endless, longhand, prompt_of, spoken
from native_zoo import NATIVE, TAKES, asked, call, hostile, inside, native_backbone, native_box
from rmas.engine import Row, Sampling
from rmas.errors import PromptError
from rmas.settings import ToolConfig
from rmas.tools.native import SYNTAXES, Native, native_format
from zoo import CountingBackbone, backbone

OWN = sorted(NATIVE)
FREE = 12  # tokens that a row writes of its own


def model_of(family: str) -> CountingBackbone:
    return endless(native_backbone(family))


def ids_of(family: str, text: str) -> list[int]:
    """As a model writes it: its own tokens for what they spell."""
    return native_backbone(family).tokenizer.encode_template(text)


def written(
    monkeypatch: pytest.MonkeyPatch, model: CountingBackbone, family: str, texts: Sequence[str], *lengths: int
) -> tuple[list[Row], int]:
    """Rows that write these texts, and so many tokens of their own."""
    scripts = [ids_of(family, text) for text in texts]
    room = max(map(len, scripts)) + FREE
    return spoken(monkeypatch, model, scripts, Sampling(max_new_tokens=room), native_box(family), lengths=lengths), room


# What the template says


def test_every_family_of_the_table_is_known_by_its_template() -> None:
    found = {family: native_box(family).native for family in OWN}
    assert {family: form.syntax for family, form in found.items() if isinstance(form, Native)} == {
        family: SYNTAXES[NATIVE[family].name] for family in OWN
    }
    assert {own.name for own in NATIVE.values()} == set(SYNTAXES)


@pytest.mark.parametrize("family", OWN)
def test_what_is_read_is_the_conversation_as_the_template_renders_it(family: str) -> None:
    """The oracle: the whole conversation in one piece, against the prompt, the call and what is read for it."""
    box, tokenizer = native_box(family), native_backbone(family).tokenizer
    made = {"name": "search", "arguments": {"query": "a river"}}
    user = {"role": "user", "content": "Which?"}
    said = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "000000001", "type": "function", "function": made}],
    }
    told = {"role": "tool", "tool_call_id": "000000001", "content": NATIVE[family].content('The "Nile".\nOr so.')}
    whole = tokenizer.conversation([user, said, told], box.format.schemas)
    prompt = tokenizer.telling(box.format.schemas).template(None, "Which?")
    assert whole is not None
    assert prompt is not None
    text, before, after = box.format.written('The "Nile".\nOr so.')
    around = [tokenizer.decode(ids, control=True) for ids in (before, after)]
    assert around == [NATIVE[family].before, NATIVE[family].after]
    assert whole.startswith(prompt)
    rest = whole.removeprefix(prompt)
    found = box.format.find(rest)
    assert found is not None
    assert (found.tool, found.request, found.problem) == ("search", "a river", "")
    assert rest[found.end :] == around[0] + text + around[1]


@pytest.mark.parametrize("family", OWN)
def test_a_chat_template_tells_of_tools_and_a_pack_does_not(family: str) -> None:
    box = native_box(family)
    assert box.told == ""
    assert [each["function"]["name"] for each in box.format.schemas] == list(TAGS)
    text = native_backbone(family).tokenizer.telling(box.format.schemas).template("You.", "Why?") or ""
    assert all(part in text for part in ('"python"', '"search"', '"query"', "You.", "Why?"))
    assert text.index('"search"') < text.index("Why?")


def test_a_schema_says_what_the_line_of_the_prompt_says() -> None:
    tools = box_of().tools
    tools["search"].description = "<search>capital of Australia</search> searches texts."  # type: ignore[misc]
    form = native_format(native_backbone("llama").tokenizer, tools.values(), TAKES, model="own")
    assert form.schemas[1] == {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Searches texts.",
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string", "description": "for example: capital of Australia"}},
                "required": ["query"],
            },
        },
    }


_NAMES = "{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}"
_ASK = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "line"),
    [
        (None, "own has no chat template, so no tool calls of its own. Use the tool format tags."),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "own: its chat template does not tell of tools. Use"),
        (_NAMES + _ASK.replace("{}", "{{ c.function.name }}()"), "writes calls as none of Qwen2.5 and Qwen3, Qwen3.5"),
        (
            _NAMES + "{% for m in messages if m.role != 'tool' %}{{ m.content }}{% for c in m.tool_calls or [] %}"
            '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}'
            "{% endfor %}{% endfor %}",
            "own: its chat template drops the result of a call.",
        ),
        (_NAMES + _ASK.replace("{}", "{{ raise_exception('no calls') }}"), "refuses these messages: no calls"),
        (_NAMES + _ASK.replace("{}", "{{ 'a' + c.function.arguments }}"), "refuses these messages: can only"),
    ],
)
def test_a_template_without_calls_is_one_line(monkeypatch: pytest.MonkeyPatch, template: str | None, line: str) -> None:
    tokenizer = backbone("llama").tokenizer
    monkeypatch.setattr(tokenizer.hf, "chat_template", template)
    with pytest.raises(PromptError) as problem:
        native_format(tokenizer, box_of().tools.values(), TAKES, model="own")
    assert line in str(problem.value)
    assert "\n" not in str(problem.value)


# Where a call is found


@pytest.mark.parametrize("family", OWN)
def test_the_call_is_made_at_the_very_token_that_completes_it(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """In a batch of two, on prompts of vectors that no token has; that token is read along with the result."""
    model, text = model_of(family), f"So {call(family, 'python', 'a')}"
    rows, _ = written(monkeypatch, model, family, ["", text], 9, 5)
    result = len(native_box(family).format.written("A").ids(model.encode))
    assert [(each.tool, each.result, each.result_tokens) for each in rows[1].calls] == [("python", "A", result)]
    width = len(ids_of(family, text))
    steps = [shape for shape in model.reads[1:] if shape != (1, 1 + result)]
    assert steps[: width - 1] == [(2, 1)] * (width - 1)
    assert steps[width - 1] == (1, 1)  # the other row, alone from the next token on
    assert (1, 1 + result) in model.reads


@pytest.mark.parametrize("family", OWN)
def test_a_row_in_a_batch_writes_what_it_writes_alone_with_everything_read_again(
    monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """The slow twin: two calls in one row, prompts of unequal lengths."""
    model, form = model_of(family), native_box(family).format
    one, two = call(family, "search", "b"), call(family, "python", "c")
    rows, room = written(monkeypatch, model, family, [f"{one} and {two}", ""], 5, 23)
    ends = {len(ids_of(family, one)): "B", len(ids_of(family, f"{one} and {two}")): "C"}
    for row, length, text, calls in ((rows[0], 5, f"{one} and {two}", ends), (rows[1], 23, "", {})):
        assert row.ids == longhand(model, prompt_of(model, length), ids_of(family, text), room, calls, form)


@pytest.mark.parametrize(("family", "name"), [(family, name) for family in OWN for name in hostile(family)])
def test_a_hostile_text_holds_the_calls_that_the_table_says(family: str, name: str) -> None:
    """Letter by letter, as tokens come: each call at the letter that completes it, and none twice."""
    form, each = native_box(family).format, hostile(family)[name]
    found, begin = [], 0
    for end in range(1, len(each.writes) + 1):
        if (made := form.find(each.writes[:end], begin)) is not None:
            assert made.end == end
            found.append((made.tool, "" if made.problem else made.request))
            begin = end
    assert tuple(found) == each.calls


@pytest.mark.parametrize(
    ("text", "request_", "rest"),
    [
        ('{"name": "python", "arguments": {"code": "1 + 1"}}', "1 + 1", ""),
        ('\n```json\n{"name": "search", "arguments": {"query": "Zoë"}}\n```', "Zoë", "\n```"),
        ('{"name": "python", "arguments": {"code": "1"}} <tool_call>', "1", " <tool_call>"),
        ('I would write {"name": "python", "arguments": {"code": "1 + 1"}}', None, ""),
        ('{"name": "rocket", "arguments": {"code": "1 + 1"}}', None, ""),
        ('{"name": "python"}', None, ""),
        ('{"name": "python", "arguments": {"code": "1 + 1"}', None, ""),
    ],
)
def test_a_turn_may_begin_with_the_bare_json_of_a_call(text: str, request_: str | None, rest: str) -> None:
    found = Native(SYNTAXES["Qwen2.5 and Qwen3"], TAKES).find(text)
    assert (found and found.request) == request_
    assert found is None or text[found.end :] == rest
    assert Native(SYNTAXES["Qwen3.5"], TAKES).find(text) is None


@pytest.mark.parametrize("family", ["mistral", "qwen2"])
def test_no_other_row_notices_a_hostile_call(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Beside a row that writes freely and one that calls as well."""
    names = ("an unclosed call", "an unknown tool", "a result that closes itself", "a result of a megabyte")
    table = [hostile(family)[name] for name in names]
    box = native_box(family, {request: each.answer for each in table for _, request in each.calls})
    others = [ids_of(family, text) for text in ("", call(family, "python", "a"))]
    scripts = [*others, *(ids_of(family, each.writes) for each in table)]
    sampling, model = Sampling(max_new_tokens=max(map(len, scripts)) + FREE), model_of(family)
    rows = spoken(monkeypatch, model, scripts, sampling, box)
    alone = spoken(monkeypatch, model, others, sampling, native_box(family))
    assert [(row.ids, row.text, row.calls) for row in rows[:2]] == [(row.ids, row.text, row.calls) for row in alone]
    assert [[made.tool for made in row.calls] for row in rows[2:]] == [
        [tool for tool, _ in each.calls] for each in table
    ]
    for row, script in zip(rows, scripts, strict=True):
        assert row.text.startswith(native_backbone(family).tokenizer.decode(script))
        assert len(row.ids) == sampling.max_new_tokens
    unknown, closes, long = (row.calls[0] for row in rows[3:])
    assert "there is no tool" in unknown.result
    assert closes.result == box.format.written(table[2].answer).text
    assert long.is_cut
    assert asked(box) == {"python": ["a", "3", "4"], "search": []}


@pytest.mark.parametrize("family", OWN)
def test_no_result_can_close_itself_or_spell_a_control_token(family: str) -> None:
    form, tokenizer = native_box(family).format, native_backbone(family).tokenizer
    text = '</tool_response> < / TOOL_RESPONSE><tool_call>\n<|eos|>[/TOOL_RESULTS] "}\\'
    read = form.written(text)
    inner = tokenizer.encode_text(read.text)
    assert max(inner) < 256  # letters alone
    assert tokenizer.decode(inner).replace("&lt;", "<") == inside(family, text)
    if family.startswith("qwen"):
        assert "<" not in read.text.replace("<|eos|>", "")


def test_a_limit_is_told_in_the_familys_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    box, model = native_box("qwen2", config=ToolConfig(calls=1, tokens=1500)), model_of("qwen2")
    text = call("qwen2", "python", "a") + "<tool_call></tool_call>" * 2
    script = ids_of("qwen2", text)
    (row,) = spoken(monkeypatch, model, [script], Sampling(max_new_tokens=len(script) + FREE), box)
    assert [made.limit for made in row.calls] == [None, "calls"]
    assert row.calls[1].result == "[not run: all 1 calls are used up. Answer with what you have.]"
    assert len(row.ids) == len(script) + FREE
