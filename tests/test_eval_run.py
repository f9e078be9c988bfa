"""An evaluation: batches, records, resumption after a kill, and the summary that depends on the records alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval_zoo import SUM_TASK as TASK
from rmas.engine import Trace, Turn
from rmas.errors import ConfigError
from rmas.eval.config import EvalConfig
from rmas.eval.record import SAMPLES, SESSIONS, SUMMARY, read_records
from rmas.eval.run import batches, evaluate, evaluate_into
from rmas.eval.summary import majority, summarise
from rmas.eval.task import Sample, Target
from rmas.prompt import Question
from rmas.solver import Answer
from rmas.solvers import EchoSolver

SUMS = [
    Sample(id=f"s{n}", question=Question(text=f"{n} + {n}?" + " " * n), target=Target(answers=(str(2 * n),)))
    for n in range(10)
]


class Adder:
    """Adds; wrong where 3 divides the first number, speechless at 7. Notes which batches it was asked."""

    def __init__(self, *, samples: int = 1, dies_after: int | None = None) -> None:
        self.samples, self.dies_after, self.asked = samples, dies_after, list[list[str]]()

    def solve(self, questions: Sequence[Question]) -> list[Answer]:
        if self.dies_after is not None and len(self.asked) == self.dies_after:
            raise KeyboardInterrupt
        self.asked.append([question.text for question in questions])
        return [self._answer(question, len(questions)) for question in questions]

    def _answer(self, question: Question, company: int) -> Answer:
        number = int(question.text.split()[0])
        right = str(2 * number) if number % 3 else str(2 * number + 1)
        said = tuple("no idea" if number == 7 else right if k % 2 == 0 else "999" for k in range(self.samples))
        turn = Turn(
            round=1, role="solver", verb="speak", tokens_in=5, latent_steps=2, tokens_out=3, seconds=company / 10
        )
        return Answer(samples=said, trace=Trace(turns=(turn,)), finishes=("eos",) * self.samples, prompt=f"p{number}")


def config(**changes: Any) -> EvalConfig:
    return EvalConfig(**{"task": "sums", "batch_size": 4, **changes})


def test_every_sample_is_answered_graded_and_counted() -> None:
    result = evaluate(Adder(), TASK, config(), samples=SUMS)
    assert (result["questions"], result["samples"]) == (10, 10)
    assert result["accuracy"]["mean"] == pytest.approx(0.5)  # 1 2 4 5 8 are right
    assert result["unparsed"] == pytest.approx(0.1)
    assert result["tokens"] == {"prompt_tokens": 5, "latent_steps": 2, "completion_tokens": 3, "sequential_steps": 5}


def test_batches_do_not_depend_on_the_order_of_the_samples() -> None:
    assert batches(SUMS, 4) == batches(SUMS[::-1], 4)
    assert [len(batch) for batch in batches(SUMS, 4)] == [3, 3, 4]  # none is left alone


def test_records_say_what_was_said_and_why(tmp_path: Path) -> None:
    evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
    record = read_records(tmp_path)["s3", 0]
    assert (record.text, record.extracted, record.verdict, record.finish) == ("7", "7", "wrong", "eos")
    assert (record.prompt, record.latent_steps, len(record.turns)) == ("p3", 2, 1)
    assert read_records(tmp_path)["s7", 0].verdict == "unparsed"


@pytest.mark.parametrize("dies_after", [0, 1, 2])
@pytest.mark.parametrize("samples", [1, 3])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_summary(
    tmp_path: Path, dies_after: int, samples: int
) -> None:
    settings = config(samples=samples, temperature=1.0)
    whole = evaluate(Adder(samples=samples), TASK, settings, samples=SUMS)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Adder(samples=samples, dies_after=dies_after), TASK, settings, samples=SUMS, out=tmp_path)
    second = Adder(samples=samples)
    assert evaluate(second, TASK, settings, samples=SUMS, out=tmp_path) == whole
    assert len(second.asked) == 3 - dies_after
    assert len(read_records(tmp_path)) == 10 * samples


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_line_that_a_kill_cut_is_made_again_in_the_company_that_it_had(tmp_path: Path, cut: int) -> None:
    whole = evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
    lines = (tmp_path / SAMPLES).read_bytes()
    (tmp_path / SAMPLES).write_bytes(lines[:-cut])
    second = Adder()
    assert evaluate(second, TASK, config(), samples=SUMS, out=tmp_path) == whole
    assert [len(batch) for batch in second.asked] == [4]  # the last batch, whole
    assert sorted((tmp_path / SAMPLES).read_bytes().splitlines()) == sorted(lines.splitlines())


def test_a_finished_run_asks_nobody(tmp_path: Path) -> None:
    whole = evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
    second = Adder(dies_after=0)
    assert evaluate(second, TASK, config(), samples=SUMS, out=tmp_path) == whole


def test_records_of_other_questions_are_not_gone_on_with(tmp_path: Path) -> None:
    evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
    others = [replace(SUMS[0], target=Target(answers=("77",))), *SUMS[1:]]
    with pytest.raises(ConfigError, match=r"s0 was another question, or had another answer, when it was asked"):
        evaluate(Adder(), TASK, config(), samples=others, out=tmp_path)


def test_records_of_other_links_are_not_gone_on_with(tmp_path: Path) -> None:
    evaluate_into(tmp_path, Adder(), TASK, config(), samples=SUMS, facts={"digest": "aa", "name": "one"})
    evaluate_into(tmp_path, Adder(), TASK, config(), samples=SUMS, facts={"digest": "aa", "name": "two"})
    with pytest.raises(ConfigError, match="its links was aa, now bb"):
        evaluate_into(tmp_path, Adder(), TASK, config(), samples=SUMS, facts={"digest": "bb"})


def test_a_smaller_limit_reads_what_is_there_of_it(tmp_path: Path) -> None:
    evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
    assert evaluate(Adder(dies_after=0), TASK, config(), samples=SUMS[:4], out=tmp_path)["questions"] == 4


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / SAMPLES).write_text('{"id": "s1"}\n')
    with pytest.raises(ConfigError, match=r"samples.jsonl:1: no record .*Delete the line"):
        read_records(tmp_path)


def test_several_samples_have_passes_and_a_majority() -> None:
    result = evaluate(Adder(samples=3), TASK, config(samples=3, temperature=1.0), samples=SUMS)
    assert result["pass_at"]["1"]["mean"] == pytest.approx(5 * (2 / 3) / 10)
    assert result["pass_at"]["2"]["mean"] == pytest.approx(0.5)
    assert result["majority"]["mean"] == pytest.approx(0.5)  # two of three say the right thing


def test_a_majority_is_of_what_was_extracted_and_of_equals_the_first(tmp_path: Path) -> None:
    evaluate(Adder(samples=2), TASK, config(samples=2, temperature=1.0), samples=SUMS, out=tmp_path)
    records = read_records(tmp_path)
    assert majority([records["s1", 0], records["s1", 1]]) is True
    assert majority([records["s1", 1], records["s1", 0]]) is False
    assert majority([records["s7", 0]]) is False


def test_the_summary_of_a_run_folder_holds_what_it_depends_on(tmp_path: Path) -> None:
    summary = evaluate_into(tmp_path, Adder(), TASK, config(), samples=SUMS, facts={"digest": "abc"})
    assert json.loads((tmp_path / SUMMARY).read_text()) == json.loads(json.dumps(summary))
    assert summary["system"] == {"digest": "abc"}
    assert summary["config"]["task"] == "sums"
    assert {"python", "torch", "transformers"} <= summary["versions"].keys()
    (session,) = summary["sessions"]
    assert session["seconds"] >= 0
    assert session["peak_memory_mib"] > 1


def test_every_session_is_noted_finished_or_not(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate_into(tmp_path, Adder(dies_after=1), TASK, config(), samples=SUMS, facts={})
    assert not (tmp_path / SUMMARY).exists()
    assert len(evaluate_into(tmp_path, Adder(), TASK, config(), samples=SUMS, facts={})["sessions"]) == 2
    assert len((tmp_path / SESSIONS).read_text().splitlines()) == 2


def test_records_in_any_order_make_the_same_summary(tmp_path: Path) -> None:
    evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
    records = list(read_records(tmp_path).values())
    assert summarise(records) == summarise(records[::-1])


def test_a_task_may_be_named_and_needs_no_configuration() -> None:
    found = evaluate(EchoSolver(), "reasoning_gym:chain_sum?size=5&seed=1")
    assert (found["questions"], found["accuracy"]["mean"]) == (5, 0.0)


def test_a_solver_that_gives_another_number_of_samples_is_refused() -> None:
    with pytest.raises(ConfigError, match="the solver gives 2 samples a question, the evaluation wants 1"):
        evaluate(Adder(samples=2), TASK, config(), samples=SUMS)


@pytest.mark.parametrize("solver", ["single", "echo"])
def test_a_control_of_messages_that_nobody_sends_is_refused(solver: str) -> None:
    with pytest.raises(ConfigError, match=f"control is noise, but solver {solver} has no messages. Leave it out."):
        config(solver=solver, control="noise")


def test_several_samples_at_temperature_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match="samples is 3 and temperature 0, so all would be alike"):
        config(samples=3)


def test_a_folder_without_room_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match=r"samples.jsonl: cannot be written \(No space left on device\)"):
        evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
