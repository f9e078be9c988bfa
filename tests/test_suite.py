"""Suites: cells from a file, what fails, what is not done twice, and the tables that come out."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli_runner import rmas
from rmas import weights as weights_module
from rmas.backbone import HFBackbone, tiny_backbone
from rmas.errors import ConfigError
from rmas.eval.paired import mcnemar
from rmas.eval.record import SAMPLES, pack_records, read_records
from rmas.eval.run import evaluate_into
from rmas.eval.tables import NOTHING
from rmas.runfolder import claim_folder
from rmas.sources import Source
from rmas.suite import compare as compare_module
from rmas.suite.config import Cell, load_suite
from rmas.suite.overview import write_overview
from rmas.systemfile import SYSTEMS, load_spec
from rmas.train.config import AgentConfig
from rmas.weights import open_backbone
from suite_zoo import GYM, LESSONS, SOLVER, TASKS, adders, run, suite_of

ROOT = Path(__file__).parent.parent
ONCE = "rounds = 1, latent_steps = 2"
METHODS = f"""
[methods.single]
solver = "single"
system = "tiny"
[methods.recursive]
system = "tiny"
rounds = 1
latent_steps = 2
tasks = ["sums"]
[methods.lora]
solver = "single"
system = "tiny"
train = {{ stage = "agent", data = "{LESSONS}", dev = 2, steps = 2, batch_size = 2, rank = 2 }}
tasks = ["sums"]
[methods.links]
system = "tiny"
train = {{ stage = "outer", data = "{LESSONS}", dev = 0, steps = 2, batch_size = 2, {ONCE} }}
tasks = ["sums"]
[methods.links-r2]
trained = "links"
rounds = 2
tasks = ["sums"]
[methods.text-lora]
solver = "text"
system = "tiny"
answerer = "lora"
rounds = 1
tasks = ["sums"]
"""
CODE = "[tasks.code]\ntask = 'mbpp'\n[methods.a]\nsamples = 2\ntemperature = 1.0\n"
NARROW = "[methods.b]\ntasks = ['more']\n[statements.x]\nbetter = 'a'\nworse = 'b'\ntasks = ['sums', 'more']"
LINKS = f"""
[methods.a]
system = "tiny"
train = {{ stage = "outer", data = "{LESSONS}", dev = 0, steps = 2, batch_size = 2, {ONCE} }}
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_every_cell_is_trained_and_evaluated_and_told(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, f"seeds = [0, 1]\nbatch_size = 4\n{TASKS}{METHODS}")
    assert (len(suite.cells), len(suite.trainings), suite.reference) == (11, 4, "single")
    outcome = run(suite, tmp_path)
    assert outcome.failed == {}
    assert len(outcome.done) == 15
    other = json.loads((tmp_path / "out/runs/sums/links-r2-seed1/summary.json").read_text(encoding="utf-8"))
    assert (other["config"]["rounds"], other["config"]["latent_steps"]) == (2, 2)
    assert other["config"]["system"] == "trained/links-seed1"
    text = json.loads((tmp_path / "out/runs/sums/text-lora-seed0/summary.json").read_text(encoding="utf-8"))
    assert (text["config"]["system"], text["system"]["name"]) == ("tiny", "tiny+lora-seed0")
    summary = json.loads((tmp_path / "out/runs/sums/links-seed1/summary.json").read_text(encoding="utf-8"))
    assert (summary["config"]["rounds"], summary["config"]["latent_steps"]) == (1, 2)
    assert summary["config"]["system"] == "trained/links-seed1"
    trained = json.loads((tmp_path / "out/trained/lora-seed0/trained.json").read_text(encoding="utf-8"))
    assert (trained["stage"], trained["system"], trained["steps"]) == ("agent", "tiny", 2)
    assert trained["parameters"] > 0
    assert trained["tflop"] > 0
    assert trained["examples"] == 4
    write_overview(suite, tmp_path / "out")
    assert {"accuracy.md", "cost.csv", "cost.tex"} <= {file.name for file in (tmp_path / "out/tables").iterdir()}
    costs = (tmp_path / "out/tables/cost.md").read_text(encoding="utf-8")
    assert f"{trained['parameters']:,}" in costs
    assert (
        tmp_path / "out/tables/sums/reasoning_gym_chain_sum_min_terms_2_max_terms_2_max_digits_1_size_12_seed_3.md"
    ).exists()


def test_what_is_finished_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = suite_of(tmp_path, TASKS + METHODS.split("[methods.links]")[0])
    first = run(suite, tmp_path)

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("it was finished")

    for name in ("open_cell", "load_system", "load_samples"):
        monkeypatch.setattr(compare_module, name, never)
    assert run(suite, tmp_path) == first


