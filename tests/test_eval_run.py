"""An evaluation: batches, records, resumption after a kill, and the summary that depends on the records alone."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from eval_zoo import SUM_TASK as TASK
from rmas.engine import Trace, Turn
from rmas.errors import ConfigError, QuestionError
from rmas.eval.config import EvalConfig
from rmas.eval.grade import GRADERS, GRADING, Reading, grade
from rmas.eval.judge import Judgement
from rmas.eval.machine import Session
from rmas.eval.record import (
    PACKED,
    SAMPLES,
    SUMMARY,
    note_origin,
    note_session,
    origin_of,
    pack_records,
    read_records,
    read_sessions,
    rewrite_records,
)
from rmas.eval.run import batches, evaluate, evaluate_into
from rmas.eval.statistics import estimate
from rmas.eval.summary import majority, running, summarise
from rmas.eval.task import Format, Sample, Target, load_samples
from rmas.eval.votes import ballots
from rmas.prompt import Question
from rmas.rows import Row
from rmas.solver import Answer
from rmas.solvers import EchoSolver

SUMS = [
    Sample(id=f"s{n}", question=Question(text=f"{n} + {n}?" + " " * n), target=Target(answers=(str(2 * n),)))
    for n in range(10)
]
SHORT = replace(TASK, format="short")
JUDGED = {"judge_url": "https://judge.example/v1", "judge_model": "some-model"}


class Adder:
    """Adds; wrong where 3 divides the first number, speechless at 7. Notes which batches it was asked.

    `tokens`: what each sample takes of three; a message takes four more.
    """

    def __init__(self, *, samples: int = 1, dies_after: int | None = None, tokens: tuple[int, ...] = ()) -> None:
        self.samples, self.dies_after, self.asked, self.tokens = samples, dies_after, list[list[str]](), tokens

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
        message = replace(turn, role="planner", latent_steps=0, tokens_out=4)
        turns = (message, replace(turn, tokens_out=sum(self.tokens))) if self.tokens else (turn,)
        trace = Trace(turns=turns, sample_tokens=self.tokens)
        return Answer(samples=said, trace=trace, finishes=("eos",) * self.samples, prompt=f"p{number}")


class Picky(Adder):
    """Says beforehand that it cannot read the fifth sum."""

    def check(self, questions: Sequence[Question]) -> None:
        for question in questions:
            if question.text.startswith("5"):
                raise QuestionError("it is too long: 3 too many.")


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


def test_a_run_that_grows_keeps_the_batches_that_it_had() -> None:
    few, more = [
        [
            Sample(id=f"s{n}", question=Question(text="?" * (n * 7 % 13 + 1)), target=Target(answers=("",)))
            for n in range(m)
        ]
        for m in (32, 61)
    ]
    assert batches(more, 4)[:8] == batches(few, 4)
    assert all(3 <= len(batch) <= 4 for batch in batches(more, 4))
    assert sorted(sample.id for batch in batches(more, 4) for sample in batch) == sorted(sample.id for sample in more)


@pytest.mark.parametrize(("changes", "asked"), [({}, 6), ({"control": "shuffled"}, 10)])
def test_a_run_that_grows_asks_what_is_missing_and_whole_batches_where_answers_depend_on_them(
    tmp_path: Path, changes: dict[str, Any], asked: int
) -> None:
    evaluate(Adder(), TASK, config(**changes), samples=SUMS[::3], out=tmp_path)
    adder = Adder()
    assert evaluate(adder, TASK, config(**changes), samples=SUMS, out=tmp_path)["questions"] == 10
    assert sum(map(len, adder.asked)) == asked


def test_a_packed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = evaluate(Adder(), TASK, config(), samples=SUMS)
    evaluate(Adder(), TASK, config(), samples=SUMS[:4], out=tmp_path)
    pack_records(tmp_path)
    assert (tmp_path / PACKED).exists()
    assert not (tmp_path / SAMPLES).exists()
    assert len(read_records(tmp_path)) == 4
    assert evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path) == whole
    assert len(read_records(tmp_path)) == 10
    assert not (tmp_path / PACKED).exists()


def test_packing_leaves_out_what_a_kill_left_of_a_line(tmp_path: Path) -> None:
    evaluate(Adder(), TASK, config(), samples=SUMS[:4], out=tmp_path)
    with (tmp_path / SAMPLES).open("ab") as file:
        file.write(b'{"id": "s9", "sam')
    pack_records(tmp_path)
    assert len(read_records(tmp_path)) == 4
    assert evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path) == evaluate(
        Adder(), TASK, config(), samples=SUMS
    )


def test_records_whose_texts_were_taken_out_are_not_graded_anew(tmp_path: Path) -> None:
    evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
    rewrite_records(tmp_path, {key: replace(record, text="") for key, record in read_records(tmp_path).items()})
    note_origin(tmp_path, {"graders": "old"})
    with pytest.raises(ConfigError, match=r"the texts of 9 samples, such as 's0', were taken out"):
        evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)


def test_a_packed_run_that_is_damaged_is_one_line(tmp_path: Path) -> None:
    (tmp_path / PACKED).write_bytes(b"no")
    with pytest.raises(
        ConfigError, match=r"samples\.jsonl\.xz: cannot be read .* Delete it to run its questions again\."
    ):
        read_records(tmp_path)


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
    assert len(read_sessions(tmp_path)) == 2


def test_a_session_is_noted_after_every_batch(tmp_path: Path) -> None:
    noted: list[list[dict[str, Any]]] = []
    evaluate_into(
        tmp_path,
        Adder(),
        TASK,
        config(),
        samples=SUMS,
        facts={},
        report=lambda *_: noted.append(read_sessions(tmp_path)),
    )
    assert [len(sessions) for sessions in noted] == [1, 1, 1]
    seconds = [sessions[0]["seconds"] for sessions in (*noted, read_sessions(tmp_path))]
    assert seconds == sorted(seconds)


def test_sessions_without_a_name_are_sessions_of_their_own(tmp_path: Path) -> None:
    for seconds in (1, 2):
        note_session(tmp_path, {"seconds": seconds})
    for seconds in (3, 4):
        note_session(tmp_path, {"session": "a", "seconds": seconds})
    assert [row["seconds"] for row in read_sessions(tmp_path)] == [1, 2, 4]


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


def test_several_samples_at_temperature_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match="samples is 3 and temperature 0, so all would be alike"):
        config(samples=3)


def test_a_folder_without_room_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match=r"samples.jsonl: cannot be written \(No space left on device\)"):
        evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)


# Tokens and steps


def test_every_sample_bears_its_own_tokens_and_the_first_those_of_messages(tmp_path: Path) -> None:
    settings = config(samples=3, temperature=1.0)
    result = evaluate(Adder(samples=3, tokens=(2, 7, 3)), TASK, settings, samples=SUMS, out=tmp_path)
    records = read_records(tmp_path)
    assert [records["s1", number].completion_tokens for number in range(3)] == [4 + 2, 7, 3]
    assert result["tokens"]["completion_tokens"] == 4 + 2 + 7 + 3


def test_sequential_steps_are_the_turns_with_the_longest_sample_alone() -> None:
    solver, settings = Adder(samples=3, tokens=(2, 7, 3)), config(samples=3, temperature=1.0)
    (answer,) = solver.solve([SUMS[1].question])
    assert answer.trace.sequential_steps == 2 + 4 + 7  # latent steps, message, longest sample
    result = evaluate(solver, TASK, settings, samples=SUMS)
    assert result["tokens"]["sequential_steps"] == answer.trace.sequential_steps


# Questions that do not fit


def test_a_question_that_cannot_be_read_is_named_before_any_is_answered(tmp_path: Path) -> None:
    solver = Picky()
    with pytest.raises(QuestionError, match=r"^sample s5: it is too long: 3 too many\.$"):
        evaluate(solver, TASK, config(), samples=SUMS, out=tmp_path)
    assert solver.asked == []


def test_questions_that_were_answered_are_not_checked_again(tmp_path: Path) -> None:
    whole = evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
    assert evaluate(Picky(), TASK, config(), samples=SUMS, out=tmp_path) == whole


# Figures


def test_the_running_interval_counts_questions_not_samples(tmp_path: Path) -> None:
    evaluate(Adder(), TASK, config(), samples=SUMS, out=tmp_path)
    records = list(read_records(tmp_path).values())
    found = estimate([[float(record.verdict == "correct")] for record in records])
    assert running(records) == {"accuracy": found.mean, "low": found.low, "high": found.high}
    twice = [*records, *(replace(record, sample=1) for record in records)]
    assert running(twice) == running(records)


def test_what_one_question_cannot_tell_is_null(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    summary = evaluate_into(tmp_path, Adder(), TASK, config(), samples=SUMS[:1], facts={})
    stored = json.loads((tmp_path / SUMMARY).read_text(), parse_constant=refuse)
    assert stored["result"] == summary["result"]
    assert stored["result"]["accuracy"]["error"] is None
    assert stored["result"]["smallest_difference"] is None


# The judge


def judge(question: str, text: str, target: Target) -> Judgement:
    assert question.startswith(f"{int(target.answers[0]) // 2} + ")
    return Judgement("correct", f"yes, {text}") if len(text) == 1 else Judgement("wrong", "no")


def test_what_a_judge_says_is_kept_beside_the_strict_verdict(tmp_path: Path) -> None:
    result = evaluate(Adder(), SHORT, config(jobs=3), samples=SUMS, out=tmp_path, judge=judge)
    record = read_records(tmp_path)["s3", 0]
    assert (record.verdict, record.judged, record.judge_reply) == ("wrong", "correct", "yes, 7")
    assert result["judged"]["mean"] == pytest.approx(0.5)  # 0 to 4
    assert result["accuracy"] == evaluate(Adder(), SHORT, config(), samples=SUMS)["accuracy"]


def test_without_a_judge_there_is_no_figure_of_one() -> None:
    assert "judged" not in evaluate(Adder(), SHORT, config(), samples=SUMS)


def test_a_judge_is_refused_where_answers_are_not_short() -> None:
    with pytest.raises(ConfigError, match="judge_model is some-model, but a judge is for short answers, and those of "):
        evaluate(Adder(), TASK, config(**JUDGED), samples=SUMS)


@pytest.mark.parametrize("lacking", JUDGED)
def test_half_a_judge_is_refused(lacking: str) -> None:
    with pytest.raises(ConfigError, match=f"{lacking} is not set: a judge needs judge_url and judge_model"):
        config(**{**JUDGED, lacking: None})


def test_a_url_with_a_password_is_refused_with_the_settings() -> None:
    with pytest.raises(ConfigError, match="judge: the url is not") as caught:
        config(**{**JUDGED, "judge_url": "https://me:secret@judge.example/v1"})
    assert "secret" not in str(caught.value)


def test_another_judge_does_not_go_on_with_a_run(tmp_path: Path) -> None:
    evaluate(Adder(), SHORT, config(), samples=SUMS, out=tmp_path)
    with pytest.raises(ConfigError, match="its judge was none, now some-model"):
        evaluate(Adder(), SHORT, config(**JUDGED), samples=SUMS, out=tmp_path)


def test_verdicts_of_older_graders_are_made_anew_and_nobody_is_asked_again(tmp_path: Path) -> None:
    """The texts stay, and so does all that an answer took; a run that was begun goes on after it."""
    first = evaluate(Adder(samples=3), TASK, config(samples=3, temperature=1.0), samples=SUMS, out=tmp_path)
    path, before = tmp_path / "samples.jsonl", read_records(tmp_path)
    old = [replace(record, verdict="unparsed", extracted=None, ballot=None) for record in before.values()]
    path.write_text("".join(json.dumps(asdict(record)) + "\n" for record in old[:-1]), encoding="utf-8")
    note_origin(tmp_path, {"graders": "1"})
    asked = Adder(samples=3)
    again = evaluate(asked, TASK, config(samples=3, temperature=1.0), samples=SUMS, out=tmp_path)
    assert again == first
    assert read_records(tmp_path) == before
    assert len(asked.asked) == 1  # the batch of the one that was missing
    assert origin_of(tmp_path)["graders"] == GRADING


# Votes


@pytest.mark.parametrize(
    ("format", "texts", "expected"),
    [
        ("number", ["1,234", "7", "1234", "no idea"], ["1,234", "7", "1,234", None]),
        ("number", ["The answer is 0.5", "\\boxed{\\frac{1}{2}}"], ["0.5", "0.5"]),
        ("math", ["\\boxed{(1,2)}", "\\boxed{[1,2]}", "\\boxed{( 1, 2 )}"], ["(1,2)", "[1,2]", "(1,2)"]),
        ("choice", ["B", "The answer is (B)", "Oslo", "C"], ["B", "B", "B", "C"]),
        ("short", ["The Beatles", "Queen", "beatles!"], ["The Beatles", "Queen", "The Beatles"]),
        ("exact", ["a b", "a  b", " a b"], ["a b", "a  b", "a b"]),
        ("code", ["```python\nx = 1\n```"], [None]),
    ],
)
def test_answers_that_would_be_graded_alike_are_one_ballot(
    format: Format, texts: list[str], expected: list[str | None]
) -> None:
    options = ("Rome", "Oslo", "Bern", "Kiev") if format == "choice" else ()
    target = Target(answers=("A",), options=options)
    grades = [grade(text, target, "exact" if format == "code" else format) for text in texts]
    assert ballots(texts, grades, target, format) == expected


def test_comparisons_that_run_into_their_limit_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unsettled(text: str, target: Target) -> Reading:
        asked.append(text)
        return Reading("wrong", text, detail="not settled within 5 s")

    texts = [str(number) for number in range(50)]
    grades = [grade(text, Target(answers=("1",)), "exact") for text in texts]
    monkeypatch.setitem(GRADERS, "math", unsettled)
    assert ballots(texts, grades, Target(), "math") == texts
    assert len(asked) == 3


def test_a_majority_counts_ballots(tmp_path: Path) -> None:
    evaluate(Adder(samples=3), TASK, config(samples=3, temperature=1.0), samples=SUMS, out=tmp_path)
    records = read_records(tmp_path)
    right, wrong = records["s1", 0], records["s1", 1]
    assert (right.ballot, wrong.ballot) == ("2", "999")
    assert majority([wrong, right, replace(right, sample=2, extracted="2.0")]) is True
    assert majority([replace(right, ballot=None), replace(wrong, ballot=None)]) is None


def test_programs_do_not_vote(tmp_path: Path) -> None:
    evaluate(Adder(samples=3), TASK, config(samples=3, temperature=1.0), samples=SUMS, out=tmp_path)
    programs = [replace(record, ballot=None) for record in read_records(tmp_path).values()]
    assert "pass_at" in summarise(programs)
    assert "majority" not in summarise(programs)


# The machine


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A machine with two, and what NVML counts by UUID, in millijoules."""
    counts = {"GPU-u0": 0, "GPU-u1": 0}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"card {device.index}")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: (device.index + 5) * 2**20)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device=None: SimpleNamespace(uuid=f"u{device.index}")
    )
    nvml = SimpleNamespace(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda name: name,
        nvmlDeviceGetTotalEnergyConsumption=lambda name: counts[name],
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return counts


@pytest.mark.parametrize("devices", [(), ("cpu", "cpu")])
def test_a_run_on_the_processor_reports_no_gpu(two_gpus: dict[str, int], devices: tuple[str, ...]) -> None:
    facts = Session(devices).facts()
    assert facts["device"].endswith(" CPU")
    assert facts["peak_memory_mib"] > 6


def test_the_gpu_that_the_models_are_on_is_measured(two_gpus: dict[str, int]) -> None:
    session = Session(("cuda:1", "cuda:1"))
    two_gpus |= {"GPU-u0": 70_000, "GPU-u1": 2_000}
    facts = session.facts()
    assert (facts["device"], facts["peak_memory_mib"], facts["energy_joules"]) == ("card 1", 6, 2.0)


def test_several_gpus_are_measured_together(two_gpus: dict[str, int]) -> None:
    session = Session(("cuda:1", "cuda:0"))
    two_gpus |= {"GPU-u0": 70_000, "GPU-u1": 2_000}
    facts = session.facts()
    assert (facts["device"], facts["peak_memory_mib"], facts["energy_joules"]) == ("card 0, card 1", 11, 72.0)


def test_sessions_report_the_device_of_the_system(tmp_path: Path, two_gpus: dict[str, int]) -> None:
    facts = {"device": {"planner": "cuda:1", "solver": "cuda:1"}}
    (session,) = evaluate_into(tmp_path, Adder(), TASK, config(), samples=SUMS, facts=facts)["sessions"]
    assert session["device"] == "card 1"


# Rows


def test_no_row_is_drawn_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(_: str) -> Iterator[Row]:
        for number in range(3):
            yield Row(f"row {number}", {"question": str(number)})
        raise AssertionError("a fourth row")

    def read(row: Row) -> Sample | None:
        name = row.fields["question"]
        return Sample(id=name, question=Question(text=name), target=Target(answers=(name,))) if name != "0" else None

    monkeypatch.setattr("rmas.eval.task._SOURCES", {"endless": rows})
    task = replace(TASK, source="endless:", read=read)
    assert [sample.id for sample in load_samples(task, limit=2)] == ["1", "2"]
    assert load_samples(task, data="endless: + nowhere.jsonl", limit=2) == load_samples(task, limit=2)
