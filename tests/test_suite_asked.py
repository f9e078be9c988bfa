"""What a suite asks to be told: statements and their verdicts, equal budgets, prices, tables of its own, a grid."""

import csv
import json
import math
import random
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from rmas.errors import ConfigError
from rmas.eval.config import EvalConfig
from rmas.suite import overview as overview_module
from rmas.suite.asked import Layout
from rmas.suite.config import Cell, load_suite
from rmas.suite.layout import dots_of, grid_of, grid_table
from rmas.suite.overview import write_overview
from rmas.suite.pool import Gap, Pooled, gap, sign_p
from rmas.suite.training import Training
from rmas.suite.verdicts import budget_table, statements_table, unequal, verdict
from rmas.train.config import OuterConfig
from suite_zoo import LESSONS, SOLVER, TASKS, adders, run, suite_of

ASKED = """
[price]
hour = 36.0
million_read = 1.0
million_written = 2.0
[statements.more]
says = "all is more than half"
better = "adder"
worse = "half"
[statements.less]
better = "half"
worse = "adder"
tasks = ["sums"]
[statements.none]
better = "adder"
worse = "again"
[tables.both]
says = "Whole and half"
methods = ["half", "adder"]
show = ["accuracy", "tokens", "price"]
against = { adder = "half" }
[tables.one]
tasks = ["more"]
"""
TRAINED = f"""
[methods.r1]
system = "tiny"
train = {{ stage = "outer", data = "{LESSONS}", dev = 0, rounds = 1, latent_steps = 2, batch_size = 2 }}
[methods.r1-r2]
trained = "r1"
rounds = 2
[methods.r2]
system = "tiny"
train = {{ stage = "outer", data = "{LESSONS}", dev = 0, rounds = 2, latent_steps = 2, batch_size = 2 }}
[methods.plain]
solver = "single"
system = "tiny"
[equal]
of = "r1"
trained_parameters = 0.1
sequential_steps = 0.5
[tables.landscape]
methods = ["r1", "r1-r2", "r2", "plain"]
grid = true
"""
LINKS = f"""
[methods.links]
system = "tiny"
train = {{ stage = "outer", data = "{LESSONS}", dev = 0, steps = 2, batch_size = 2, rounds = 1, latent_steps = 2 }}
tasks = ["sums"]
"""


def pooled(*results: float) -> Pooled:
    """What is not trained."""
    return trained({None: results})


