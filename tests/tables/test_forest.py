"""Forest plots from runs and from a table's CSV: numbers, order, marks, sizes."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text
from PIL import Image

from sip.core.errors import UserError
from sip.tables.__main__ import task
from sip.tables.document import document
from sip.tables.forest import Forest, ForestGroup, forest_groups, read_groups
from sip.tables.forest_plot import (
    COLOURS,
    draw_forest,
    is_clear,
    is_highlighted,
    make_forest,
    number_text,
)  # fmt: skip
from sip.tables.formats import write
from sip.tables.layout import TableLayout
from sip.tables.query import select_runs
from tests.composing import composed
from tests.tables.made_up import write_arms, write_run

ARMS = {"none": 0.6, "randaugment": 0.66, "sip": 0.9, "sip_randaugment": 0.8}


def forest_of(*overrides: str) -> Forest:
    """Return the forest plot of a command line."""
    return Forest.of(composed("figure=forest", *overrides, name="tables").figure)


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return runs of four arms with two backbones; without gains with the second one."""
    folder = tmp_path_factory.mktemp("forest")
    write_arms(folder, ARMS)
    write_arms(folder, dict.fromkeys(ARMS, 0.7), backbone="vit")
    return folder


@pytest.fixture(scope="module")
def table_csv(runs_folder: Path) -> Path:
    """Return the CSV of the runs' table."""
    layout = TableLayout.of(composed("table=arms", name="tables").table)
    made = document(select_runs(runs_folder), layout)
    return write(made, layout.value, runs_folder / "out" / "table")[1]


def groups_of(folder: Path, *overrides: str) -> list[ForestGroup]:
    return forest_groups(select_runs(folder), forest_of(*overrides))


def test_differences_are_those_of_the_table(runs_folder: Path, table_csv: Path) -> None:
    from_runs = groups_of(runs_folder)
    from_csv = read_groups(table_csv, forest_of())
    assert [group.name for group in from_runs] == ["resnet50", "vit"]
    for mine, theirs in zip(from_runs, from_csv, strict=True):
        assert (mine.name, mine.control, mine.num_compared) == (theirs.name, theirs.control, 3)
        assert mine.control == "no augmentation"
        assert mine.control_mean == pytest.approx(theirs.control_mean, abs=1e-3)
        for row, other in zip(mine.rows, theirs.rows, strict=True):
            assert (row.name, row.num_pairs) == (other.name, 5)
            numbers = (other.mean, other.half_width, other.holm_p)
            assert (row.mean, row.half_width, row.holm_p) == pytest.approx(numbers, rel=1e-3)
    best = from_runs[0].rows[0]
    assert best.name == "sip" and best.mean == pytest.approx(30, abs=2)


def test_a_difference_that_is_a_claim_is_shown_with_the_claims_p_value(
    runs_folder: Path, tmp_path: Path
) -> None:
    claims = "[{claim: a, arm: sip, against: none}, {claim: b, arm: sip, against: randaugment}]"
    layout = TableLayout.of(composed(f"table.family={claims}", name="tables").table)
    file = write(document(select_runs(runs_folder), layout), layout.value, tmp_path / "table")[1]
    groups = read_groups(file, forest_of())
    of_claims = read_groups(file, forest_of("figure.claims=true", f"figure.csv={file}"))
    (claimed,) = [row for row in of_claims[0].rows if row.name == "a"]
    for group in groups:
        assert {row.name for row in group.rows} == {"sip", "randaugment", "sip_randaugment"}
        assert [row.name for row in group.rows if row.holm_p is not None] == ["sip"]
        assert group.num_compared == 2 and group.explores
    assert groups[0].rows[0].holm_p == claimed.holm_p and is_clear(groups[0].rows[0])
    texts = [text.get_text() for text in make_forest(groups, forest_of()).findobj(Text)]
    said = "Filled: a claim with p < 0.05 after Holm's correction for 2 claims. Other differences"
    assert any(said in text.replace("\n", " ") for text in texts)


def test_rows_have_one_order_in_all_groups_and_can_be_chosen(runs_folder: Path) -> None:
    orders = [[row.name for row in group.rows] for group in groups_of(runs_folder)]
    assert orders == [["sip", "sip_randaugment", "randaugment"]] * 2
    chosen = groups_of(runs_folder, "figure.row_values=[randaugment,sip,none]")
    assert [row.name for row in chosen[0].rows] == ["sip", "randaugment"]
    assert chosen[0].num_compared == 3  # p-values stay corrected for all
    with pytest.raises(UserError, match="figure.row_values: must be any of .*sip.*, got spi"):
        groups_of(runs_folder, "figure.row_values=[spi]")


