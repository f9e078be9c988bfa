"""The tool `search`: passages, BM25 over a folder, and services on the web that are stood in for here."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from ddgs.exceptions import DDGSException
from tavily import errors

from rmas.errors import ConfigError, ToolError
from rmas.settings import ToolConfig
from rmas.tools import PROVIDERS, TOOLS, open_tools
from rmas.tools import corpus as corpus_module
from rmas.tools.corpus import Corpus, words_in
from rmas.tools.passages import SIZE, Passage, passages_of, pieces
from rmas.tools.search import HITS, Hit, SearchTool
from rmas.tools.web import TRIES, Ddgs, Tavily

FILES = {
    "rivers.md": "# Rivers\n\nThe Nile flows north.\n\n## The Rhine ##\n\nIt ends in the North Sea.\n",
    "deep/lakes.txt": "Lake Baikal is the deepest lake.\n\nIt lies in Siberia.",
    "facts.jsonl": '{"title": "Spiders", "text": "A spider has eight legs."}\n\n{"text": "蜘蛛有八条腿。"}\n',
    "ignored.csv": "Nile,north",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "corpus"


def found(corpus: Corpus, query: str, count: int = 4) -> list[tuple[str, str]]:
    return [(hit.title, hit.place) for hit in corpus.find(query, count)]


# Passages


def test_every_kind_of_file_is_read_with_titles_and_places(folder: Path, tmp_cache: Path) -> None:
    corpus = Corpus(folder, cache=tmp_cache)
    assert found(corpus, "which river flows NORTH?") == [("Rivers", "rivers.md"), ("The Rhine", "rivers.md")]
    assert found(corpus, "Baikal's depth") == [("lakes", "deep/lakes.txt")]
    assert found(corpus, "legs") == [("Spiders", "facts.jsonl:1")]
    assert found(corpus, "蜘蛛") == [("facts", "facts.jsonl:3")]
    assert found(corpus, "csv unheard of") == found(corpus, "") == found(corpus, "?!") == []


def test_a_heading_inside_a_fence_is_text() -> None:
    content = b"# Top\n```\n# not a heading\n```\nend"
    assert [(p.title, p.text) for p in passages_of("a.md", content)] == [("Top", "```\n# not a heading\n```\nend")]


@pytest.mark.parametrize(
    "text",
    [
        "short",
        "\n\n".join("word " * 40 for _ in range(9)),
        "One sentence is this. " * 200,
        "word " * 1000,
        "x" * 5000,
        "",
    ],
)
def test_pieces_are_short_and_lose_no_letter(text: str) -> None:
    cut = list(pieces(text))
    assert all(0 < len(piece) <= SIZE for piece in cut)
    assert "".join("".join(cut).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.txt", b"caf\xe9", "corpus: a.txt: not UTF-8 text"),
        ("a.jsonl", b'{"text": "x"}\n{', "corpus: a.jsonl:2: no JSON"),
        ("a.jsonl", b"[1]", "corpus: a.jsonl:1: expected an object with a `text`"),
        ("a.jsonl", b'{"text": 1}', "corpus: a.jsonl:1: expected an object with a `text`"),
        ("a.jsonl", b'{"text": "x", "title": 1}', "corpus: a.jsonl:1: title is 1, expected a text"),
        ("a.jsonl", b"[" * 100_000, "corpus: a.jsonl:1: no JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, tmp_cache: Path, name: str, content: bytes, line: str
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / name).write_bytes(content)
    with pytest.raises(ToolError) as problem:
        Corpus(tmp_path / "texts", cache=tmp_cache)
    assert str(problem.value).startswith(line)
    assert "\n" not in str(problem.value)
    assert not tmp_cache.exists()


@pytest.mark.parametrize(("name", "line"), [("nowhere", "no such folder"), ("empty", "no .txt, .md, .jsonl files")])
def test_a_folder_without_texts_is_refused(tmp_path: Path, tmp_cache: Path, name: str, line: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ToolError, match=line):
        Corpus(tmp_path / name, cache=tmp_cache)


def test_empty_files_are_no_corpus(tmp_path: Path, tmp_cache: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n\n ", encoding="utf-8")
    with pytest.raises(ToolError, match="its files are empty"):
        Corpus(tmp_path, cache=tmp_cache)


# BM25


def longhand_bm25(query: str, texts: Sequence[str]) -> list[int]:
    """Which texts, the best first, by the formula: Lucene's idf, k1 = 1.5, b = 0.75."""
    documents = [words_in(text) for text in texts]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for words in documents:
        score = 0.0
        for word in words_in(query):
            having, times = sum(word in other for other in documents), words.count(word)
            idf = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            score += idf * times / (times + 1.5 * (0.25 + 0.75 * len(words) / mean))
        scores.append(score)
    return sorted((i for i, score in enumerate(scores) if score > 0), key=lambda i: -scores[i])


