"""Pictures of results: which series the rows make, what stands in the picture, and files that are what they say."""

import struct
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array

from rmas.canvas import FORMATS
from rmas.errors import ConfigError
from rmas.eval.panels import dots_figure, draw_dots, draw_grid, grid_figure
from rmas.eval.plots import draw_lines, draw_measure, lines_figure, spread
from rmas.eval.series import MEASURES, SETTINGS, TRAITS, Series, lines_of, series_of, short_paths

APART = (
    Series(name="latent", x=(1, 2, 3), y=(50, 60, 70), low=(45, 55, 65), high=(55, 65, 75)),
    Series(name="text", x=(1, 2, 3), y=(40, 42, 30), low=(35, 37, 25), high=(45, 47, 35)),
    Series(name="single agent", y=(20,), low=(15,), high=(25,)),
)
TOGETHER = tuple(Series(name=f"run {n}", x=(1, 2, 3), y=(10 * n, 20 * n, 300)) for n in range(8))


def axes_of(series: Sequence[Series], *, from_zero: bool = False) -> Axes:
    (axes,) = lines_figure(series, x_label="x", y_label="y", from_zero=from_zero).axes
    return axes


def row(name: str, rounds: int | None, accuracy: float | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "rounds": rounds, "accuracy": accuracy, **more}


def run(**settings: Any) -> dict[str, Any]:
    """A row as a report has it."""
    plain = {"name": "run", "solver": "recursive", "system": "smol", "control": "none", "rounds": 3, "latent_steps": 4}
    return {**dict.fromkeys(TRAITS), **plain, "samples": 1, "accuracy": 0.5, **settings}


def names(*rows: dict[str, Any]) -> list[str]:
    return [line["name"] for line in lines_of(rows)]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([run(), run(rounds=2)], ["recursive", "recursive"]),
        ([run(), run(solver="single", rounds=None, latent_steps=None)], ["recursive", "single"]),
        ([run(), run(control="shuffled")], ["recursive", "shuffled"]),
        ([run(), run(system="other")], ["smol", "other"]),
        (
            [run(), run(control="zeroed"), run(solver="text", latent_steps=None)],
            ["recursive", "recursive, zeroed", "text"],
        ),
        (
            [run(solver="single"), run(solver="single", samples=10, temperature=0.5), run()],
            ["single", "single, 10 samples", "recursive"],
        ),
        ([run(message_tokens=32), run(message_tokens=64)], ["messages of 32 tokens", "messages of 64 tokens"]),
        ([run(links="3fa9c1"), run(links="aa0012", rounds=2)], ["links 3fa9c1", "links aa0012"]),
        ([run(), run(control="alone"), run(name="m0", latent_steps=0)], ["recursive", "alone", "alone, m0"]),
        ([run(), run(name="again"), run(name="once more")], ["recursive", "recursive, again", "recursive, once more"]),
    ],
)
def test_a_line_is_called_by_what_tells_it_from_the_others(rows: list[dict[str, Any]], told: list[str]) -> None:
    assert names(*rows) == told


@pytest.mark.parametrize("key", TRAITS)
def test_lines_that_differ_in_one_setting_have_unequal_names(key: str) -> None:
    first, second = names(run(**{key: 2}), run(**{key: 3}))
    assert first != second


@pytest.mark.parametrize("against", SETTINGS)
def test_who_has_no_messages_is_a_level(against: str) -> None:
    lines = lines_of([run(), run(control="alone"), run(name="m0", latent_steps=0)])
    assert [bool(line.x) for line in series_of(lines, measure="accuracy", against=against)] == [True, False, False]


def test_text_is_a_line_over_rounds_and_a_level_over_latent_steps() -> None:
    text = [run(solver="text", latent_steps=None, rounds=rounds) for rounds in (1, 2)]
    lines = lines_of([*text, run(rounds=1, latent_steps=8)])
    over = {key: series_of(lines, measure="accuracy", against=key) for key in SETTINGS}
    assert [(line.name, line.x) for line in over["rounds"]] == [("text", (1, 2)), ("recursive", (1,))]
    assert [(line.name, line.x) for line in over["latent_steps"]] == [
        ("text, R = 1", ()),
        ("text, R = 2", ()),
        ("recursive", (8,)),
    ]