def test_another_control_in_a_single_group(runs_folder: Path) -> None:
    shape = ["figure.group=null", "figure.rows=[backbone,augmentation]"]
    (group,) = groups_of(runs_folder, *shape, "figure.control='vit, sip'")
    assert (group.name, group.control, group.num_compared) == ("", "ViT, SIP", 7)
    assert group.rows[0].name == "resnet50, sip"


def test_names_and_numbers_are_written_out(runs_folder: Path) -> None:
    forest = forest_of("figure.numbers=[difference,n,p]")
    assert forest.label("sip_randaugment") == "SIP + RandAugment"
    assert forest.label("sip_label") == "SIP, label only"
    assert forest.label("my_own_arm") == "my own arm"
    assert [is_highlighted(n, forest) for n in ("sip", "sip_moex", "gossip")] == [True, True, False]
    row = groups_of(runs_folder)[0].rows[0]
    text = number_text(row, forest)
    assert text == f"+{row.mean:.2f} ± {row.half_width:.2f}, n = 5, p < 0.001"
    assert number_text(row, forest_of("figure.numbers=[]")) == ""


@pytest.mark.parametrize("width", ["slide", "column"])
def test_text_is_inside_and_apart(runs_folder: Path, width: str, monkeypatch: Any) -> None:
    boxes = []
    draw_text = Text.draw

    def note(self: Text, renderer: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            boxes.append((self.get_text(), self.get_window_extent(renderer)))
        draw_text(self, renderer)

    forest = forest_of(f"figure.width={width}", "figure.title='Gain over no augmentation, in all'")
    canvas = make_forest(groups_of(runs_folder), forest)
    canvas.draw_without_rendering()  # constrained layout settles
    monkeypatch.setattr(Text, "draw", note)
    canvas.draw_without_rendering()
    size_x, size_y = canvas.get_size_inches() * canvas.dpi
    texts = " ".join(text for text, _ in boxes)
    assert "no augmentation: 60" in texts and "Holm's" in texts and "SIP + RandAugment" in texts
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= size_x and box.y1 <= size_y
        assert inside, f"{text!r} is cut off"
    for (one, box), (other, other_box) in combinations(boxes, 2):
        assert not box.overlaps(other_box), f"{one!r} lies on {other!r}"


def test_marks_say_what_is_clear_and_zero_is_on_the_axis(runs_folder: Path) -> None:
    forest = forest_of()
    groups = groups_of(runs_folder)
    canvas = make_forest(groups, forest)
    for axis, group in zip(canvas.axes, groups, strict=True):
        low, high = axis.get_xlim()
        assert low < 0 < high
        marks = [line for line in axis.lines if line.get_marker() == "o"]
        for mark, row in zip(marks, group.rows, strict=True):
            colour = COLOURS[is_highlighted(row.name, forest)]
            assert mark.get_color() == colour and mark.get_xdata()[0] == row.mean
            face = mark.get_markerfacecolor()
            assert face == (colour if is_clear(row) else "white")
            assert row.mean + (row.half_width or 0) < high
    assert is_clear(groups[0].rows[0]) and not is_clear(groups[1].rows[0])
    gains = groups_of(runs_folder, "figure.row_values=[sip]")[:1]  # far above zero
    assert make_forest(gains, forest).axes[0].get_xlim()[0] < 0


def test_the_command_needs_no_runs_for_a_csv(
    table_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = ["figure=forest", f"figure.csv={table_csv}", f"runs={tmp_path}/none"]
    for more in (
        [f"output={tmp_path}/forest"],
        [f"output={tmp_path}/one.png", "figure.width=column"],
    ):
        task(composed(*given, *more, name="tables"))
    assert capsys.readouterr().out.count("figure: ") == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "forest.pdf", "forest.png", "one.png",
    ]  # fmt: skip
    with Image.open(tmp_path / "one.png") as image:
        assert image.width == 680  # one column of a paper, 3.4 inches
        assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def test_a_sweep_needs_no_options(tmp_path: Path) -> None:
    for rate, rule in ((0.3, "constant"), (0.3, "quadratic"), (0.7, "constant")):
        config, chosen = {"prompts.noise_rate": rate}, {"prompts/guidance": rule}
        typed = (f"prompts.noise_rate={rate}", f"prompts/guidance={rule}")
        for seed in range(3):
            write_run(tmp_path, "sip", seed, 0.6 + rate / 10 + seed / 50, config=config,
                      choices=chosen, overrides=typed)  # fmt: skip
    (group,) = groups_of(tmp_path)
    assert group.control == "noise rate 0.3, guidance constant"
    assert [row.label for row in group.rows] == [
        "noise rate 0.7, guidance constant", "noise rate 0.3, guidance quadratic",
    ]  # fmt: skip
    texts = [text.get_text() for text in make_forest([group], forest_of()).texts]
    assert texts[0] == "Difference to noise rate 0.3, guidance constant"
    own = make_forest([group], forest_of("figure.title=Gains")).texts
    assert own[0].get_text() == "Gains"
    assert "Reference: noise rate 0.3," in own[1].get_text().replace("\n", " ")


def test_few_seeds_have_no_interval(tmp_path: Path) -> None:
    write_arms(tmp_path, {"none": 0.5, "sip": 0.6}, num_seeds=2)
    (group,) = groups_of(tmp_path)
    assert (group.rows[0].half_width, group.rows[0].holm_p) == (None, None)
    _, note = make_forest([group], forest_of()).texts[:2]
    assert "not tested, these differences explore" in note.get_text().replace("\n", " ")
    files = draw_forest([group], forest_of(), tmp_path / "few.png")
    assert files[0].stat().st_size > 5000


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["figure.width=wide"], "figure.width: must be slide or column, got 'wide'"),
        (["figure.labels=3"], "figure.labels: must be a mapping, got 3"),
        (["figure.group=[dataset]"], "figure.group: must be a valid string, got ..dataset"),
        (["figure.numbers=[sd]"], "figure.numbers: must be any of difference, n, p, got sd"),
    ],
)
def test_a_wrong_option_is_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        forest_of(*overrides)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with pytest.raises(UserError, match="figure.csv: must be a table's CSV"):
        read_groups(file, forest_of())
    file.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="figure.csv: must have the columns .* without against"):
        read_groups(file, forest_of())


