"""Dev figures: greedy answers round by round, and with the messages' content taken away."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from rmas.engine import ConstantChannel, Controlled, Heads, LatentChannel, run
from rmas.prompt import Question
from rmas.settings import CONTROLS, Control
from rmas.system import System
from rmas.train.data import Example, batches_of
from rmas.train.dev import measure, replies
from rmas.train.team import ALONE, Team
from train_zoo import EXAMPLES, swayed_system, trainer_of
from zoo import backbone, greedily, tiny_system

STEPS, TOKENS = 2, 3
CHANNEL = LatentChannel(latent_steps=STEPS)


@pytest.fixture(scope="module")
def system() -> System:
    """A pair whose answerer is swayed by what it hears."""
    return swayed_system()


def measured(
    system: System,
    examples: Sequence[Example] = EXAMPLES,
    *,
    batch_size: int = 4,
    probes: Sequence[Control] = (),
    rounds: int = 2,
    team: Team = ALONE,
) -> dict[str, float]:
    steps = STEPS if not system.spec.is_constant else system.spec.latent_steps
    figures = measure(
        system,
        examples,
        rounds=rounds,
        channel_of=lambda _: system.channel(steps),
        probes=probes,
        batch_size=batch_size,
        max_new_tokens=TOKENS,
        team=team,
    )
    return dict(figures)


def told_truly(system: System, *, rounds: int = 1) -> list[Example]:
    """The examples, each with the answer that the system gives after `rounds`."""
    said = replies(system, EXAMPLES, rounds=rounds, channel=CHANNEL, max_new_tokens=TOKENS)
    return [replace(example, answer=rows[-1].text.strip()) for example, rows in zip(EXAMPLES, said, strict=True)]


def test_a_reply_of_a_round_is_that_of_a_run_that_ends_there(system: System) -> None:
    every = replies(system, EXAMPLES, rounds=3, channel=CHANNEL, max_new_tokens=TOKENS)
    assert [[reply.round for reply in rows] for rows in every] == [[1, 2, 3]] * len(EXAMPLES)
    for rounds in (1, 2, 3):
        last = replies(system, EXAMPLES, rounds=rounds, channel=CHANNEL, max_new_tokens=TOKENS, every_round=False)
        for ours, (theirs,) in zip(every, last, strict=True):
            assert ours[rounds - 1][:2] == theirs[:2]
            assert ours[rounds - 1].nll == pytest.approx(theirs.nll, rel=1e-9)


def test_a_reply_is_the_greedy_answer_of_a_run(system: System) -> None:
    questions = [example.question for example in EXAMPLES]
    said = replies(system, EXAMPLES, rounds=2, channel=CHANNEL, max_new_tokens=TOKENS, every_round=False)
    with torch.inference_mode():
        end = run(system, questions, rounds=2, channel=CHANNEL, speak=greedily(TOKENS))
    assert [reply.text for (reply,) in said] == [row.text for row in end.rows]


def test_the_cross_entropy_of_a_reply_is_that_of_training(system: System) -> None:
    said = replies(system, EXAMPLES, rounds=2, channel=CHANNEL, max_new_tokens=TOKENS)
    loss = trainer_of(system).step(0).loss
    assert sum(rows[-1].nll for rows in said) / len(EXAMPLES) == pytest.approx(loss, rel=1e-9)
    assert measured(system)["loss"] == pytest.approx(loss, rel=1e-9)


def test_right_is_the_exact_answer_and_nothing_else(system: System) -> None:
    right, *others = told_truly(system)
    longer, shorter, right_too = others
    examples = [
        right,
        replace(longer, answer=longer.answer + "!"),
        replace(shorter, answer=shorter.answer[:-1] or "?"),
        right_too,
    ]
    said = replies(system, examples, rounds=1, channel=CHANNEL, max_new_tokens=TOKENS)
    assert [rows[-1].is_right for rows in said] == [True, False, False, True]
    assert measured(system, examples, rounds=1)["accuracy"] == 0.5


def test_each_round_is_judged_by_its_own_answer(system: System) -> None:
    said = replies(system, EXAMPLES, rounds=2, channel=CHANNEL, max_new_tokens=TOKENS)
    examples = [
        replace(example, answer="no", answers=(rows[0].text.strip(), "no"))
        for example, rows in zip(EXAMPLES, said, strict=True)
    ]
    figures = measured(system, examples)
    assert (figures["accuracy_r1"], figures["accuracy_r2"], figures["accuracy"]) == (1.0, 0.0, 0.0)


def test_figures_have_every_round_every_probe_and_the_number_of_examples(system: System) -> None:
    figures = measured(system, probes=("shuffled", "zeroed"))
    names = {"accuracy", "accuracy_r1", "accuracy_r2", "accuracy_shuffled", "accuracy_zeroed", "loss", "n"}
    assert figures.keys() == names
    assert figures["n"] == len(EXAMPLES)
    assert figures["accuracy"] == figures["accuracy_r2"]


@pytest.mark.parametrize("control", CONTROLS)
def test_a_probe_is_the_accuracy_of_a_controlled_run(system: System, control: Control) -> None:
    """Half of the answers are those of the controlled run, so that the probe has something to find."""
    channel = Controlled(channel=CHANNEL, control=control)
    ordered = [example for batch in batches_of(EXAMPLES, 4) for example in batch]
    said = replies(system, ordered, rounds=2, channel=channel, max_new_tokens=TOKENS, every_round=False)
    examples = [
        replace(example, answer=reply.text.strip() if place < 2 else "never said")
        for place, (example, (reply,)) in enumerate(zip(ordered, said, strict=True))
    ]
    assert measured(system, examples, probes=(control,))[f"accuracy_{control}"] == 0.5


@pytest.mark.parametrize("control", CONTROLS)
def test_the_probes_of_these_tests_change_what_is_likely(system: System, control: Control) -> None:
    plain, controlled = (
        [row[0].nll for row in replies(system, EXAMPLES, rounds=1, channel=channel, max_new_tokens=TOKENS)]
        for channel in (CHANNEL, Controlled(channel=CHANNEL, control=control))
    )
    assert plain != pytest.approx(controlled, rel=1e-6)


def test_a_batch_of_one_has_no_share_in_shuffled_figures(system: System) -> None:
    """Three examples in batches of at most two: one of them has nobody to swap with."""
    examples = EXAMPLES[:3]
    (alone,), pair = batches_of(examples, 2)
    said = replies(
        system, pair, rounds=2, channel=Controlled(channel=CHANNEL, control="shuffled"), max_new_tokens=TOKENS
    )
    examples = (alone, *(replace(e, answer=rows[-1].text.strip()) for e, rows in zip(pair, said, strict=True)))
    assert measured(system, examples, batch_size=2, probes=("shuffled",))["accuracy_shuffled"] == 1.0


def test_figures_that_cannot_be_measured_are_left_out(system: System) -> None:
    figures = measured(system, batch_size=1, probes=("shuffled", "zeroed", "noise"))
    assert "accuracy_shuffled" not in figures
    assert {"accuracy_zeroed", "accuracy_noise"} <= figures.keys()


def test_figures_do_not_depend_on_the_batches(system: System) -> None:
    examples = told_truly(system, rounds=2)[:2] + list(EXAMPLES[2:])
    whole, parts = measured(system, examples), measured(system, examples, batch_size=1)
    assert whole["accuracy"] >= 0.5
    assert whole.keys() == parts.keys()
    assert whole == pytest.approx(parts, rel=1e-9)


def test_measuring_leaves_no_gradient_and_no_graph(system: System) -> None:
    system.zero_grad()
    measured(system)
    assert all(parameter.grad is None for parameter in system.parameters())


def test_constant_messages_are_measured_with_nobody_thinking() -> None:
    system = tiny_system("deliberation", ["llama"], outer="constant")
    assert system.channel(32) == ConstantChannel(latent_steps=32)
    assert tiny_system("deliberation", ["llama"]).channel(2) == CHANNEL
    figures = measured(system, EXAMPLES[:2], probes=("shuffled",))
    assert figures["accuracy_shuffled"] == figures["accuracy"]  # what hears nothing cannot be shuffled


def test_the_processes_of_a_team_measure_all_examples_between_them(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, float]] = []

    def add(self: Team, counts: dict[str, float]) -> dict[str, float]:
        sent.append(counts)
        return {name: sum(each[name] for each in sent) for name in counts}

    monkeypatch.setattr(Team, "total", add)
    shares = [measured(system, batch_size=2, probes=("shuffled",), team=Team(rank, 2)) for rank in range(2)]
    sent.clear()
    assert shares[1] == pytest.approx(measured(system, batch_size=2, probes=("shuffled",)), rel=1e-9)


# Batches


def many(number: int) -> list[Example]:
    return [Example(question=Question(text="x" * (1 + 7 * i % 11)), answer=str(i)) for i in range(number)]


@pytest.mark.parametrize("number", [1, 2, 3, 7, 8, 9, 33])
@pytest.mark.parametrize("size", [1, 2, 8, 32])
def test_batches_hold_every_example_once_in_near_equal_sizes(number: int, size: int) -> None:
    batches = list(batches_of(many(number), size))
    assert Counter(example.answer for batch in batches for example in batch) == Counter(map(str, range(number)))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == -(-number // size)
    lengths = [len(example.question.text) for batch in batches for example in batch]
    assert lengths == sorted(lengths)
    if size > 2 and number > 1:
        assert min(sizes) > 1


def test_no_examples_make_no_batch() -> None:
    assert list(batches_of([], 4)) == []


def test_the_room_of_dev_heads_holds_the_longest_answer_of_any_round(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms: list[int | None] = []
    init = Heads.__init__

    def note(self: Heads, room: int | None = None) -> None:
        rooms.append(room)
        init(self, room)

    monkeypatch.setattr(Heads, "__init__", note)
    measured(system, [Example(question=EXAMPLES[0].question, answer="b", answers=("a long answer", "b"))])
    assert rooms == [len(backbone("qwen2").encode("a long answer")) + 1]