def test_models_are_loaded_once_for_cells_that_follow_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def spy(source: Source, **how: Any) -> HFBackbone:
        loaded.append(source.name)
        return open_backbone(source, **how)

    monkeypatch.setattr(weights_module, "open_backbone", spy)
    solo = tmp_path / "solo.toml"
    solo.write_text('pattern = "solo"\nprompts = "terse"\n[roles.solver]\nbackbone = "tiny:llama"\n', encoding="utf-8")
    methods = f'[methods.alone]\nsolver = "single"\nsystem = "{solo}"\n[methods.latent]\nsystem = "tiny"\n'
    methods += '[methods.text]\nsolver = "text"\nsystem = "tiny"\nmessage_tokens = 2\n'
    suite = suite_of(tmp_path, f"batch_size = 4\n{TASKS}{methods}")
    assert run(suite, tmp_path).failed == {}
    assert loaded == ["tiny:llama", "tiny:gemma3_text", "tiny:qwen2"]

    def texts(cell: Cell) -> list[str]:
        return [record.text for record in read_records(tmp_path / "out" / cell.folder).values()]

    together = {cell: texts(cell) for cell in suite.cells}
    assert all(together.values())
    shutil.rmtree(tmp_path / "out")
    for cell in suite.cells:  # each with models of its own
        run(suite, tmp_path, only=[f"{cell.task}/{cell.name}"])
        assert texts(cell) == together[cell]


def test_a_suite_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, asked = adders(tmp_path), list[str]()

    def cut(out: Path, *given: Any, **named: Any) -> Any:
        asked.append(out.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return evaluate_into(out, *given, **named)

    monkeypatch.setattr(compare_module, "evaluate_into", cut)
    with pytest.raises(KeyboardInterrupt):
        run(suite, tmp_path)
    assert run(suite, tmp_path).failed == {}
    assert asked == ["adder", "adder", "half", "half", "half"]


def test_a_cell_that_fails_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(SOLVER.replace("self.answer(q.text)", "1 / 0"), encoding="utf-8")
    broken = f'[methods.broken]\nsolver = "{tmp_path}/broken.py"\n'
    train = f'{{ stage = "outer", data = "{tmp_path}/none.jsonl" }}'
    bad = f'[methods.bad]\nsystem = "tiny"\ntrain = {train}\ntasks = ["sums"]\n'
    suite = suite_of(tmp_path, TASKS + broken + bad + '[methods.single]\nsolver = "single"\nsystem = "tiny"\n')
    outcome = run(suite, tmp_path)
    assert outcome.failed.keys() == {"runs/sums/broken", "runs/more/broken", "trained/bad-seed0", "runs/sums/bad-seed0"}
    assert outcome.failed["runs/sums/broken"].startswith("ZeroDivisionError: division by zero (broken.py:")
    assert "none.jsonl: no such file" in outcome.failed["trained/bad-seed0"]
    assert outcome.failed["runs/sums/bad-seed0"] == "trained/bad-seed0 failed, so it has no bundle."
    assert outcome.done == ("runs/sums/single", "runs/more/single")
    assert json.loads((tmp_path / "out/failed.json").read_text(encoding="utf-8")) == outcome.failed
    assert "single" in write_overview(suite, tmp_path / "out")["accuracy"].to_markdown()


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ([], ["sums/adder", "more/adder", "sums/half", "more/half"]),
        (["*/half"], ["sums/half", "more/half"]),
        (["sums/*", "more/half"], ["sums/adder", "sums/half", "more/half"]),
    ],
)
def test_a_part_of_a_suite_is_chosen_by_patterns(tmp_path: Path, only: list[str], expected: list[str]) -> None:
    suite = adders(tmp_path)
    outcome = run(suite, tmp_path, only=only)
    assert [name.removeprefix("runs/") for name in outcome.done] == expected
    assert run(suite, tmp_path).failed == {}


def test_parts_of_a_suite_keep_what_others_tell_of_their_failures(tmp_path: Path) -> None:
    solver, out = tmp_path / "once.py", tmp_path / "out"
    solver.write_text(SOLVER.replace("self.answer(q.text)", "1 / 0"), encoding="utf-8")
    suite = suite_of(tmp_path, f'{TASKS}[methods.once]\nsolver = "{solver}"\n')

    def told(*only: str) -> set[str]:
        run(suite, tmp_path, only=only)
        return set(json.loads((out / "failed.json").read_text(encoding="utf-8")))

    assert told("sums/*") == {"runs/sums/once"}
    assert told("more/*") == {"runs/sums/once", "runs/more/once"}
    shutil.rmtree(out / "runs")  # what was made with another solver file is refused
    solver.write_text(SOLVER, encoding="utf-8")
    assert told("sums/*") == {"runs/more/once"}
    assert told() == set()