def trained(answers: Mapping[int | None, Sequence[float]], label: str = "") -> Pooled:
    """By seed, one result a question, behind the trainings of `label`."""
    told = [{str(i): [x] for i, x in enumerate(results)} for results in answers.values()]
    config, cells = EvalConfig(task="gsm8k"), []
    for seed in answers:
        folder = Path(f"trained/{label}-seed{seed}")
        training = None if seed is None else Training(label, "outer", "tiny", OuterConfig(data="-"), folder)
        cells.append(Cell("m", "m", seed, "t", config, training))
    return Pooled(told, [], cells)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A finished suite of two solvers, one of them twice."""
    adders(tmp_path)
    path = tmp_path / "suite.toml"
    twice = f'[methods.again]\nsolver = "{tmp_path}/adder.py"\n'
    text = path.read_text(encoding="utf-8").replace("size=12", "size=40").replace("size=8", "size=24")
    path.write_text(text + twice + ASKED, encoding="utf-8")
    suite = load_suite(path)
    assert run(suite, tmp_path).failed == {}
    write_overview(suite, tmp_path / "out")
    return tmp_path / "out"


def test_each_statement_has_its_verdict(told: Path) -> None:
    more, less, none = rows_of(told / "tables/statements.csv")
    assert [row["verdict"] for row in (more, less, none)] == ["holds", "does not hold", "cannot be told at this n"]
    accuracy = {row["name"]: row for row in rows_of(told / "tables/accuracy.csv")}
    assert float(more["gap"]) == pytest.approx(float(accuracy["adder"]["gap"]))
    assert (float(none["gap"]), float(none["p_unadjusted"])) == (0.0, 1.0)
    count = int(accuracy["half"]["sums_n"]) + int(accuracy["half"]["more_n"])
    assert (more["tasks"], less["tasks"], int(more["n"])) == ("2", "1", count)
    text = (told / "tables/statements.md").read_text(encoding="utf-8")
    assert "more: all is more than half." in text
    assert "less: half beats adder." in text


def test_a_table_of_its_own_shows_figures_and_gains(told: Path) -> None:
    rows = rows_of(told / "tables/both.csv")
    assert [(row["name"], row["figure"]) for row in rows[:3]] == [
        ("half", "accuracy, %"),
        ("half", "tokens and latents"),
        ("half", "price of 1,000"),
    ]
    adder = rows[3]
    assert adder["sums"].startswith("100.0")
    assert adder["gain"].startswith("+")
    assert rows[4]["gain"] == "1.00×"
    assert rows[4]["mean"] == "4"  # three tokens read, one written
    counts = {task: rows_of(told / "tables/accuracy.csv")[0][f"{task}_n"] for task in ("sums", "more")}
    assert "Whole and half. n: sums {sums}, more {more}.".format(**counts) in (told / "tables/both.md").read_text(
        encoding="utf-8"
    )


def test_the_dots_of_a_table_are_its_accuracies_and_the_mean_of_who_has_all(tmp_path: Path) -> None:
    adders(tmp_path)
    suite = suite_of(tmp_path, (tmp_path / "suite.toml").read_text(encoding="utf-8"))
    layout = Layout("both", "says", ("half", "adder"), ("accuracy",))
    found = {("adder", task): pooled(1, 1, 1, 0) for task in ("sums", "more")} | {("half", "more"): pooled(1, 0)}
    dots = dots_of(suite, layout, found)
    assert {task: {name: mean for name, (mean, _) in of.items()} for task, of in dots.items()} == {
        "sums": {"adder": 0.75},
        "more": {"half": 0.5, "adder": 0.75},
        "mean": {"adder": 0.75},
    }
    assert dots["sums"]["adder"][1] == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    assert dots["mean"]["adder"][1] == pytest.approx((0.75 * 0.25 / 4 / 2) ** 0.5)
    assert dots_of(suite, layout, {}) == {}


def test_a_table_that_shows_accuracy_has_a_picture(told: Path) -> None:
    assert (told / "tables/both.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_may_be_of_some_tasks_alone(told: Path) -> None:
    rows = rows_of(told / "tables/one.csv")
    assert [row["name"] for row in rows] == ["adder", "half", "again"]
    assert "sums" not in rows[0]
    assert [row["mean"] for row in rows] == [row["more"] for row in rows]


def test_a_price_is_that_of_the_machine_and_of_the_tokens(told: Path) -> None:
    for row in rows_of(told / "tables/cost.csv"):
        expected = 1000 * (float(row["seconds"]) * 36 / 3600 + (3 * 1.0 + 1 * 2.0) / 1e6)
        assert float(row["price"]) == pytest.approx(expected)


def test_a_verdict_needs_a_difference_that_is_there() -> None:
    assert verdict(0.1, 0.01) == "holds"
    assert verdict(-0.1, 0.01) == "does not hold"
    assert verdict(0.1, 0.05) == "cannot be told at this n"
    assert verdict(None, None) == "not measured"


def test_a_gap_counts_tasks_alike_whatever_their_size() -> None:
    found = {
        ("a", "x"): pooled(1, 1),
        ("b", "x"): pooled(0, 0),
        ("a", "y"): pooled(0, 1, 0, 1),
        ("b", "y"): pooled(0, 1, 0, 1),
    }
    assert gap(found, "a", "b", ["x", "y"]) == Gap(0.5, 0.0, 0.5)  # of two questions that differ, both in favour
    assert gap(found, "a", "b", ["x", "z"]) is None


def test_a_training_is_compared_with_itself_and_others_with_all_there_are() -> None:
    found = {
        ("twice", "x"): trained({0: [1, 1, 1, 0], 1: [0, 0, 0, 0]}, "links"),
        ("control", "x"): trained({0: [1, 1, 0, 0]}, "links"),
        ("other", "x"): trained({0: [1, 1, 0, 0]}, "another"),
        ("plain", "x"): pooled(1, 0, 0, 0),
    }

    def above(method: str, other: str) -> float:
        difference = gap(found, method, other, ["x"])
        assert difference is not None
        return difference.mean

    assert above("twice", "control") == 0.25
    assert above("control", "twice") == -0.25
    assert above("twice", "other") == 0.375 - 0.5
    assert above("twice", "plain") == 0.375 - 0.25
    assert found["twice", "x"].shares == [0.75, 0.0]


def test_the_p_of_a_gap_is_that_of_all_signs() -> None:
    draw = random.Random(3)
    for _ in range(20):
        parts = [draw.choice([-1, 0, 0.5, 1]) for _ in range(draw.randint(1, 9))]
        totals = [float(np.dot(signs, parts)) for signs in product((-1, 1), repeat=len(parts))]
        expected = sum(abs(total) >= abs(sum(parts)) - 1e-9 for total in totals) / len(totals)
        assert sign_p(parts, 0.1) == pytest.approx(expected)
    many = [draw.choice([-1.0, 1.0, 1.0]) / 400 for _ in range(400)]
    sums = np.random.default_rng(0).choice([-1, 1], (20_000, 400)) @ np.array(many)
    error = float(np.std(many)) * 20
    assert sign_p(many[:60], error) == pytest.approx(2 * NormalDist().cdf(-abs(sum(many[:60])) / error))
    assert sign_p([0.1] * 30, 0.0) == 2.0**-29
    assert sign_p(many, error) < 1e-4 > (np.abs(sums) >= abs(sum(many))).mean()


def test_the_p_of_a_large_gap_is_small_and_not_zero() -> None:
    assert 0 < sign_p([0.01] * 100 + [-0.001] * 100, 0.05) < 1e-60


def test_a_statement_that_nothing_finished_speaks_to_is_not_measured(tmp_path: Path) -> None:
    adders(tmp_path)
    text = (tmp_path / "suite.toml").read_text(encoding="utf-8")
    suite = suite_of(tmp_path, text + '[statements.x]\nbetter = "adder"\nworse = "half"\n')
    table = statements_table(suite, {})
    assert table is not None
    assert table.rows[0][-1].text == "not measured"


def costs_of(suite_methods: Sequence[str], **changes: dict[str, float]) -> dict[tuple[str, str], dict[str, float]]:
    plain = {"trained_parameters": 100.0, "trained_examples": 8.0, "trained_tflop": 1.0, "trained_seconds": 2.0}
    plain |= {"sequential_steps": 10.0, "tflop": 1.0, "seconds": 1.0}
    return {(name, task): plain | changes.get(name, {}) for name in suite_methods for task in ("sums", "more")}


def test_budgets_that_are_not_equal_are_named(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, TASKS + TRAINED)
    costs = costs_of(
        suite.methods, r2={"trained_parameters": 111.0}, plain={"trained_parameters": 0.0, "sequential_steps": 4.0}
    )
    table = budget_table(suite, costs)
    assert table is not None
    assert [row[-1].text for row in table.rows] == [
        "equal",
        "equal",
        "trained numbers 1.11 times",
        "sequential steps 0.40 times",  # nothing is trained, so there are no trained numbers to match
    ]
    del costs["r2", "more"]  # then only the task that both have counts
    costs["r1", "more"] |= {"sequential_steps": 1000.0}
    table = budget_table(suite, costs)
    assert table is not None
    assert table.rows[2][-1].text == "trained numbers 1.11 times"
    assert "r2: trained numbers 1.11 times r1's" in list(unequal(table))
    assert "trained numbers within 10 %, sequential steps within 50 %" in table.to_markdown()


def test_one_task_does_not_pay_for_anothers_budget(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, TASKS + TRAINED)
    costs = costs_of(suite.methods)
    costs["r2", "sums"] |= {"trained_parameters": 80.0}
    costs["r2", "more"] |= {"trained_parameters": 120.0}
    costs["plain", "more"] |= {"trained_parameters": 0.0}  # one task has no training to match
    table = budget_table(suite, costs)
    assert table is not None
    assert [row[-1].text for row in table.rows] == ["equal", "equal", "trained numbers 0.80 to 1.20 times", "equal"]
    assert [row[2].text for row in table.rows[:3]] == ["1.00"] * 3  # on average they are as many
    costs["r2", "more"] |= {"trained_parameters": math.nan}
    table = budget_table(suite, costs)
    assert table is not None
    assert table.rows[2][-1].text == "trained numbers nan times"  # what is not known is not equal


def test_a_budget_can_be_meant_to_equal_another_methods(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, TASKS + TRAINED.replace('of = "r1"', 'of = "r1"\nagainst = { plain = "r2" }'))
    changes = {name: {"trained_parameters": number} for name, number in (("r2", 300.0), ("plain", 310.0))}
    table = budget_table(suite, costs_of(suite.methods, **changes))
    assert table is not None
    assert [(row[0].text, row[-2].text, row[-1].text) for row in table.rows] == [
        ("r1", "r1", "equal"),
        ("r1-r2", "r1", "equal"),
        ("r2", "r1", "trained numbers 3.00 times"),
        ("plain", "r2", "equal"),
    ]
    with pytest.raises(ConfigError, match=r"equal\.against: unknown method 'nobody'"):
        suite_of(tmp_path, TASKS + TRAINED.replace('of = "r1"', 'of = "r1"\nagainst = { r2 = "nobody" }'))


VOTING = """
[methods.vote]
solver = "{folder}/three.py"
samples = 3
temperature = 0.5
{majority}
tasks = ["sums"]
"""


def test_a_majority_counts_once_a_question(tmp_path: Path) -> None:
    """Of three samples two are right where the sum is even, one where it is odd."""
    adders(tmp_path)
    answers = "(s, s, 'x') if int(s) % 2 == 0 else ('x', 'x', s)"
    three = SOLVER.replace("samples=(self.answer(q.text),)", f"samples=[{answers} for s in [self.answer(q.text)]][0]")
    (tmp_path / "three.py").write_text(three, encoding="utf-8")
    half, text = float("nan"), (tmp_path / "suite.toml").read_text(encoding="utf-8")
    for majority, out in (("majority = true", "a"), ("", "b")):
        suite = suite_of(tmp_path, text + VOTING.format(folder=tmp_path, majority=majority))
        (tmp_path / out).mkdir()
        assert run(suite, tmp_path / out).failed == {}
        write_overview(suite, tmp_path / out / "out")
        rows = {row["name"]: row for row in rows_of(tmp_path / out / "out/tables/accuracy.csv")}
        half = float(rows["half"]["sums"])
        expected = half if majority else half * 2 / 3 + (1 - half) / 3
        assert float(rows["vote"]["sums"]) == pytest.approx(expected)
    assert 0 < half < 1


def test_the_seeds_that_are_finished_are_told_together_and_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two finished trainings of three: one answers as `adder` does, the other as `half`."""
    assert run(adders(tmp_path), tmp_path).failed == {}
    out, text = tmp_path / "out", (tmp_path / "suite.toml").read_text(encoding="utf-8")
    suite = suite_of(tmp_path, f"seeds = [0, 1, 2]\n{text}{LINKS}")
    first, second, third = (cell for cell in suite.cells if cell.label == "links")
    for cell, solver in ((first, "adder"), (third, "half")):
        shutil.copytree(out / "runs/sums" / solver, out / cell.folder)
    done = [cell for cell in suite.cells if cell != second]
    monkeypatch.setattr(overview_module, "standing_cells", lambda *_: (done, {}))
    tables = write_overview(suite, out)
    adder, half, links = rows_of(out / "tables/accuracy.csv")
    assert (adder["seeds"], links["seeds"]) == ("1", "2")
    assert float(links["sums"]) == pytest.approx((1 + float(half["sums"])) / 2)
    share, (row,) = float(half["sums"]), rows_of(out / "tables/seeds.csv")
    assert row == {"name": "links", "sums": f"100.0, {100 * share:.1f}"}
    assert f"one method: {100 * (1 - share) / math.sqrt(2):.1f} points, over 1 cell; the" in tables["seeds"].notes[0]
    done.remove(third)
    assert "seeds" not in write_overview(suite, out)


