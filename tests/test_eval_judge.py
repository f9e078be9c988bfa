"""The judge: what is sent, how a reply is read, and that the key shows up nowhere else. No sockets."""

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from eval_zoo import SUM_TASK
from rmas.errors import ConfigError
from rmas.eval.config import EvalConfig
from rmas.eval.grade import Verdict
from rmas.eval.judge import JudgeConfig, Judgement, Response, _NoRedirect, judge, judge_for
from rmas.eval.task import Target

KEY = "sk-very-secret"
CONFIG = JudgeConfig(url="https://judge.example/v1/", model="some-model", key=KEY, seconds=7)
TARGET = Target(answers=("Oslo", "Kristiania"))


def reply(content: object, status: int = 200) -> Response:
    return Response(status, json.dumps({"choices": [{"message": {"content": content}}]}).encode())


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits here; for how long it would have been."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


class Endpoint:
    """Answers every request with the same response, and keeps what it was sent."""

    def __init__(self, response: Response | Exception) -> None:
        self.response = response
        self.requests: list[tuple[str, Mapping[str, str], Any, float]] = []

    def __call__(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        self.requests.append((url, headers, json.loads(body), seconds))
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        ("yes", "correct"),
        (" Yes.\n", "correct"),
        ("**YES**", "correct"),
        ("<think>It is no...</think>yes", "correct"),
        ("no", "wrong"),
        ("No!", "wrong"),
        ("yes, it is", "unparsed"),
        ("no, but yes", "unparsed"),
        ("yesno", "unparsed"),
        ("correct", "unparsed"),
        ("<think>yes", "unparsed"),
        ("", "unparsed"),
    ],
)
def test_only_yes_and_no_are_verdicts(content: str, verdict: Verdict) -> None:
    found = judge("Which capital?", "Oslo", TARGET, CONFIG, transport=Endpoint(reply(content)))
    assert found == Judgement(verdict, content)


def test_one_greedy_request_holds_question_answers_and_answer() -> None:
    endpoint = Endpoint(reply("yes"))
    judge("Which capital?", "<think>Bergen?</think>The answer is Christiania.", TARGET, CONFIG, transport=endpoint)
    ((url, headers, body, seconds),) = endpoint.requests
    assert (url, seconds) == ("https://judge.example/v1/chat/completions", 7)
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"]) == ("some-model", 0)
    asked = body["messages"][-1]["content"]
    assert all(part in asked for part in ("Which capital?", "- Oslo\n- Kristiania", "<<<\nChristiania\n>>>"))
    assert "Bergen" not in json.dumps(body)
    assert KEY not in json.dumps(body)


def test_without_a_key_no_authorization_is_sent() -> None:
    endpoint = Endpoint(reply("yes"))
    judge("Which?", "Oslo", TARGET, JudgeConfig(url="http://127.0.0.1:8000/v1", model="m"), transport=endpoint)
    assert "Authorization" not in endpoint.requests[0][1]


@pytest.mark.parametrize("text", ["", "  \n", "<think>Oslo"])
def test_a_text_that_says_nothing_is_unparsed_and_not_sent(text: str) -> None:
    endpoint = Endpoint(reply("yes"))
    assert judge("Which?", text, TARGET, CONFIG, transport=endpoint) == Judgement("unparsed", "")
    assert endpoint.requests == []