def test_a_failure_is_forgotten_as_soon_as_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, out = adders(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "failed.json").write_text('{"runs/sums/adder": "no room", "runs/more/half": "no room"}', encoding="utf-8")

    def cut(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_module, "evaluate_into", cut)
    with pytest.raises(KeyboardInterrupt):
        run(suite, tmp_path, only=["sums/adder"])
    assert set(json.loads((out / "failed.json").read_text(encoding="utf-8"))) == {"runs/more/half"}


def test_a_failure_of_several_lines_is_told_in_one(tmp_path: Path) -> None:
    solver = tmp_path / "talks.py"
    broken = SOLVER.replace("return str(found)", "raise ValueError('one\\n  two')\n        return str(found)")
    solver.write_text(broken, encoding="utf-8")
    outcome = run(suite_of(tmp_path, f'{TASKS}[methods.talks]\nsolver = "{solver}"\n'), tmp_path)
    assert len(outcome.failed) == 2
    assert all(why.startswith("ValueError: one two (") for why in outcome.failed.values())


def test_a_pattern_that_fits_no_cell_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"only: unknown cell 'sums/adders' \(have .*\)\. Did you mean 'sums/adder'\?"
    ):
        run(adders(tmp_path), tmp_path, only=["sums/adders"])
    assert not (tmp_path / "out").exists()


def test_a_cell_grows_with_its_limit_and_asks_only_what_is_new(tmp_path: Path) -> None:
    adders(tmp_path)
    text = (tmp_path / "suite.toml").read_text(encoding="utf-8")
    few = suite_of(tmp_path, text.replace("max_new_tokens = 4", "limit = 4\nmax_new_tokens = 4"))
    assert run(few, tmp_path).failed == {}
    more = suite_of(tmp_path, text.replace("max_new_tokens = 4", "limit = 7\nmax_new_tokens = 4"))
    assert run(more, tmp_path).failed == {}
    for task in ("sums", "more"):
        summary = json.loads((tmp_path / f"out/runs/{task}/half/summary.json").read_text(encoding="utf-8"))
        assert summary["result"]["questions"] == 7
    few = suite_of(tmp_path, text.replace("max_new_tokens = 4", "limit = 4\nmax_new_tokens = 4"))
    problem = "holds 7 questions, limit is 4 now. Raise it, or delete the folder."
    assert problem in run(few, tmp_path).failed["runs/sums/half"]


def test_a_cell_of_another_system_does_not_grow(tmp_path: Path) -> None:
    adders(tmp_path)
    text = (tmp_path / "suite.toml").read_text(encoding="utf-8")
    few = suite_of(tmp_path, text.replace("max_new_tokens = 4", "limit = 4\nmax_new_tokens = 4"))
    assert run(few, tmp_path).failed == {}
    (tmp_path / "half.py").write_text(SOLVER.replace("KIND", "_").replace("HALF", "KIND") + "\n# changed\n")
    failed = run(suite_of(tmp_path, text), tmp_path).failed
    assert failed.keys() == {"runs/sums/half", "runs/more/half"}
    assert "made with another system or bundle than now" in failed["runs/sums/half"]