def test_a_group_has_one_control(tmp_path: Path) -> None:
    write_arms(tmp_path, ARMS, num_seeds=3)
    shape = TableLayout.of(composed("table=combinations", name="tables").table)
    csv = write(document(select_runs(tmp_path), shape), shape.value, tmp_path / "table")[1]
    message = (
        "figure.control: must be the one row .*, got sip and randaugment; .*: figure.control=sip"
    )
    with pytest.raises(UserError, match=message):
        read_groups(csv, forest_of())
    with pytest.raises(UserError, match=message):
        groups_of(tmp_path, "figure.control=parts")
    (group,) = read_groups(csv, forest_of("figure.control=sip"))
    assert (group.control, [row.name for row in group.rows]) == ("SIP", ["sip_randaugment"])


def test_a_number_is_a_control(tmp_path: Path) -> None:
    for rate in (0.3, 0.5):
        write_arms(tmp_path, {"sip": 0.5 + rate / 2}, 3, config={"prompts.noise_rate": rate})
    shape = composed("table=arms", "table.rows=prompts.noise_rate", "table.control=0.5",
                     name="tables")  # fmt: skip
    layout = TableLayout.of(shape.table)
    csv = write(document(select_runs(tmp_path), layout), layout.value, tmp_path / "table")[1]
    (group,) = read_groups(csv, forest_of("figure.control=0.5"))
    assert [row.name for row in group.rows] == ["0.3"]


def test_the_metric_is_that_of_the_file(table_csv: Path) -> None:
    with pytest.raises(
        UserError, match="figure.value: must be .*, got 'val/top1'; set .*=test/top1"
    ):
        read_groups(table_csv, forest_of("figure.value=val/top1"))


def test_nothing_to_compare_is_refused(tmp_path: Path) -> None:
    write_arms(tmp_path, {"sip": 0.5}, num_seeds=1)
    with pytest.raises(UserError, match="figure=forest: must have two rows to compare"):
        groups_of(tmp_path)
