"""Figures of made-up runs: their points, the front, the files, no text upon another."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from sip.core.errors import UserError
from sip.core.paths import conf_folder
from sip.tables.__main__ import task
from sip.tables.figures import COLOURS, MARKERS, draw, make
from sip.tables.points import Figure, Point, front, points
from sip.tables.query import select_runs
from sip.tables.sheet_page import head
from sip.tables.sheets import Sheet, SheetCell, SheetGrid
from sip.tables.statistics import Estimate
from tests.composing import composed
from tests.tables.made_up import write_arms, write_run

FIGURES = sorted(file.stem for file in (conf_folder() / "figure").glob("*.yaml"))
FIGURES = [name for name in FIGURES if name not in ("sheet", "forest")]  # tests of their own
WHERE = {
    "noise_rate": "+figure.where.dataset=rates",
    "noise_x_guidance": "+figure.where.dataset=grid",
    "tradeoff": "+figure.where.dataset=grid",
    "guidance": "+figure.where.dataset=rules",
    "shots": "+figure.where.dataset=shots",
    "cost": "+figure.where.dataset=arms",
    "per_sample": "+figure.where.dataset=sets",
}


def figure_of(*overrides: str) -> Figure:
    """Return the figure of a command line."""
    return Figure.of(composed(*overrides, name="tables").figure)


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return runs for all figures; each has its own made-up data set."""
    folder = tmp_path_factory.mktemp("figures")
    write_arms(folder, {"none": 0.68, "sip": 0.72}, 3, dataset="rates")
    for rate in (0.3, 0.7, 0.9):
        config = {"prompts.noise_rate": rate}
        write_arms(folder, {"sip": 0.76 - 0.1 * rate}, 3, dataset="rates", config=config)
    for scale in (1.0, 3.0, 7.5):
        for rate in (0.3, 0.5, 0.7, 0.9):
            config = {"prompts.noise_rate": rate, "prompts.guidance.scale": scale}
            metrics = {"generated/diversity_original": 0.2 * rate + 0.01 * scale}
            arms = {"sip": 0.8 - 0.1 * rate**2 - 0.005 * scale}
            write_arms(folder, arms, 3, dataset="grid", config=config, metrics=metrics)
        config = {"prompts.guidance.scale": scale}
        chosen = {"prompts/guidance": "constant"}
        arms = {"sip": 0.7 - 0.01 * scale}
        write_arms(folder, arms, 3, dataset="rules", config=config, choices=chosen)
    write_arms(folder, {"sip": 0.72}, 3, dataset="rules", choices={"prompts/guidance": "quadratic"})
    for shots in (1, 2, 4, 8, 16):
        arms = {"none": 0.4 + 0.1 * np.log2(shots), "sip": 0.5 + 0.08 * np.log2(shots)}
        for backbone in ("resnet50", "clip_vit"):
            config = {"dataset.shots": shots}
            write_arms(folder, arms, 3, dataset="shots", config=config, backbone=backbone)
    for num in (1, 2, 4, 8):
        config = {"images.per_sample": num}
        write_arms(folder, {"sip": 0.7 + 0.01 * num}, 3, dataset="sets", config=config)
    names = [file.stem for file in (conf_folder() / "augmentation").glob("*.yaml")]
    arms = {name: 0.3 + 0.01 * n for n, name in enumerate(sorted(names))}
    write_arms(folder, arms, 3, dataset="arms")
    return folder


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_upon_another_or_outside(
    runs_folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes: list[tuple[str, Bbox]] = []
    draw_text = Text.draw

    def note(self: Text, renderer: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            boxes.append((self.get_text(), self.get_window_extent(renderer)))
        draw_text(self, renderer)

    figure = figure_of(f"figure={name}", WHERE[name])
    canvas = make(points(select_runs(runs_folder, (), figure.where), figure), figure)
    monkeypatch.setattr(Text, "draw", note)
    FigureCanvasAgg(canvas).draw()
    assert len(boxes) > 8
    legend = canvas.legends[0].get_window_extent()
    inside_legend = {text.get_text() for text in canvas.legends[0].get_texts()}
    for text, box in boxes:
        assert text in inside_legend or not box.overlaps(legend), f"{text!r} lies upon the legend"
    width, height = canvas.get_size_inches() * canvas.dpi
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text!r} is cut off"
    for (one, box), (other, other_box) in combinations(boxes, 2):
        assert not box.overlaps(other_box), f"{one!r} lies upon {other!r}"


def test_files_are_a_pdf_and_a_png(runs_folder: Path, tmp_path: Path) -> None:
    figure = figure_of("figure=noise_rate", WHERE["noise_rate"])
    files = draw(select_runs(runs_folder, (), figure.where), figure, tmp_path / "out" / "a.b")
    assert [file.name for file in files] == ["a.b.pdf", "a.b.png"]
    assert files[0].read_bytes().startswith(b"%PDF")
    with Image.open(files[1]) as image:
        assert len(image.getcolors(2**24) or []) > 10
    again = draw(select_runs(runs_folder, (), figure.where), figure, tmp_path / "again")
    assert again[0].read_bytes() == files[0].read_bytes()


def test_points_and_intervals_lie_within_the_axes_and_next_to_each_other(runs_folder: Path) -> None:
    shape = figure_of("figure=noise_x_guidance", "+figure.where.dataset=grid")
    found = points(select_runs(runs_folder, (), shape.where), shape)
    canvas = make(found, shape)
    FigureCanvasAgg(canvas).draw()
    (axis,) = canvas.axes
    for point in found:
        half = point.y.half_width or 0
        assert point.x is not None and axis.get_xlim()[0] < point.x < axis.get_xlim()[1]
        low, high = axis.get_ylim()
        assert low <= point.y.mean - half and point.y.mean + half <= high
    shown = [line for line in axis.lines if line.get_marker() in MARKERS and len(line.get_xdata())]
    places = {line.get_transform().transform((0.5, 0.7))[0] for line in shown}
    assert len(places) == len({point.series for point in found}) == 3


def test_what_has_no_x_is_a_level_line(runs_folder: Path) -> None:
    figure = figure_of("figure=noise_rate", WHERE["noise_rate"])
    found = points(select_runs(runs_folder, (), figure.where), figure)
    assert [(p.series, p.x) for p in found] == [
        ("none", None),
        *(("sip", rate) for rate in (0.3, 0.5, 0.7, 0.9)),
    ]
    assert found[0].y.num == 3 and found[0].y.half_width
    figure = figure_of("figure=guidance", WHERE["guidance"])
    found = points(select_runs(runs_folder, (), figure.where), figure)
    assert [p.series for p in found if p.x is None] == ["sip, guidance quadratic"]


def test_a_metric_on_x_is_a_mean_over_seeds(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "sip", seed, metrics={"generated/diversity_original": 0.1 * seed})
    figure = figure_of("figure=tradeoff")
    (point,) = points(
        select_runs(tmp_path),
        figure_of("figure=tradeoff", "figure.points=augmentation", "figure.series=augmentation"),
    )
    assert point.x == pytest.approx(0.1)
    assert figure.pareto == "max"


@pytest.mark.parametrize(("most", "scale"), [(40.0, "linear"), (60.0, "log")])
def test_seconds_within_a_factor_of_five_are_on_a_linear_axis(
    tmp_path: Path, most: float, scale: str
) -> None:
    write_run(tmp_path, "none", 0, metrics={"toy/seconds": 10.0})
    write_run(tmp_path, "sip", 0, metrics={"toy/seconds": most})
    figure = figure_of("figure=cost", "figure.x=toy/seconds")
    canvas = make(points(select_runs(tmp_path), figure), figure)
    FigureCanvasAgg(canvas).draw()
    (axis,) = canvas.axes
    assert axis.get_xscale() == scale
    labels = [label.get_text() for label in axis.get_xticklabels() if label.get_text()]
    assert len(labels) > 1


def test_zero_keeps_the_linear_axis(tmp_path: Path) -> None:
    for arm, seconds in {"none": 0.0, "sip": 5.0, "sip_cutmix": 60.0}.items():
        write_run(tmp_path, arm, 0, metrics={"toy/seconds": seconds})
    figure = figure_of("figure=cost", "figure.x=toy/seconds")
    (axis,) = make(points(select_runs(tmp_path), figure), figure).axes
    assert axis.get_xscale() == "linear"
    figure = figure_of("figure=cost", "figure.x=prompts.noise_rate", "+figure.where.seed=0")
    write_run(tmp_path / "level", "none", 0)
    write_run(tmp_path / "level", "sip", 0, backbone="vit")
    make(points(select_runs(tmp_path / "level"), figure), figure)  # a panel of level lines only


def test_diverged_and_unmeasured_runs_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = tmp_path / "runs"
    for seed, value in enumerate([0.5, float("inf"), 1.5]):
        write_run(runs, "sip", seed, metrics={"test/nll": value})
    write_run(runs, "sip", 3)  # of an older version
    figure = figure_of("figure=noise_rate", "figure.y=test/nll")
    (point,) = points(select_runs(runs), figure)
    assert (point.y.mean, point.y.num) == (pytest.approx(1.0), 2)
    where = [f"runs={runs}", f"output={tmp_path}/figure.png"]
    for more in (["figure=noise_rate", "figure.y=test/nll"], ["table.value=test/nll"]):
        task(composed(*where, *more, name="tables"))
        text = "".join(capsys.readouterr())
        assert "Diverged, test negative log-likelihood is not a number, and left out: 1 run" in text
        assert "Without test negative log-likelihood, and left out: 1 run (resnet50-sip-" in text
        assert f"; python -m sip.evaluate runs={runs} computes all metrics that" in text


def test_a_value_of_zero_is_a_place_on_the_axis(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_run(tmp_path / "runs", "sip", 0, config={"prompts.label_weight": 0.0})
    shape = ["figure=noise_rate", "figure.x=prompts.label_weight", f"output={tmp_path}/a.png"]
    task(composed(f"runs={tmp_path}/runs", *shape, name="tables"))
    assert capsys.readouterr().out == f"figure: {tmp_path}/a.png\n"


def at(x: float, y: float) -> Point:
    """Return a point."""
    return Point("", "", x, Estimate(y, None, 1), f"{x},{y}")


@pytest.mark.parametrize("better", ["max", "min"])
def test_the_front_is_what_no_point_beats(better: str) -> None:
    rng = np.random.default_rng(0)
    found = [at(*xy) for xy in rng.integers(0, 8, (60, 2)).tolist()]
    sign = 1 if better == "max" else -1
    xs = np.array([sign * (p.x or 0) for p in found])
    ys = np.array([p.y.mean for p in found])
    expected = [
        not np.any((xs >= x) & (ys >= y) & ((xs > x) | (ys > y)))
        for x, y in zip(xs, ys, strict=True)
    ]
    chosen = front(found, better)  # type: ignore[arg-type]
    assert sorted(p.name for p in chosen) == sorted(
        p.name for p, keep in zip(found, expected, strict=True) if keep
    )


@pytest.mark.parametrize(("xs", "is_named"), [((0.1, 0.2), True), ((0.2,), False)])
def test_a_front_of_one_point_is_no_line_and_not_in_the_legend(xs: Any, is_named: bool) -> None:
    found = [at(x, 1 - x) for x in xs]
    (legend,) = make(found, figure_of("figure=tradeoff")).legends
    assert ("Pareto front" in [text.get_text() for text in legend.get_texts()]) == is_named


def test_series_name_all_that_differs(tmp_path: Path) -> None:
    for shots in (1, 2):
        write_run(tmp_path, "sip", 0, config={"dataset.shots": shots})
    found = points(select_runs(tmp_path), figure_of("figure=noise_rate"))
    assert [point.series for point in found] == ["sip, shots 1", "sip, shots 2"]


def test_two_runs_of_one_point_with_equal_settings_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "sip", 0)
    write_run(tmp_path, "sip", 0, ids="other")
    with pytest.raises(UserError, match="two runs of resnet50 × sip × 0.5, seed 0, have equal"):
        points(select_runs(tmp_path), figure_of("figure=noise_rate"))


def test_words_on_x_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "sip", 0)
    with pytest.raises(UserError, match="figure.x: prompts must have numbers, got 'label_caption'"):
        points(select_runs(tmp_path), figure_of("figure=noise_rate", "figure.x=prompts"))