def test_a_cell_that_was_cut_off_while_it_grew_is_left_out_of_the_tables(tmp_path: Path) -> None:
    suite = adders(tmp_path)
    assert run(suite, tmp_path).failed == {}
    path = tmp_path / "out/runs/sums/half" / SAMPLES
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(json.loads(first) | {"id": "another"}) + "\n")
    write_overview(suite, tmp_path / "out")
    with (tmp_path / "out/tables/accuracy.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert (rows["half"].get("sums"), bool(rows["half"]["more"]), bool(rows["adder"]["sums"])) == ("", True, True)


def test_a_method_with_fewer_questions_is_compared_on_those_that_it_has(tmp_path: Path) -> None:
    adders(tmp_path)
    text = (tmp_path / "suite.toml").read_text(encoding="utf-8")
    suite = suite_of(tmp_path, text.replace("[methods.adder]", "[methods.adder]\nlimit = 5"))
    assert run(suite, tmp_path).failed == {}
    write_overview(suite, tmp_path / "out")
    with (tmp_path / "out/tables/accuracy.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert (rows["adder"]["sums_n"], rows["half"]["sums_n"]) == ("5", "12")
    halves = [json.loads(line) for line in (tmp_path / "out/runs/sums/half/samples.jsonl").read_text().splitlines()]
    asked = {
        json.loads(line)["id"] for line in (tmp_path / "out/runs/sums/adder/samples.jsonl").read_text().splitlines()
    }
    wrong = sum(record["verdict"] != "correct" for record in halves if record["id"] in asked)
    assert float(rows["adder"]["sums_difference"]) == pytest.approx(wrong / 5)


def test_packed_runs_are_read_and_grow_as_plain_ones_do(tmp_path: Path) -> None:
    suite = adders(tmp_path)
    assert run(suite, tmp_path).failed == {}
    tables = write_overview(suite, tmp_path / "out")["accuracy"]
    for cell in suite.cells:
        pack_records(tmp_path / "out" / cell.folder)
    assert not list((tmp_path / "out").rglob(SAMPLES))
    assert write_overview(suite, tmp_path / "out")["accuracy"] == tables
    assert run(suite, tmp_path).failed == {}


def test_the_overview_has_means_errors_and_paired_tests(tmp_path: Path) -> None:
    suite = adders(tmp_path)
    assert run(suite, tmp_path).failed == {}
    write_overview(suite, tmp_path / "out")
    header, *lines = (tmp_path / "out/tables/accuracy.csv").read_text(encoding="utf-8").splitlines()
    adder, half = (dict(zip(header.split(","), line.split(","), strict=True)) for line in lines)
    assert (adder["name"], float(adder["sums"]), float(adder["mean"])) == ("adder", 1.0, 1.0)
    for task in ("sums", "more"):
        n, share = int(float(half[f"{task}_n"])), float(half[task])
        assert 0 < share < 1
        assert float(adder[f"{task}_difference"]) == pytest.approx(1 - share)
        assert float(adder[f"{task}_p"]) == pytest.approx(mcnemar(round(n * (1 - share)), 0))  # signs: the same test
    assert float(half["mean"]) == pytest.approx((float(half["sums"]) + float(half["more"])) / 2)
    assert float(adder["gap"]) == pytest.approx(1 - float(half["mean"]))
    assert half["gap"] == ""


def test_operations_are_two_for_each_weight_that_a_position_meets(tmp_path: Path) -> None:
    llama = tiny_backbone("llama")
    width, vocabulary, wide = 32, llama.vocabulary_size, 64
    attention = width * 32 + 2 * width * 16 + 32 * width  # 4 heads of 8, 2 of them for keys and values
    norms = 2 * width
    layers = 2 * (attention + 3 * width * wide + norms) + width
    assert llama.flops == (2 * layers, 2 * width * vocabulary)
    suite = suite_of(tmp_path, TASKS + '[methods.single]\nsolver = "single"\nsystem = "tiny"\ntasks = ["sums"]\n')
    assert run(suite, tmp_path).failed == {}
    write_overview(suite, tmp_path / "out")
    header, line = (tmp_path / "out/tables/cost.csv").read_text(encoding="utf-8").splitlines()
    row = dict(zip(header.split(","), line.split(","), strict=True))
    position, head = tiny_backbone("qwen2").flops
    read, written = float(row["prompt_tokens"]), float(row["completion_tokens"])
    assert float(row["tflop"]) == pytest.approx(((read + written) * position + written * head) / 1e12)


def test_another_system_under_a_finished_training_is_refused(tmp_path: Path) -> None:
    text = TASKS + "[methods.lora]" + METHODS.split("[methods.lora]")[1].split("[methods.links]")[0]
    run(suite_of(tmp_path, text), tmp_path)
    (tmp_path / "other.toml").write_text((SYSTEMS / "tiny.toml").read_text(encoding="utf-8"), encoding="utf-8")
    outcome = run(suite_of(tmp_path, text.replace('"tiny"', f'"{tmp_path}/other.toml"')), tmp_path)
    assert "trained on tiny, now" in outcome.failed["trained/lora-seed0"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "tasks: none given. Add a table [tasks.NAME]."),
        (TASKS, "methods: none given. Add a table [methods.NAME]."),
        (TASKS + "[methods.a]\nsolver = 'singel'", "methods.a: on sums: unknown solver 'singel'"),
        (TASKS + "[methods.a]\nsystem = 'smoll'", "methods.a: on sums: unknown system 'smoll'"),
        (TASKS + "[methods.a]\nsytem = 'tiny'", "methods.a.sytem: unknown key 'sytem'"),
        (TASKS + "[methods.a]\nrounds = 'three'", "methods.a.rounds: expected a whole number, got 'three'"),
        (TASKS + "[methods.a]\nrounds = 0", "methods.a: on sums: rounds is 0, expected 1 or more."),
        (TASKS + "[methods.a]\ntasks = ['sum']", "methods.a.tasks: unknown task 'sum'"),
        (TASKS + "[methods.a]\ntasks = []", "methods.a.tasks: expected a list of tasks, got []"),
        (TASKS + "[methods.'a b']\n", "methods.a b: its name becomes a folder's"),
        (
            TASKS + "[methods.a]\ntrain = 3",
            "methods.a.train: expected a table with a stage (inner, outer, agent, prompt)",
        ),
        (TASKS + "[methods.a]\ntrain = { stage = 'outer' }", "methods.a.train: names no data."),
        (TASKS + "[methods.a]\ntrain = { stage = 'outer', data = 'x', rank = 1 }", "train.rank: unknown key 'rank'"),
        (TASKS + "[methods.a]\ntrain = { stage = 'agent', data = 'x', rank = 0 }", "rank is 0, expected 1 or more"),
        (TASKS + "[methods.a]\ntrained = 'b'", "methods.a.trained: unknown method that trains 'b'"),
        (TASKS + LINKS + "[methods.b]\nanswerer = 'a'", "methods.b.answerer: a tunes no agent (stage agent)"),
        (TASKS + LINKS + "[methods.b]\ntrained = 'a'\nsystem = 'tiny'", "methods.b.system: its system is what a has"),
        (TASKS + LINKS.replace('system = "tiny"', "trained = 'a'"), "methods.a.trained: a on a: nobody trains first."),
        (TASKS + LINKS + "answerer = 'a'", "methods.a.answerer: the method has train already. Keep one of them."),
        (TASKS + "[methods.a]\nmajority = 1", "methods.a.majority: expected true or false, got 1"),
        (TASKS + "[methods.a]\nmajority = true", "methods.a.majority: on sums a question has one sample"),
        (CODE + "majority = true", "methods.a.majority: programs of code have no majority"),
        (TASKS + "[methods.a]\n[equal]\nlight = 1", "equal.light: unknown key 'light'"),
        (TASKS + "[methods.a]\n[equal]\nseconds = '1'", "equal.seconds: expected a number of 0 or more, got '1'"),
        (TASKS + "[methods.a]\n[equal]\nof = 'b'", "equal.of: unknown method 'b'"),
        (TASKS + "[methods.a]\n[price]\nhour = -1", "price.hour: expected a number of 0 or more, got -1"),
        (TASKS + "[methods.a]\n[statements.x]\nbetter = 'a'", "statements.x.worse: unknown method 'None'"),
        (TASKS + "[methods.a]\n[tables.x]\nshow = ['joy']", "tables.x.show: unknown figure 'joy'"),
        (TASKS + "[methods.a]\n[tables.x]\ntasks = ['mor']", "tables.x.tasks: unknown task 'mor'"),
        (TASKS + "[methods.a]\n[tables.x]\nmethods = ['b']", "tables.x.methods: unknown method 'b'"),
        (TASKS + "[methods.a]\n[tables.x]\nagainst = 3", "tables.x.against: expected a table of methods, got 3"),
        (TASKS + "[methods.a]\n[tables]\nx = 3", "tables.x: expected a table, got 3"),
        (TASKS + "[methods.a]\n[tables.cost]\n", "tables.cost: its name becomes a file's"),
        (TASKS + "[methods.a]\n[tables.x]\ngrid = 'no'", "tables.x.grid: expected true or false, got 'no'"),
        (TASKS + "[methods.a]\n[equal]\nseconds = nan", "equal.seconds: expected a number of 0 or more, got nan"),
        (TASKS + "[methods.a]\nrow = 'b'", "methods.a.row: unknown method 'b'"),
        (TASKS + "[methods.a]\n[rows.b]\nof = 'a'", "rows.b.of: expected a list of methods, got 'a'"),
        (TASKS + "[methods.a]\n[rows.b]\nof = ['c']", "rows.b.of: unknown method 'c'"),
        (TASKS + "[methods.a]\n[rows.a]\nof = ['a']", "rows.a: a method has that name. Give the row another."),
        (TASKS + "[methods.a]\nrow = 5", "methods.a.row: unknown method '5'"),
        (TASKS + "[methods.a]\ntasks = [['sums']]", "methods.a.tasks: unknown task"),
        (TASKS + "[methods.'..']\n", "methods...: its name becomes a folder's"),
        (TASKS + "[methods.a]\ntrain = { stage = ['agent'] }", "methods.a.train: expected a table with a stage"),
        (TASKS + LINKS.replace("dev = 0", "seed = 3"), "methods.a.train.seed: the seeds of a suite say it"),
        (TASKS + "[methods.a]\n[statements.x]\nbetter = 'a'\nworse = 'a'", "statements.x.worse: a cannot be better"),
        (TASKS + "[methods.a]\n" + NARROW, "statements.x.tasks: b is not asked sums. Leave it out, or add it there."),
        ("[tasks.gap]\ntask = 'gsm8k'\n[methods.a]\n", "tasks.gap: the name is a column's of the tables"),
        (TASKS + "[tasks.sums_n]\ntask = 'gsm8k'\n[methods.a]\n", "tasks.sums_n: the name is a column's"),
        ("[tasks.a]\nlimit = 3\n[methods.a]\n", "tasks.a.task: expected a task's name, got None"),
        ("seeds = []\n" + TASKS + "[methods.a]\n", "seeds: expected a list of whole numbers of 0 or more, got []"),
        ("reference = 'b'\n" + TASKS + "[methods.a]\n", "reference: unknown method 'b'"),
        ("tassk = 1\n" + TASKS + "[methods.a]\n", "tassk: unknown key 'tassk'"),
        ("[tasks.a]\ntask = 'gsm9k'\n[methods.a]\n", "methods.a: on a: unknown task 'gsm9k'"),
    ],
)
def test_a_suite_that_does_not_fit_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as told:
        suite_of(tmp_path, text)
    assert problem in str(told.value)
    assert str(told.value).startswith(f"{tmp_path}/suite.toml")
    assert "\n" not in str(told.value)


