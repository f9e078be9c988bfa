"""Speaking: sampling, stop strings, streaming, and rows that share a batch without touching each other."""

import weakref
from itertools import pairwise

import pytest
import torch
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from rmas.backbone import Backbone
from rmas.engine import Row, Sampling, speak
from rmas.engine.decode import filtered, pick
from rmas.engine.turn import Read
from rmas.errors import ConfigError
from rmas.solvers import RecursiveSolver, RunConfig
from rmas.system import System
from zoo import QUESTIONS, CountingBackbone, backbone, tiny_system

LLAMA = backbone("llama")
NO_EOS: frozenset[int] = frozenset()


@pytest.fixture(scope="module")
def system() -> System:
    return tiny_system("deliberation", ("mistral", "llama"))


def start(model: Backbone, rows: int = 4, length: int = 9) -> Read:
    """Random prompts, read."""
    x_BLD = torch.randn(rows, length, model.dim, generator=torch.Generator().manual_seed(3), dtype=model.dtype)
    h_BLD, state = model.extend(model.start(), x_BLD)
    return Read(h_BLD[:, -1], state, (length,) * rows)


def spoken(model: Backbone, sampling: Sampling, rows: int = 4, seed: int = 0) -> list[Row]:
    generators = [torch.Generator().manual_seed(seed + i) for i in range(rows * sampling.samples)]
    with torch.inference_mode():
        *_, last = speak(model, start(model, rows), sampling, generators)
    return last


def pushed(text_or_ids: str | list[int], sampling: Sampling, *, eos_ids: frozenset[int] = NO_EOS) -> list[str]:
    """What a row shows after each token; byte tokens, so that every character but ASCII takes several."""
    model = CountingBackbone(LLAMA, eos_ids=eos_ids)
    ids = model.encode(text_or_ids) if isinstance(text_or_ids, str) else text_or_ids
    row, shown = Row(), []
    for token in ids:
        assert row.finish is None
        row.push(token, model, sampling)
        shown.append(row.text)
    return shown


LONG = Sampling(max_new_tokens=1000)


# Filters and draws


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 1e-3])
@pytest.mark.parametrize("top_k", [0, 1, 5, 300])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_filtered_logits_equal_those_of_transformers(temperature: float, top_k: int, top_p: float) -> None:
    logits_BV = torch.randn(4, 264, generator=torch.Generator().manual_seed(0)) * 3
    theirs = TemperatureLogitsWarper(temperature)(torch.zeros(4, 1), logits_BV)
    if top_k:
        theirs = TopKLogitsWarper(top_k)(torch.zeros(4, 1), theirs)
    theirs = TopPLogitsWarper(top_p)(torch.zeros(4, 1), theirs)
    assert torch.equal(filtered(logits_BV, Sampling(temperature=temperature, top_k=top_k, top_p=top_p)), theirs)


def test_temperature_zero_picks_the_most_likely_token() -> None:
    logits_BV = torch.tensor([[0.0, 3.0, 2.0], [5.0, 1.0, 4.0]])
    assert pick(logits_BV, Sampling(), []) == [1, 0]


def test_keeping_one_token_is_greedy() -> None:
    greedy = spoken(LLAMA, Sampling(max_new_tokens=6))
    for narrow in (Sampling(temperature=1.0, top_k=1, max_new_tokens=6), Sampling(temperature=1e-3, max_new_tokens=6)):
        assert [row.ids for row in spoken(LLAMA, narrow)] == [row.ids for row in greedy]


def test_tokens_are_drawn_with_their_probability() -> None:
    p_V, draws = torch.tensor([0.6, 0.3, 0.1]), 2000
    generators = [torch.Generator().manual_seed(seed) for seed in range(draws)]
    tokens = pick(p_V.log().expand(draws, -1), Sampling(temperature=1.0), generators)
    frequency_V = torch.bincount(torch.tensor(tokens), minlength=3) / draws
    torch.testing.assert_close(frequency_V, p_V, rtol=0, atol=0.04)