@pytest.mark.parametrize(
    ("paths", "short"),
    [
        (["smol"], ["smol"]),
        (["runs/a/outer"], ["outer"]),
        (["runs/a/outer", "runs/b/outer"], ["a", "b"]),
        (["runs/a/system.toml", "runs/b/system.toml"], ["a", "b"]),
        (["smol", "mine/smol.toml", "mine/other.toml"], ["smol", "mine/smol", "mine/other"]),
        (["x", "x/", "y"], ["x", "x/", "y"]),
        ([], []),
    ],
)
def test_systems_are_called_by_the_fewest_parts_that_tell_them_apart(paths: list[str], short: list[str]) -> None:
    found = short_paths(paths)
    assert [found[path] for path in paths] == short


def test_rows_become_a_series_a_name_sorted_by_the_setting() -> None:
    rows = [row("b", 2, 0.5), row("a", 1, 0.25), row("b", 1, 0.125)]
    found = series_of(rows, measure="accuracy", against="rounds", scale=100)
    assert found == [Series(name="b", x=(1, 2), y=(12.5, 50)), Series(name="a", x=(1,), y=(25,))]


def test_a_name_with_several_values_of_the_other_setting_becomes_several_series() -> None:
    rows = [row("a", r, 0.5, latent_steps=m) for m in (4, 16) for r in (1, 2)]
    found = series_of([*rows, row("b", 1, 0.5, latent_steps=4)], measure="accuracy", against="rounds")
    assert [(line.name, line.x) for line in found] == [("a, M = 4", (1, 2)), ("a, M = 16", (1, 2)), ("b", (1,))]
    alone = series_of(rows, measure="accuracy", against="rounds")
    assert [line.name for line in alone] == ["M = 4", "M = 16"]


def test_a_row_without_the_setting_is_a_level_and_one_without_the_measure_is_left_out() -> None:
    rows = [row("a", None, 0.5), row("b", 1, None), row("c", 1, float("nan"))]
    assert series_of(rows, measure="accuracy", against="rounds") == [Series(name="a", y=(0.5,))]


def test_bars_are_the_interval_of_the_rows_where_all_have_one() -> None:
    ends = {"accuracy_low": 0.25, "accuracy_high": 0.75}
    (whole,) = series_of([row("a", r, 0.5, **ends) for r in (1, 2)], measure="accuracy", against="rounds", scale=100)
    assert (whole.low, whole.high) == ((25, 25), (75, 75))
    (partly,) = series_of([row("a", 1, 0.5, **ends), row("a", 2, 0.5)], measure="accuracy", against="rounds")
    assert (partly.low, partly.high) == ((), ())


def test_lines_that_end_apart_are_named_at_their_ends() -> None:
    axes = axes_of(APART)
    assert axes.get_legend() is None
    assert [text.get_text() for text in axes.texts] == ["latent", "text", "single agent"]
    assert [text.xy[1] for text in axes.texts] == [70, 30, 20]  # type: ignore[attr-defined]
    assert len({text.get_color() for text in axes.texts}) == 3


@pytest.mark.parametrize(
    "series", [TOGETHER, [APART[0], Series(name="short", x=(1, 2), y=(1, 2))]], ids=["together", "ends early"]
)
def test_lines_that_cannot_be_named_at_their_ends_have_a_legend(series: Sequence[Series]) -> None:
    axes = axes_of(series)
    legend = axes.get_legend()
    assert legend is not None
    assert not axes.texts
    assert [text.get_text() for text in legend.get_texts()] == [line.name for line in series]


@pytest.mark.parametrize("letters", [5, 19, 20, 21, 30, 42])
def test_a_legend_stays_in_the_picture(letters: int) -> None:
    name = "recursive, untrained, shuffled, 10 samples"[:letters]
    with rc_context({"font.size": 8, "legend.fontsize": 7.5}):
        figure = lines_figure([replace(line, name=name) for line in TOGETHER], x_label="x", y_label="y")
    figure.draw_without_rendering()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert legend.get_window_extent().x1 < figure.bbox.x1
    assert legend.get_window_extent().y1 < figure.bbox.y1