def test_the_command_prints_the_tables_and_tells_failures_by_its_exit_code(tmp_path: Path) -> None:
    adders(tmp_path)
    arguments = ("compare", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "out"))
    result = rmas(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "4 cells: 0 trainings, 2 methods, 2 tasks" in result.stderr
    assert "less half, points" in result.stdout
    again = rmas(*arguments, "--tables")
    assert again.stdout == result.stdout
    (tmp_path / "adder.py").write_text(SOLVER.replace("self.answer(q.text)", "1 / 0"), encoding="utf-8")
    result = rmas(*arguments[:3], str(tmp_path / "fresh"))
    assert result.exit_code == 2
    assert "runs/sums/adder: ZeroDivisionError" in result.stderr
    assert "2 of 4 failed" in result.stderr


def test_the_status_of_a_suite_is_told_and_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(SOLVER.replace("self.answer(q.text)", "1 / 0"), encoding="utf-8")
    train = f'{{ stage = "outer", data = "{LESSONS}", steps = 9 }}'
    links = f'[methods.links]\nsystem = "tiny"\ntrain = {train}\n'
    adders(tmp_path)
    text = (tmp_path / "suite.toml").read_text(encoding="utf-8") + f'[methods.broken]\nsolver = "{broken}"\n{links}'
    suite = suite_of(tmp_path, text)
    run(suite, tmp_path, only=["*/adder", "sums/broken"])
    out = tmp_path / "out"
    (out / "runs/more/adder/summary.json").unlink()  # as one that was cut off
    shutil.copytree(out / "runs/sums/adder", out / "runs/sums/half")  # another's
    trained = out / "trained/links-seed0"
    trained.mkdir(parents=True)
    claim_folder(trained, suite.trainings[0].config, resume=False)
    (trained / "log.jsonl").write_text('{"step": 3, "event": "step", "loss": 1.0}\n', encoding="utf-8")
    monkeypatch.setattr(compare_module, "compare", None)
    result = rmas("compare", str(tmp_path / "suite.toml"), "--out", str(out), "--status")
    assert result.exit_code == 0, result.stderr
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert lines["trained/links-seed0"] == "begun, 3 of 9 steps"
    assert lines["runs/sums/broken"].startswith("failed, ZeroDivisionError")
    assert lines["runs/sums/half"].startswith("failed, ")
    assert lines["runs/more/adder"] == "begun, 8 samples"
    assert lines["runs/more/half"] == "to do"
    assert lines["runs/sums/links-seed0"] == "to do, waits for trained/links-seed0"
    assert "runs/sums/adder" not in lines
    assert lines["trainings"] == "0 of 1 finished, 1 begun"
    assert lines["cells"] == "1 of 8 finished, 1 begun, 2 failed, 4 to do"


def test_a_question_that_was_trained_on_is_not_asked(tmp_path: Path) -> None:
    tasks = TASKS.split("[tasks.more]")[0]
    train = f'train = {{ stage = "outer", data = "{GYM}&size=9&seed=3", dev = 0, steps = 1, batch_size = 2, {ONCE} }}\n'
    method = f'[methods.a]\nsystem = "tiny"\n{train}'
    outcome = run(suite_of(tmp_path, tasks + method), tmp_path)
    assert "9 of 12 questions of sums stand in the training data of a-seed0" in outcome.failed["runs/sums/a-seed0"]
    outcome = run(suite_of(tmp_path, tasks + f'without = "{GYM}&size=9&seed=3"\n' + method), tmp_path)
    assert outcome.failed == {}
    summary = json.loads((tmp_path / "out/runs/sums/a-seed0/summary.json").read_text(encoding="utf-8"))
    assert summary["result"]["questions"] == 3


def test_settings_of_a_training_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text('data = "x.jsonl"\nsteps = 7\nlr = 0.5\n', encoding="utf-8")
    train = f'train = {{ stage = "agent", config = "{tmp_path}/train.toml", steps = 3 }}\n'
    (training,) = suite_of(tmp_path, f"{TASKS}[methods.a]\nsystem = 'tiny'\n{train}").trainings
    assert isinstance(training.config, AgentConfig)
    assert (training.config.data, training.config.steps, training.config.lr) == ("x.jsonl", 3, 0.5)
    (tmp_path / "train.toml").write_text("stps = 7\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"train\.toml:1: stps: unknown key 'stps'"):
        suite_of(tmp_path, f"{TASKS}[methods.a]\nsystem = 'tiny'\n{train}")


def test_a_training_of_another_design_is_what_its_cells_ask(tmp_path: Path) -> None:
    train = f'{{ stage = "outer", data = "{LESSONS}", dev = 0, steps = 1, batch_size = 2, outer = "constant_linear" }}'
    methods = f'[methods.a]\nsystem = "tiny"\nrounds = 1\ntrain = {train}\ntasks = ["sums"]\n'
    suite = suite_of(tmp_path, f"{TASKS}{methods}")
    assert run(suite, tmp_path).failed == {}
    spec = load_spec(str(tmp_path / "out/trained/a-seed0"))
    assert set(spec.outer.values()) == {"constant_linear"}
    assert len(read_records(tmp_path / "out/runs/sums/a-seed0")) == 12


def test_what_was_made_with_something_else_is_refused_and_left_out_of_the_tables(tmp_path: Path) -> None:
    """A solver's file, a task's settings: a finished cell that is of others is no result of this suite."""
    suite = adders(tmp_path)
    assert run(suite, tmp_path).failed == {}
    (tmp_path / "half.py").write_text((tmp_path / "adder.py").read_text(encoding="utf-8"), encoding="utf-8")
    outcome = run(suite, tmp_path)
    assert outcome.failed.keys() == {"runs/sums/half", "runs/more/half"}
    assert "made with another system or bundle than now" in outcome.failed["runs/sums/half"]
    table = write_overview(suite, tmp_path / "out")["accuracy"]
    assert [row[0].text for row in table.rows if row[2].text != NOTHING] == ["adder"]
    text = (tmp_path / "suite.toml").read_text(encoding="utf-8")
    shorter = suite_of(tmp_path, text.replace("seed=90", "seed=91"))
    outcome = run(shorter, tmp_path)
    assert "task was" in outcome.failed["runs/more/adder"]
    assert "more, %" not in write_overview(shorter, tmp_path / "out")["accuracy"].header


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_bundle_that_was_made_again_or_of_another_system_counts_as_another(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text((SYSTEMS / "tiny.toml").read_text(encoding="utf-8"), encoding="utf-8")
    tasks = TASKS.split("[tasks.more]")[0]
    text = tasks + LINKS.replace('"tiny"', f'"{tmp_path}/own.toml"')
    assert run(suite_of(tmp_path, text), tmp_path).failed == {}
    out = tmp_path / "out"
    shutil.rmtree(out / "trained/a-seed0")
    assert "accuracy" in write_overview(suite_of(tmp_path, text), out)  # the bundle may go, its result stays
    outcome = run(suite_of(tmp_path, text.replace(" steps = 2, batch", " steps = 3, batch")), tmp_path)
    assert "made with another system or bundle" in outcome.failed["runs/sums/a-seed0"]
    shutil.rmtree(out / "runs")
    longer = suite_of(tmp_path, text.replace(" steps = 2, batch", " steps = 3, batch"))
    assert run(longer, tmp_path).failed == {}
    own = (tmp_path / "own.toml").read_text(encoding="utf-8")
    (tmp_path / "own.toml").write_text(own.replace("tiny:qwen2", "tiny:llama"), encoding="utf-8")
    outcome = run(longer, tmp_path)
    assert "was another system when it was trained on" in outcome.failed["trained/a-seed0"]


def test_what_never_began_may_begin_with_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = adders(tmp_path)
    monkeypatch.setattr(compare_module, "open_cell", lambda *_, **__: 1 / 0)
    assert len(run(suite, tmp_path).failed) == 4
    monkeypatch.undo()
    text = (tmp_path / "suite.toml").read_text(encoding="utf-8")
    assert run(suite_of(tmp_path, f"seed = 5\n{text}"), tmp_path).failed == {}


def test_a_folder_may_be_spelled_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = TASKS.split("[tasks.more]")[0]
    suite = suite_of(tmp_path, tasks + LINKS)
    monkeypatch.chdir(tmp_path)
    assert run(suite, Path()).failed == {}

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("it was finished")

    monkeypatch.setattr(compare_module, "open_cell", never)
    assert run(suite, tmp_path).failed == {}


def test_each_seed_has_batches_of_its_own(tmp_path: Path) -> None:
    first, second = suite_of(tmp_path, f"seeds = [0, 1]\n{TASKS}{LINKS}").trainings
    assert [(each.config.seed, each.config.data_seed) for each in (first, second)] == [(0, 0), (1, 1)]


def test_examples_that_a_start_has_seen_are_counted(tmp_path: Path) -> None:
    begun = tmp_path / "constant"
    begun.mkdir()
    (begun / "config.toml").write_text("steps = 7\nbatch_size = 3\n", encoding="utf-8")
    text = LINKS.replace("dev = 0", f'dev = 0, constants = "{begun}"')
    (training,) = suite_of(tmp_path, TASKS + text).trainings
    assert compare_module.examples_before(training) == 21
    (begun / "config.toml").write_text(f'steps = 7\nbatch_size = 3\nconstants = "{begun}2"\n', encoding="utf-8")
    (tmp_path / "constant2").mkdir()
    (tmp_path / "constant2/config.toml").write_text("steps = 1\nbatch_size = 2\n", encoding="utf-8")
    assert compare_module.examples_before(training) == 23


def test_an_item_that_was_trained_on_in_another_form_is_not_asked(tmp_path: Path) -> None:
    deal = "deal:number_sorting?size=6&seed=1&to=planner,critic"
    tasks = f'[tasks.split]\ntask = "{deal}&form=split"\nmax_new_tokens = 4\n'
    outcome = run(suite_of(tmp_path, tasks + LINKS.replace(LESSONS, f"{deal}&form=whole")), tmp_path)
    assert "6 of 6 questions of split stand in the training data" in outcome.failed["runs/split/a-seed0"]


SUITES = sorted((ROOT / "benchmarks").glob("*/suite*.toml"))


@pytest.mark.parametrize("path", SUITES, ids=[path.parent.name for path in SUITES])
def test_a_suite_of_ours_names_what_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    suite = load_suite(path)
    assert suite.cells
    for training in suite.trainings:
        load_spec(training.system)


def test_a_copy_of_ones_own_takes_the_place_of_a_tasks_data(tmp_path: Path) -> None:
    adders(tmp_path)
    lines = [json.dumps({"question": f"What is {n} + 1 =", "answer": str(n + 1)}) for n in (1, 3)]
    (tmp_path / "own.jsonl").write_text("\n".join(lines), encoding="utf-8")
    arguments = ("compare", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "out"))
    result = rmas(*arguments, "--data", f"more={tmp_path}/own.jsonl")
    assert result.exit_code == 0, result.stderr
    summary = json.loads((tmp_path / "out/runs/more/adder/summary.json").read_text(encoding="utf-8"))
    assert (summary["result"]["questions"], summary["result"]["accuracy"]["mean"]) == (2, 1.0)
    for wrong, problem in (
        ("less=x.jsonl", "data: unknown task 'less'"),
        ("more", "data is 'more', expected TASK=PATH"),
    ):
        result = rmas(*arguments, "--data", wrong)
        assert (result.exit_code, problem in result.stderr) == (2, True)


def test_a_missing_suite_is_one_line(tmp_path: Path) -> None:
    result = rmas("compare", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out"))
    assert (result.exit_code, result.stderr) == (2, f"rmas: {tmp_path}/none.toml: no such file. Check the path.\n")