def test_colours_stay_apart_for_the_colour_blind() -> None:
    # Machado et al. 2009, full deuteranopia and protanopia, on linear RGB.
    deutan = "0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 -0.011820 0.042940 0.968881"
    protan = "0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 -0.003882 -0.048116 1.051998"
    blind = [np.array(text.split(), float).reshape(3, 3) for text in (deutan, protan)]
    rgb = np.array([[int(c[n : n + 2], 16) / 255 for n in (1, 3, 5)] for c in COLOURS])
    for matrix in blind:
        seen = np.clip(rgb**2.2 @ matrix.T, 0, 1) ** (1 / 2.2)
        for one, other in combinations(range(len(COLOURS)), 2):
            assert np.linalg.norm(seen[one] - seen[other]) > 0.12, (COLOURS[one], COLOURS[other])


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        ([], "test top-1, %"),
        (["figure.y=val/top1"], "validation top-1, %"),
        (["figure.y=test/mean_per_class"], "test mean per class, %"),
        (["figure.y_label=mine"], "mine"),
    ],
)
def test_the_y_axis_names_its_metric(overrides: list[str], label: str) -> None:
    assert figure_of("figure=tradeoff", *overrides).y_label == label


def test_a_setting_that_plays_no_part_is_no_place_on_an_axis(tmp_path: Path) -> None:
    sheet = Sheet.of(composed("figure=sheet", name="tables").figure)
    unread = {"txt2img": ("noise_rate",), "retrieved": ("guidance_scale", "noise_rate")}
    scale = {"prompts.guidance.scale": 3.0}
    for arm, facts in unread.items():
        write_run(tmp_path, f"sip_{arm}", 0, config=scale, unread=facts)
    write_run(tmp_path, "sip", 0, config=scale)
    runs = {run.summary.augmentation: run for run in select_runs(tmp_path)}
    assert {name: sheet.setting_of(run) for name, run in runs.items()} == {
        "sip": ("noise rate 0.5", "3"),
        "sip_txt2img": ("sip_txt2img", "3"),
        "sip_retrieved": ("sip_retrieved", ""),
    }
    rate, guidance = "prompts.noise_rate", "prompts/guidance"
    assert [runs["sip"].value(rate), runs["sip_txt2img"].value(rate)] == [0.5, None]
    assert not runs["sip_txt2img"].is_unread(guidance) and runs["sip_retrieved"].is_unread(guidance)
    levels = {p.series: p.x for p in points(runs.values(), figure_of("figure=noise_rate"))}
    assert levels == {"sip": 0.5, "sip_txt2img": None, "sip_retrieved": None}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("figure.outer=null", "figure.outer: must be a valid string, got null"),
        ("figure.seed=first", "figure.seed: must be a valid integer, .*, got 'first'"),
        ("figure.title=[a]", "figure.title: must be a valid string, got "),
        ("figure.originals=0", "figure.originals: must be a whole number >= 1, got 0"),
        ("figure.orignals=2", "figure.orignals: no such key; did you mean originals"),
    ],
)
def test_a_wrong_value_of_a_sheet_is_one_line(override: str, message: str) -> None:
    override = f"+{override}" if "orignals" in override else override
    with pytest.raises(UserError, match=message):
        Sheet.of(composed("figure=sheet", override, name="tables").figure)


def test_a_sheet_names_the_rule_and_its_scales(tmp_path: Path) -> None:
    sheet = Sheet.of(composed("figure=sheet", name="tables").figure)
    config = {"prompts.guidance": {"a": 4.0, "b": 2.0}}
    write_run(tmp_path, "sip", 0, config=config, choices={"prompts/guidance": "quadratic"})
    write_run(tmp_path, "sip", 1, config={"prompts.guidance.scale": 3.0})
    settings = [sheet.setting_of(run) for run in select_runs(tmp_path)]
    assert sorted(settings) == [("noise rate 0.5", "3"), ("noise rate 0.5", "quadratic")]
    row = [SheetCell(None, "", 3.0), SheetCell(None, "", 4.125)]
    other = [SheetCell(None, "", 3.0), SheetCell(None, "", 6.0)]
    made = SheetGrid(sorted(settings), ["a", "b"], [], [row, other])
    assert [head(made, sheet, column) for column in (0, 1)] == [
        ["guidance 3"],
        ["guidance", "quadratic", "4.12 to 6"],
    ]