def test_levels_have_their_bars_side_by_side_at_the_right_end() -> None:
    levels = [Series(name=f"{y}", y=(y,), low=(y - 9,), high=(y + 9,)) for y in (20, 21, 22)]
    figure = lines_figure([*APART[:2], *levels], x_label="x", y_label="y")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    bars = [collection for collection in axes.collections if isinstance(collection, LineCollection)][2:]
    places = [bar.get_transform().transform(bar.get_segments()[0])[0, 0] for bar in bars]
    last = axes.transData.transform((3, 0))[0]
    assert last < places[0] < places[1] < places[2] < axes.bbox.x1


def test_one_line_alone_has_no_name() -> None:
    axes = axes_of(APART[:1])
    assert axes.get_legend() is None
    assert not axes.texts


def test_bars_reach_from_low_to_high_and_stay_in_the_picture() -> None:
    axes = axes_of(APART)
    bars = [collection for collection in axes.collections if isinstance(collection, LineCollection)]
    ends = [tuple(segment[:, 1]) for segment in bars[0].get_segments()]
    assert ends == list(zip(APART[0].low, APART[0].high, strict=True))
    low, high = axes.get_ylim()
    assert low < 15
    assert high > 75


def test_no_two_series_share_colour_marker_and_style() -> None:
    lines = axes_of(TOGETHER).get_lines()
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}) == len(TOGETHER)


def test_amounts_start_at_zero_and_shares_do_not() -> None:
    assert axes_of(APART, from_zero=True).get_ylim()[0] == 0
    assert 0 < axes_of(APART).get_ylim()[0] < 15


@pytest.mark.parametrize(
    ("x", "scale"), [((1, 2, 3), "linear"), ((0, 16, 32, 128), "linear"), ((4, 8, 16, 32, 64), "log")]
)
def test_ticks_are_the_values_on_a_scale_that_keeps_them_apart(x: tuple[float, ...], scale: str) -> None:
    axes = axes_of([Series(name="a", x=x, y=x)])
    assert axes.get_xscale() == scale
    assert [text.get_text() for text in axes.get_xticklabels()] == [f"{value:g}" for value in x]


@pytest.mark.parametrize("places", [(), (3.0,), (0, 100), (0, 1), (5, 5, 5), (0, 1, 2, 50, 51), (51, 2, 0, 50, 1)])
def test_names_keep_their_order_and_a_gap_and_move_no_more_than_needed(places: tuple[float, ...]) -> None:
    found = spread(places, gap=10)
    order = sorted(range(len(places)), key=lambda index: places[index])
    gaps = [found[b] - found[a] for a, b in pairwise(order)]
    assert all(gap >= 10 - 1e-9 for gap in gaps)
    assert sum(found) == pytest.approx(sum(places))
    if all(abs(places[b] - places[a]) >= 10 for a, b in pairwise(order)):
        assert found == list(places)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_is_what_its_suffix_says_and_the_same_each_time(tmp_path: Path, suffix: str) -> None:
    first, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (first, again):
        draw_lines(path, APART, x_label="Rounds $R$", y_label="Accuracy (%)", note="Bars: 95 % intervals.")
    data = first.read_bytes()
    assert data == again.read_bytes()
    start = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert data.startswith(start)


def test_a_png_has_200_dots_an_inch_and_the_width_of_a_column(tmp_path: Path) -> None:
    draw_lines(tmp_path / "a.png", APART, x_label="x", y_label="y")
    data = (tmp_path / "a.png").read_bytes()
    assert struct.unpack(">I", data[16:20]) == (680,)
    place = data.index(b"pHYs") + 4
    assert struct.unpack(">IIB", data[place : place + 9]) == (7874, 7874, 1)  # dots a metre