def test_a_long_text_is_cut_to_its_end() -> None:
    endpoint = Endpoint(reply("yes"))
    judge("Which?", "Bergen is not.\n" + "word " * 5000 + "\nOslo it is", TARGET, CONFIG, transport=endpoint)
    asked = endpoint.requests[0][2]["messages"][-1]["content"]
    assert len(asked) < 3000
    assert "Oslo it is" in asked


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (
            Response(401, f'{{"error": "Incorrect API key: {KEY}"}}'.encode()),
            r"answered 401 \(.*\*\*\*.*\)\. Check the key",
        ),
        (Response(404, b"no such\nmodel"), r"answered 404 \(no such model\)\. Check the url"),
        (Response(429, b""), r"answered 429\. .*wait, then resume"),
        (Response(503, b"x" * 10_000), "answered 503 .*Try again later"),
        (Response(301, b""), "answered 301"),
        (Response(200, b"<html>"), "does not reply as OpenAI's chat completions"),
        (Response(200, b'{"choices": []}'), "does not reply as OpenAI's chat completions"),
        (Response(200, b"[]"), "does not reply as OpenAI's chat completions"),
        (reply(None), "does not reply as OpenAI's chat completions"),
        (reply([1]), "does not reply as OpenAI's chat completions"),
        (OSError(f"no route, key {KEY}"), r"cannot be reached \(no route, key \*\*\*\)"),
        (TimeoutError("timed out"), r"cannot be reached \(timed out\)"),
    ],
)
def test_an_endpoint_that_fails_is_one_line_without_the_key(response: Response | Exception, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        judge("Which?", "Oslo", TARGET, CONFIG, transport=Endpoint(response))
    line = str(caught.value)
    assert line.startswith("judge some-model: https://judge.example/v1")
    assert KEY not in line
    assert "\n" not in line
    assert len(line) < 500
    assert caught.value.__suppress_context__ or not caught.value.__context__  # a traceback would show the cause


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "file:///etc/passwd"}, r"judge: the url is not http\(s\)"),
        ({"url": "judge.example"}, r"judge: the url is not http\(s\)"),
        ({"url": f"https://me:{KEY}@judge.example/v1"}, r"judge: the url is not http\(s\)"),
        ({"url": f"https://judge.example/v1?key={KEY}"}, r"judge: the url is not http\(s\)"),
        ({"url": "https://[judge/v1"}, r"judge: the url is not http\(s\)"),
        ({"url": "https://jüdge.example/v1"}, r"judge: the url is not http\(s\)"),
        ({"model": " "}, "judge model is ' '"),
        ({"seconds": 0}, "judge seconds is 0"),
        ({"key": f"{KEY}\nX-Other: 1"}, "judge: the key holds white space"),
        ({"key": f"{KEY} "}, "judge: the key holds white space"),
        ({"key": f"{KEY}é"}, "judge: the key holds white space"),
    ],
)
def test_bad_settings_are_one_line_without_the_key(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        JudgeConfig(**{"url": "https://judge.example/v1", "model": "m", **settings})
    assert KEY not in str(caught.value)


def test_the_key_is_not_in_the_repr() -> None:
    assert KEY not in repr(CONFIG)


def test_a_judge_of_the_settings_holds_the_key_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, task = Endpoint(reply("no")), replace(SUM_TASK, format="short")
    monkeypatch.setattr("rmas.eval.judge.post", endpoint)
    settings = EvalConfig(task="sums", judge_url=CONFIG.url, judge_model=CONFIG.model)
    asked = judge_for(task, settings, key=KEY)
    assert asked is not None
    assert asked("Which?", "Bergen", TARGET) == Judgement("wrong", "no")
    assert endpoint.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(asked) + repr(settings)


def test_no_judge_is_named_so_none_is_asked() -> None:
    assert judge_for(SUM_TASK, EvalConfig(task="sums"), key=KEY) is None


def test_a_redirect_is_not_followed() -> None:
    request = urllib.request.Request("https://judge.example/v1")
    follow: Callable[..., object] = _NoRedirect().redirect_request
    assert follow(request, None, 302, "Found", {}, "https://other.example") is None


@pytest.mark.parametrize("passing", [Response(503, b""), Response(429, b""), TimeoutError("timed out")])
def test_a_busy_endpoint_is_asked_again(passing: Response | Exception, waits: list[float]) -> None:
    endpoint, num_busy = Endpoint(passing), 2

    def busy_at_first(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        if len(endpoint.requests) == num_busy:
            endpoint.response = reply("yes")
        return endpoint(url, headers, body, seconds)

    assert judge("Which?", "Oslo", TARGET, CONFIG, transport=busy_at_first).verdict == "correct"
    assert waits == [1.0, 4.0]


@pytest.mark.parametrize(("response", "num_requests"), [(Response(503, b""), 4), (Response(401, b""), 1)])
def test_it_is_asked_four_times_at_most_and_once_where_that_cannot_help(response: Response, num_requests: int) -> None:
    endpoint = Endpoint(response)
    with pytest.raises(ConfigError, match="answered"):
        judge("Which?", "Oslo", TARGET, CONFIG, transport=endpoint)
    assert len(endpoint.requests) == num_requests