def test_a_row_may_have_another_system_for_another_task(tmp_path: Path) -> None:
    adders(tmp_path)
    path = tmp_path / "suite.toml"
    text = path.read_text(encoding="utf-8").replace("[methods.half]\n", '[methods.half]\ntasks = ["sums"]\n')
    text += f'[methods.other]\nrow = "half"\ntasks = ["more"]\nsolver = "{tmp_path}/adder.py"\n'
    suite = suite_of(tmp_path, text)
    assert suite.methods == ("adder", "half")
    assert {str(cell.folder) for cell in suite.cells if cell.method == "half"} == {"runs/sums/half", "runs/more/other"}
    assert run(suite, tmp_path).failed == {}
    write_overview(suite, tmp_path / "out")
    adder, half = rows_of(tmp_path / "out/tables/accuracy.csv")
    assert float(half["sums"]) < 1.0 == float(half["more"]) == float(adder["more"])
    assert half["mean"] != ""
    with pytest.raises(ConfigError, match=r"methods\.other\.tasks: more has row half from half already"):
        suite_of(tmp_path, text.replace('[methods.half]\ntasks = ["sums"]\n', "[methods.half]\n"))


def test_a_row_made_of_others_has_the_last_ones_cell_and_asks_nothing_more(tmp_path: Path) -> None:
    adders(tmp_path)
    path = tmp_path / "suite.toml"
    text = path.read_text(encoding="utf-8").replace("[methods.half]\n", '[methods.half]\ntasks = ["sums"]\n')
    text += '[rows.best]\nof = ["half", "adder"]\n[rows.worst]\nof = ["adder", "half"]\n'
    text += '[statements.order]\nsays = "it counts"\nbetter = "best"\nworse = "worst"\n'
    suite = suite_of(tmp_path, text)
    assert suite.methods == ("adder", "half", "best", "worst")
    assert len(suite.cells) == 3
    assert run(suite, tmp_path).failed == {}
    write_overview(suite, tmp_path / "out")
    rows = {row["name"]: row for row in rows_of(tmp_path / "out/tables/accuracy.csv")}
    assert (rows["best"]["sums"], rows["best"]["more"]) == (rows["adder"]["sums"], rows["adder"]["more"])
    assert (rows["worst"]["sums"], rows["worst"]["more"]) == (rows["half"]["sums"], rows["adder"]["more"])
    assert rows["adder"]["sums_p"] == rows["adder"]["sums_p_unadjusted"] == rows["best"]["sums_p"] != ""  # one test
    assert rows["worst"]["sums_p"] == ""  # the reference itself
    (order,) = rows_of(tmp_path / "out/tables/statements.csv")
    assert float(order["gap"]) == pytest.approx((float(rows["adder"]["sums"]) - float(rows["half"]["sums"])) / 2)