@pytest.mark.parametrize("against", SETTINGS)
@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_is_drawn_against_every_setting(tmp_path: Path, measure: str, against: str) -> None:
    rows = [{"name": "a", against: value, measure: value / 10} for value in (1, 2, 3)]
    draw_measure(tmp_path / "a.svg", rows, measure=measure, against=against)
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path: Path) -> None:
    with rc_context({"font.size": 23.0}):
        draw_lines(tmp_path / "a.svg", APART, x_label="x", y_label="y")
        assert rcParams["font.size"] == 23.0


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    rows = [row("a", 1, 0.5)]
    with pytest.raises(ConfigError, match=r"unknown measure 'acuracy' .* Did you mean 'accuracy'\?"):
        draw_measure(tmp_path / "a.png", rows, measure="acuracy", against="rounds")
    with pytest.raises(ConfigError, match=r"unknown setting 'round' .* Did you mean 'rounds'\?"):
        draw_measure(tmp_path / "a.png", rows, measure="accuracy", against="round")
    with pytest.raises(ConfigError, match="a: two rows with the same rounds"):
        draw_measure(tmp_path / "a.png", [*rows, *rows], measure="accuracy", against="rounds")
    with pytest.raises(ConfigError, match="nothing to draw: no series has a point"):
        draw_measure(tmp_path / "a.png", [row("a", None, 0.5)], measure="accuracy", against="rounds")
    with pytest.raises(ConfigError, match=r"a\.jpg: unknown picture format '\.jpg'"):
        draw_measure(tmp_path / "a.jpg", rows, measure="accuracy", against="rounds")
    with pytest.raises(ConfigError, match=r"a\.png: cannot be written \(No such file"):
        draw_measure(tmp_path / "nowhere" / "a.png", rows, measure="accuracy", against="rounds")
    with pytest.raises(ConfigError, match="series a: x, y, low and high are not equally long"):
        Series(name="a", x=(1, 2), y=(1,))


def test_without_matplotlib_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"plots need the matplotlib package: pip install 'rmas\[eval\]'\."):
        draw_lines(tmp_path / "a.png", APART, x_label="x", y_label="y")


def test_a_grid_names_every_cell_and_marks_those_that_are_missing(tmp_path: Path) -> None:
    cells = {(1, 1): (0.4, 0.02), (1, 3): (0.5, 0.02), (2, 1): (0.25, 0.01)}
    figure = grid_figure(cells, x_label="x", y_label="y")
    (axes,) = figure.axes
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "40.0\n± 2.0", (1, 0): "50.0\n± 2.0", (0, 1): "25.0\n± 1.0", (1, 1): "–"}
    shades = [tuple(to_rgba_array(each.get_facecolor())[0][:3]) for each in axes.collections]
    assert len(set(shades)) == 3
    assert all(max(shade) < 1 for shade in shades)  # white is what is missing
    for name in ("a.png", "b.png"):
        draw_grid(tmp_path / name, cells, x_label="x", y_label="y")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(ConfigError, match="nothing to draw: no cell of the grid is finished"):
        draw_grid(tmp_path / "c.png", {}, x_label="x", y_label="y")


def test_dots_stand_on_the_lines_asked_for_and_the_best_of_a_panel_has_its_number(tmp_path: Path) -> None:
    panels = {"sums": {"b": (0.5, 0.1), "a": (0.25, 0.05)}, "more": {"a": (0.75, 0.02)}}
    lines = ("a", "never", "b")
    sums, more = dots_figure(panels, lines=lines).axes
    assert [label.get_text() for label in sums.get_yticklabels()] == ["a", "b"]  # whom no panel has is left out
    places = [[tuple(np.asarray(line.get_xydata())[0]) for line in axes.lines] for axes in (sums, more)]
    assert places == [[(25.0, 0.0), (50.0, 1.0)], [(75.0, 0.0)]]
    assert sums.get_ylim() == more.get_ylim() == (1.6, -0.8)  # the first line is above
    assert [[text.get_text() for text in axes.texts] for axes in (sums, more)] == [["50.0"], ["75.0"]]
    bar = sums.collections[0]
    assert isinstance(bar, LineCollection)
    (error,) = bar.get_segments()
    assert np.asarray(error)[:, 0].tolist() == pytest.approx([20.0, 30.0])
    for name in ("a.png", "b.png"):
        draw_dots(tmp_path / name, panels, lines=lines)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(ConfigError, match="nothing to draw: no method of the table is finished"):
        draw_dots(tmp_path / "c.png", panels, lines=("never",))