@pytest.mark.parametrize("query", ["river", "the longest river of Africa", "lake lake north", "sea"])
def test_passages_are_ranked_as_the_formula_says(tmp_path: Path, tmp_cache: Path, query: str) -> None:
    texts = [
        "The Nile is the longest river of Africa and it ends in a sea.",
        "A lake is no river.",
        "The Congo is a river of Africa, the deepest river there is.",
        "North of the lake lies another lake.",
    ]
    rows = [json.dumps({"text": text, "title": "t"}) for text in texts]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    expected = longhand_bm25(query, [f"t\n{text}" for text in texts])
    hits = Corpus(tmp_path, cache=tmp_cache).find(query, 9)
    assert [texts.index(hit.text) for hit in hits] == expected


def test_an_index_is_made_once_and_anew_when_a_text_changes(
    folder: Path, tmp_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    keep = corpus_module._keep

    def noted(place: Path, rows: Sequence[Passage]) -> None:
        made.append(place)
        keep(place, rows)

    monkeypatch.setattr(corpus_module, "_keep", noted)
    first = Corpus(folder, cache=tmp_cache)
    assert found(Corpus(folder, cache=tmp_cache), "Nile") == found(first, "Nile")
    assert len(made) == 1
    (folder / "ignored.csv").write_text("Amazon", encoding="utf-8")
    assert Corpus(folder, cache=tmp_cache).digest == first.digest
    (folder / "rivers.md").write_text("The Amazon flows east.", encoding="utf-8")
    changed = Corpus(folder, cache=tmp_cache)
    assert (found(changed, "Nile"), found(changed, "Amazon")) == ([], [("rivers", "rivers.md")])
    assert len(made) == 2
    assert sorted(path.name for path in (tmp_cache / "corpora").iterdir()) == sorted(path.name for path in made)


def test_a_broken_index_is_made_anew(folder: Path, tmp_cache: Path) -> None:
    corpus = Corpus(folder, cache=tmp_cache)
    (tmp_cache / "corpora" / corpus.digest / "passages.json").write_text("[", encoding="utf-8")
    assert found(Corpus(folder, cache=tmp_cache), "Nile") == found(corpus, "Nile")


def test_an_index_that_cannot_be_kept_is_one_line(folder: Path, tmp_cache: Path) -> None:
    tmp_cache.write_text("a file", encoding="utf-8")
    with pytest.raises(ToolError, match="its index cannot be kept"):
        Corpus(folder, cache=tmp_cache)


# Results


class Canned:
    """A provider that answers with what it was given."""

    about, digest = "canned texts", ""

    def __init__(self, *hits: Hit) -> None:
        self.hits, self.asked = hits, list[tuple[str, int]]()

    def find(self, query: str, count: int) -> Sequence[Hit]:
        self.asked.append((query, count))
        return self.hits


def test_a_result_is_a_numbered_list_on_single_lines() -> None:
    provider = Canned(Hit("One\ntitle", "a.txt", "first\n\n  text"), Hit("Two", "b", "second"))
    result = SearchTool(provider).run("  what\nis ")
    assert result.text == "[1] One title (a.txt): first text\n[2] Two (b): second"
    assert provider.asked == [("what is", HITS)]
    assert not result.is_cut


def test_a_long_passage_is_cut_with_a_note_and_so_is_a_long_title() -> None:
    result = SearchTool(Canned(Hit("T" * 999, "p", "x" * 250)), chars=400).run("q")
    assert result.is_cut
    assert result.text == f"[1] {'T' * 200} (p): {'x' * 100} [150 characters left out]"


def test_nothing_found_is_said_so() -> None:
    assert SearchTool(Canned()).run("q").text == "[nothing found]"


# Services


class Service:
    """What a client's package is replaced with: it raises what it was given, then answers."""

    def __init__(self, answer: Any, *problems: Exception) -> None:
        self.answer, self.problems, self.asked = answer, list(problems), 0

    def ask(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        if self.problems:
            raise self.problems.pop(0)
        return self.answer

    search = text = ask


Put = Callable[[str, Service], Any]
ROWS = {
    "tavily": {"results": [{"title": "T", "url": "https://t.example", "content": "C"}]},
    "ddgs": [{"title": "T", "href": "https://t.example", "body": "C"}],
}
PASSING: dict[str, Exception] = {"tavily": requests.ConnectionError("no route"), "ddgs": DDGSException("no route")}


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """A service in the place of the client of `name`; -> the provider on it."""

    def placed(name: str, service: Service) -> Any:
        monkeypatch.setattr("tavily.TavilyClient", lambda api_key: service)
        monkeypatch.setattr("ddgs.DDGS", lambda timeout: service)
        return Tavily("a key", pause=0) if name == "tavily" else Ddgs(pause=0)

    return placed


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_service_is_tried_again_and_its_rows_are_hits(put: Put, name: str) -> None:
    service = Service(ROWS[name], *[PASSING[name]] * (TRIES - 1))
    assert put(name, service).find("q", 4) == [Hit("T", "https://t.example", "C")]
    assert service.asked == TRIES


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_service_that_cannot_be_reached_is_one_line_and_no_result(put: Put, name: str) -> None:
    service = Service(None, *[PASSING[name]] * TRIES)
    with pytest.raises(ToolError, match=rf"^{name} cannot be asked: no route\. Check the network, .*$"):
        SearchTool(put(name, service)).run("q")
    assert service.asked == TRIES


def test_a_refused_key_is_one_line_and_not_tried_again(put: Put) -> None:
    service = Service(None, errors.InvalidAPIKeyError("Unauthorized: missing or invalid API key."))
    with pytest.raises(ToolError, match=r"^tavily: Unauthorized: missing or invalid API key\. Check the key"):
        put("tavily", service).find("q", 4)
    assert service.asked == 1


def test_no_results_are_no_failure(put: Put) -> None:
    assert put("tavily", Service({"results": []})).find("q", 4) == []
    assert put("ddgs", Service(None, DDGSException("No results found."))).find("q", 4) == []


def test_tavily_without_a_key_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAVILY_API_KEY", "not for us to read")
    with pytest.raises(ToolError, match=r"tavily needs a key, and there is none\. Set TAVILY_API_KEY"):
        Tavily("")


# The box


def test_tools_are_opened_by_name(folder: Path, tmp_cache: Path) -> None:
    box = open_tools(ToolConfig(names=("search", "python"), corpus=str(folder)), cache=tmp_cache)
    assert box is not None
    assert list(box.tools) == ["search", "python"]
    assert [tool.name for tool in box.tools.values()] == list(box.tools)
    assert box.told.splitlines() == [f"- {tool.description}" for tool in box.tools.values()]
    assert all(f"<{name}>" in tool.description for name, tool in box.tools.items())
    assert box.facts == {"search": Corpus(folder, cache=tmp_cache).digest, "python": "bubblewrap"}
    assert open_tools(ToolConfig(), cache=tmp_cache) is None


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (ToolConfig(names=("pyhton",)), "unknown tool 'pyhton' (have python, search). Did you mean 'python'?"),
        (ToolConfig(names=("search",)), "search has no corpus. Name a folder of texts with --corpus DIR"),
        (ToolConfig(names=("search",), search="tavilly"), "unknown search provider 'tavilly'"),
        (ToolConfig(names=("search",), search="tavily"), "tavily needs a key, and there is none."),
        (ToolConfig(names=("search",), corpus="nowhere"), "corpus nowhere: no such folder."),
    ],
)
def test_a_tool_that_cannot_be_had_is_one_line(tmp_cache: Path, config: ToolConfig, line: str) -> None:
    with pytest.raises((ConfigError, ToolError)) as problem:
        open_tools(config, cache=tmp_cache)
    assert str(problem.value).startswith(line)


@pytest.mark.parametrize("name", ["calls", "tokens", "chars", "seconds", "call_seconds"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"tools: {name} is 0, expected"):
        ToolConfig(**{name: 0})  # type: ignore[arg-type]


def test_the_tables_name_what_there_is() -> None:
    assert set(TOOLS) == {"python", "search"}
    assert set(PROVIDERS) == {"corpus", "ddgs", "tavily"}