def test_dev_accuracy_chooses_among_rows_seed_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equal dev accuracies the lower loss counts; where one is not finished the other stands; the cells of the first
    answer as `adder` does, those of the second as `half`."""
    assert run(adders(tmp_path), tmp_path).failed == {}
    out, text = tmp_path / "out", (tmp_path / "suite.toml").read_text(encoding="utf-8")
    links = LINKS.replace("dev = 0", "dev = 2")
    text = f"seeds = [0, 1, 2]\n{text}{links}{links.replace('methods.links', 'methods.others')}"
    suite = suite_of(tmp_path, text + '[rows.best]\nof = ["links", "others"]\nby = "dev"\n')
    assert suite.methods[-1] == "best"
    done = [cell for cell in suite.cells if cell.name != "others-seed2"]
    dev = {
        "links-seed0": (0.5, 2.0),
        "others-seed0": (0.75, 3.0),
        "links-seed1": (0.5, 1.0),
        "others-seed1": (0.5, 2.0),
    }
    for cell in (cell for cell in done if cell.training is not None):
        assert cell.training is not None
        accuracy, loss = dev.get(cell.name, (1.0, 0.0))
        shutil.copytree(out / "runs/sums" / ("adder" if cell.label == "links" else "half"), out / cell.folder)
        (out / cell.training.folder).mkdir(parents=True)
        facts = {"dev_accuracy": accuracy, "dev_loss": loss}
        (out / cell.training.folder / "trained.json").write_text(json.dumps(facts), encoding="utf-8")
    monkeypatch.setattr(overview_module, "standing_cells", lambda *_: (done, {}))
    tables = write_overview(suite, out)
    rows = {row["name"]: row for row in rows_of(out / "tables/accuracy.csv")}
    half = float(rows["half"]["sums"])
    assert rows["best"]["seeds"] == "3"
    assert float(rows["best"]["sums"]) == pytest.approx((half + 2) / 3)
    seeds = {row["name"]: row["sums"] for row in rows_of(out / "tables/seeds.csv")}
    assert seeds["best"] == f"{100 * half:.1f}, 100.0, 100.0"
    assert "over 2 cells" in tables["seeds"].notes[0]  # its own are of two kinds
    done = [cell for cell in done if cell.training is None or cell.name in ("links-seed1", "others-seed0")]
    assert "seeds" not in write_overview(suite, out)  # no method has two trainings


def test_dev_chooses_none_that_has_no_dev_accuracy(tmp_path: Path) -> None:
    adders(tmp_path)
    text = (tmp_path / "suite.toml").read_text(encoding="utf-8") + LINKS
    for of, why in (("links", "links"), ("adder", "adder")):
        with pytest.raises(ConfigError, match=rf"rows\.best\.of: {why} has no dev accuracy to be chosen by"):
            suite_of(tmp_path, f'{text}[rows.best]\nof = ["{of}"]\nby = "dev"\n')
    with pytest.raises(ConfigError, match=r'rows\.best\.by: expected "dev", got .test.'):
        suite_of(tmp_path, f'{text}[rows.best]\nof = ["adder"]\nby = "test"\n')


def test_the_grid_is_training_rounds_by_rounds(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, TASKS + TRAINED)
    (layout,) = suite.asked.layouts
    found = {(name, task): pooled(1, 0, 0, 0) for name in ("r1", "plain") for task in ("sums", "more")}
    found |= {("r1-r2", task): pooled(1, 1, 0, 0) for task in ("sums", "more")}
    found |= {("r2", "sums"): pooled(1, 1, 1, 1)}  # its other task is not finished
    assert [suite.place(name) for name in ("r1", "r1-r2", "r2", "plain")] == [(1, 1), (1, 2), (2, 2), None]
    grid = grid_of(suite, layout, found)
    assert {place: mean for place, (mean, _) in grid.cells.items()} == {(1, 1): 0.25, (1, 2): 0.5}
    assert "R = 2, %" in grid_table(layout, grid).to_markdown()


def test_a_grid_is_over_the_tasks_that_all_of_it_have(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, TASKS + TRAINED.replace('trained = "r1"\n', 'trained = "r1"\ntasks = ["more"]\n'))
    (layout,) = suite.asked.layouts
    found = {(name, "more"): pooled(1, 0) for name in ("r1", "r1-r2", "r2")}
    found |= {(name, "sums"): pooled(1, 1) for name in ("r1", "r2")}
    assert {mean for mean, _ in grid_of(suite, layout, found).cells.values()} == {0.5}
    with pytest.raises(ConfigError, match="two of them have the same rounds in training and after"):
        suite_of(tmp_path, TASKS + TRAINED.replace('trained = "r1"\nrounds = 2', 'trained = "r1"\nrounds = 1'))