def test_a_filtered_token_is_never_drawn() -> None:
    logits_BV = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).expand(500, -1)
    generators = [torch.Generator().manual_seed(seed) for seed in range(500)]
    assert set(pick(logits_BV, Sampling(temperature=5.0, top_k=2), generators)) == {0, 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("max_new_tokens", 0),
        ("samples", 0),
        ("stop", ("",)),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_value(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        Sampling(**{name: value})  # type: ignore[arg-type]


# Seeds


def drawn(system: System, *places: int, seed: int = 0, batch_size: int = 16, samples: int = 1) -> list[tuple[str, ...]]:
    """The samples for these of QUESTIONS, by place."""
    solver = RecursiveSolver(
        system,
        RunConfig(rounds=2, latent_steps=2, batch_size=batch_size),
        Sampling(temperature=1.0, max_new_tokens=8, seed=seed, samples=samples),
    )
    answers = solver.solve([QUESTIONS[place] for place in places])
    return [answer.samples for answer in answers]


def test_a_sample_depends_on_its_seed_alone(system: System) -> None:
    alone = drawn(system, 0)[0]
    assert drawn(system, 0, 1, 2)[0] == alone
    assert drawn(system, 2, 0)[1] == alone
    assert drawn(system, 1, 2, 0, batch_size=1)[2] == alone
    assert drawn(system, 0, 0) == [alone, alone]
    assert drawn(system, 0, seed=1)[0] != alone


def test_a_sampled_text_message_depends_on_its_seed_alone(system: System) -> None:
    config, sampling = (
        RunConfig(rounds=2, channel="text", message_tokens=4),
        Sampling(temperature=1.0, max_new_tokens=6),
    )
    solver = RecursiveSolver(system, config, sampling)
    (alone,) = solver.solve(QUESTIONS[:1])
    assert solver.solve(QUESTIONS[::-1])[2].samples == alone.samples


def test_more_samples_leave_the_first_ones_as_they_were(system: System) -> None:
    two, four = drawn(system, 0, samples=2)[0], drawn(system, 0, samples=4)[0]
    assert four[:2] == two
    assert len(set(four)) == 4


def test_samples_share_one_prefill() -> None:
    model = CountingBackbone(LLAMA, eos_ids=NO_EOS)
    spoken(model, Sampling(temperature=1.0, max_new_tokens=5, samples=3), rows=2)
    assert model.reads == [(2, 9)] + [(6, 1)] * 4


def test_samples_equal_single_draws_from_the_same_generators() -> None:
    together = spoken(LLAMA, Sampling(temperature=1.0, max_new_tokens=7, samples=3), rows=1, seed=5)
    for i, row in enumerate(together):
        (alone,) = spoken(LLAMA, Sampling(temperature=1.0, max_new_tokens=7), rows=1, seed=5 + i)
        assert alone.ids == row.ids


# Stop strings and streaming


def test_a_stop_string_cuts_the_text_and_is_never_shown() -> None:
    shown = pushed("fooEND", Sampling(max_new_tokens=99, stop=("END",)))
    assert shown == ["f", "fo", "foo", "foo", "foo", "foo"]


def test_what_only_looked_like_a_stop_string_is_shown_after_all() -> None:
    assert pushed("aEEN!", Sampling(max_new_tokens=99, stop=("END",))) == ["a", "a", "aE", "aE", "aEEN!"]
    assert pushed("aEN", Sampling(max_new_tokens=3, stop=("END",)))[-1] == "aEN"  # the length ends it


def test_the_earliest_of_several_stop_strings_cuts() -> None:
    token = LLAMA.encode("x")[0]
    shown = pushed("ab\n\n", Sampling(max_new_tokens=99, stop=("zz", "\n\n", "b\n\n")))
    assert shown[-1] == "a"
    assert pushed([token] * 3, Sampling(max_new_tokens=99, stop=("xxx", "xxxx")))[-1] == ""


def test_a_stop_string_of_several_bytes_a_character_is_found() -> None:
    assert pushed("né蜘", Sampling(max_new_tokens=99, stop=("é蜘",)))[-1] == "n"


def test_a_half_spelled_character_is_held_back() -> None:
    text = "é🕷x"
    shown = pushed(text, LONG)
    assert len(shown) == len(text.encode())
    assert shown == ["", "é", "é", "é", "é", "é🕷", "é🕷x"]


def test_bytes_that_never_become_a_character_are_shown_once_that_is_certain() -> None:
    broken, letter = LLAMA.encode("é")[0], LLAMA.encode("a")[0]
    assert pushed([broken, letter], LONG) == ["", "\ufffda"]
    assert pushed([letter, broken], Sampling(max_new_tokens=2)) == ["a", "a\ufffd"]


def test_an_end_token_is_not_part_of_the_text() -> None:
    """Whether or not the tokenizer calls it special."""
    end = LLAMA.encode("!")[0]
    assert pushed("hi!", LONG, eos_ids=frozenset([end]))[-1] == "hi"
    assert pushed([*LLAMA.encode("hi"), 258], LONG, eos_ids=frozenset([258]))[-1] == "hi"


def test_finish_says_why_a_text_ended() -> None:
    end, letter = LLAMA.encode("!")[0], LLAMA.encode("a")[0]
    for ids, sampling, finish in (
        ([letter, end], LONG, "eos"),
        ([letter, letter], Sampling(max_new_tokens=2), "length"),
        ([letter, letter], Sampling(max_new_tokens=9, stop=("aa",)), "stop"),
        ([letter], LONG, None),
    ):
        row = Row()
        for token in ids:
            row.push(token, CountingBackbone(LLAMA, eos_ids=frozenset([end])), sampling)
        assert row.finish == finish
        assert row.ids == ids


def test_streamed_text_is_always_a_prefix_of_the_final_text(system: System) -> None:
    for seed in range(4):
        sampling = Sampling(temperature=1.0, max_new_tokens=30, seed=seed, stop=("q", "AB"))
        solver = RecursiveSolver(system, RunConfig(rounds=1, latent_steps=1), sampling)
        columns = list(solver.stream(QUESTIONS[0]))
        final = columns[-1].answer
        assert final is not None
        assert columns[-1].text == final.text
        assert all(later.text.startswith(earlier.text) for earlier, later in pairwise(columns))
        assert "q" not in final.text
        assert final.text == solver.solve(QUESTIONS[:1])[0].text


def test_the_text_is_what_the_ids_spell() -> None:
    for row in spoken(LLAMA, Sampling(temperature=1.0, max_new_tokens=40)):
        ids = row.ids[:-1] if row.finish == "eos" else row.ids
        assert row.text == LLAMA.decode(ids)


# Rows and their batch


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_that_finish_early_leave_the_others_as_they_were(temperature: float) -> None:
    sampling = Sampling(max_new_tokens=12, temperature=temperature)
    endless = [row.ids for row in spoken(CountingBackbone(LLAMA, eos_ids=NO_EOS), sampling)]
    eos_ids = frozenset([endless[0][2], endless[1][5], endless[2][8]])
    model = CountingBackbone(LLAMA, eos_ids=eos_ids)
    rows = spoken(model, sampling)
    expected = [ids[: next((i + 1 for i, token in enumerate(ids) if token in eos_ids), 12)] for ids in endless]
    assert [row.ids for row in rows] == expected
    assert len(set(map(len, expected))) > 1
    assert [row.finish for row in rows] == ["eos" if ids[-1] in eos_ids else "length" for ids in expected]


def test_finished_rows_leave_the_batch_once_an_eighth_of_it_has() -> None:
    sampling = Sampling(max_new_tokens=12)
    endless = [row.ids for row in spoken(CountingBackbone(LLAMA, eos_ids=NO_EOS), sampling)]
    model = CountingBackbone(LLAMA, eos_ids=frozenset([endless[0][2], endless[1][5], endless[2][8]]))
    lengths = [len(row.ids) for row in spoken(model, sampling)]
    batches = [batch for batch, new in model.reads if new == 1]
    live = [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert len(batches) == len(live)
    assert all(batch == going or 7 * batch < 8 * going for going, batch in zip(live, batches, strict=True))
    assert batches[-1] < batches[0]


def test_a_batch_ends_when_its_last_row_does() -> None:
    model = CountingBackbone(LLAMA, eos_ids=frozenset(range(300)))
    rows = spoken(model, Sampling(max_new_tokens=12))
    assert [(len(row.ids), row.finish, row.text) for row in rows] == [(1, "eos", "")] * 4
    assert model.reads == [(4, 9)]


@pytest.mark.parametrize("samples", [1, 2])
def test_what_was_read_is_let_go_as_a_text_grows(samples: int) -> None:
    """The keys and values of the prompt would else stay beside those that grow out of them."""
    sampling = Sampling(max_new_tokens=12, samples=samples, temperature=1.0)
    generators = [torch.Generator().manual_seed(i) for i in range(4 * samples)]
    model = CountingBackbone(LLAMA, eos_ids=NO_EOS)
    with torch.inference_mode():
        read = start(model)
        held = weakref.ref(read.state)
        columns = speak(model, read, sampling, generators)
        del read
        next(columns)
        next(columns)
        assert held() is None
        *_, rows = columns
    assert [len(row.ids) for row in rows] == [12] * 4 * samples


def test_the_head_is_read_at_one_position_a_token() -> None:
    model = CountingBackbone(LLAMA, eos_ids=NO_EOS)
    rows = spoken(model, Sampling(max_new_tokens=5))
    assert model.logits_of == [(len(rows), LLAMA.dim)] * 5
