"""Families of claims: what is compared, with which correction, and what has no p-value."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sip.core.errors import UserError
from sip.tables.claims import ClaimResult
from sip.tables.document import Document, document, recomputed
from sip.tables.forest import read_groups
from sip.tables.forest_plot import draw_forest
from sip.tables.formats import markdown, write
from sip.tables.latex import latex
from sip.tables.layout import TableClaim
from sip.tables.query import select_runs
from sip.tables.statistics import holm
from tests.tables.made_up import write_arms, write_run
from tests.tables.test_forest import forest_of
from tests.tables.test_tables import fields, layout

ARMS = {"none": 0.6, "randaugment": 0.7, "cutmix": 0.68, "moex": 0.66, "sip": 0.71,
        "sip_randaugment": 0.72, "sip_cutmix": 0.69, "sip_moex": 0.64}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    write_arms(folder, ARMS, num_seeds=6)
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> Document:
    return made(folder)


def made(folder: Path, *overrides: str) -> Document:
    return document(select_runs(folder), layout("table=confirmatory", *overrides))


def values(table: Document, row: str) -> np.ndarray:
    cell = table.found["resnet50", row, ""]
    return np.array([cell.values[seed] for seed in cell.seeds])


def test_each_claim_is_a_paired_t_test_and_holm_is_over_the_claims_only(table: Document) -> None:
    names = ("randaugment", "cutmix", "moex")
    gains = [values(table, f"sip_{name}") - values(table, name) for name in names]
    expected = [
        values(table, "sip") - values(table, "none"),
        values(table, "sip") - values(table, "randaugment"),
        np.mean(gains, axis=0),
    ]
    p_values = [stats.ttest_1samp(differences, 0).pvalue for differences in expected]
    for result, differences, p, corrected in zip(
        table.claims, expected, p_values, holm(p_values), strict=True
    ):
        assert result.difference is not None and result.difference.estimate.num == 6
        assert result.difference.estimate.mean == pytest.approx(differences.mean())
        assert result.difference.p_value == pytest.approx(p)
        assert result.holm_p == pytest.approx(corrected)


def test_the_rest_has_no_p_and_no_bold_and_no_difference_is_there_twice(table: Document) -> None:
    claims, arms, differences = table.grids
    assert [grid.header[-1] for grid in (claims, differences)] == ["p (Holm)", "Difference"]
    assert any("*" in text for row in fields(table) for text in row)
    assert not any(
        "*" in text for number in (1, 2) for row in fields(table, number) for text in row
    )
    rows = {row[0] for row in fields(table, 2)}
    assert rows == set(ARMS) - {"none", "sip"}
    assert "Validation top-1, %" in arms.header
    text = markdown(table)
    assert "Confirmatory: 3 claims fixed before the runs" in text and "McNemar" not in text


def test_the_best_baseline_is_that_of_validation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for arm, (test, val) in {"sip": (0.7, 0.7), "cutmix": (0.6, 0.9), "moex": (0.9, 0.6),
                             "randaugment": (0.8, 0.5)}.items():  # fmt: skip
        for seed in range(3):
            write_run(tmp_path, arm, seed, test + rng.normal(0, 0.01), val_accuracy=val)
    result = made(tmp_path).claims[1]
    assert (result.against, result.chosen_from) == ("cutmix", 3)
    assert result.difference is not None and result.difference.estimate.mean > 0


def test_a_claim_without_its_rows_is_named_and_counts_in_the_correction(tmp_path: Path) -> None:
    write_arms(tmp_path, {"none": 0.6, "sip": 0.62})
    table = made(tmp_path)
    first, *others = table.claims
    assert first.difference is not None
    assert first.holm_p == pytest.approx(min(1, 3 * (first.difference.p_value or 0)))
    assert [other.difference for other in others] == [None, None]
    (note, _) = [note for note in table.notes if "not computed" in note]
    assert "no row is called randaugment, cutmix, moex; it counts in Holm's correction too" in note
    ((missing, command),) = table.commands  # one sweep for all of them
    arms = ["randaugment", "cutmix", "moex", "sip_randaugment", "sip_cutmix", "sip_moex"]
    assert [name.split(" × ")[1] for name in missing.split("; ")] == [f"{a}: missing" for a in arms]
    words = command.split()
    assert f"augmentation={','.join(arms)}" in words and words[-1] == "seed=0,1,2,3,4"
    assert [row[-2:] for row in fields(table)][1:] == [["not run", "-"]] * 2
    float_of_claims = latex(table).split("\\end{table")[0]
    shown = [line for line in float_of_claims.splitlines() if "& not run & " in line]
    assert len(shown) == 2 and "SIP + X \\textgreater{} X" in shown[1]
    for part in (
        "Confirmatory: 3 claims",
        "Bold:",
        "Test top-1, \\%: mean",
        "Difference, in points",
    ):
        assert part in float_of_claims
    assert float_of_claims.count("not computed, since") == 2
    file = write(table, "test/top1", tmp_path / "table")[1]
    forest = forest_of(f"figure.csv={file}", "figure.claims=true")
    (group,) = read_groups(file, forest)
    assert len(group.rows) == 1 and group.num_compared == 3


RATE, MAGNITUDE = "prompts.noise_rate", "augmentation.sample.arguments.magnitude"


@pytest.mark.parametrize(
    ("rates", "magnitudes", "said"),
    [((0.3, 0.5, 0.7), (5,), "sip from 3 settings, randaugment from 1; give both as many."),
     ((0.3, 0.5, 0.7), (5, 9), "sip from 3 settings, randaugment from 2; give both as many."),
     ((0.3, 0.5), (5, 9), None), ((0.5,), (5, 9), None), ((0.5,), (5,), None)],
)  # fmt: skip
def test_an_arm_that_was_tuned_more_than_its_baseline_is_said(
    rates: tuple[float, ...], magnitudes: tuple[int, ...], said: str | None, tmp_path: Path
) -> None:
    for rate in rates:
        write_arms(tmp_path, {"sip": 0.7}, 3, config={RATE: rate})
    for magnitude in magnitudes:
        write_arms(tmp_path, {"randaugment": 0.6}, 3, config={MAGNITUDE: magnitude})
    write_arms(tmp_path, {"none": 0.5, "cutmix": 0.55, "moex": 0.5}, 3)
    table = made(tmp_path)
    notes = [note for note in table.notes if note.startswith("Unequal tuning: ")]
    name = "Unequal tuning: claim 'SIP > best of RandAugment, CutMix, MoEx', resnet50: "
    assert notes == ([f"{name}validation chose {said}"] if said else [])
    file = write(table, "test/top1", tmp_path / "table")[1].with_name("table_runs.csv")
    again = recomputed(file, layout("table=confirmatory"))
    assert [note for note in again.notes if note.startswith("Unequal tuning: ")] == notes


def test_unequal_tuning_within_a_pooled_claim_is_said(tmp_path: Path) -> None:
    for rate in (0.3, 0.5):
        write_arms(tmp_path, {"sip_randaugment": 0.7}, 3, config={RATE: rate})
    config = {MAGNITUDE: 5}
    write_arms(tmp_path, {"randaugment": 0.6}, 3, config=config)
    write_arms(tmp_path, {"cutmix": 0.6, "sip_cutmix": 0.7}, 3)
    pooled = "{claim: a, arm: [sip_cutmix, sip_randaugment], against: [cutmix, randaugment]}"
    notes = made(tmp_path, "table.control=null", f"table.family=[{pooled}]").notes
    (note,) = [note for note in notes if note.startswith("Unequal tuning: ")]
    assert "validation chose sip_randaugment from 2 settings, randaugment from 1;" in note


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("table.control=nonne", r"table.control: .*, got 'nonne'; did you mean none\?"),
        ("table.family=[{claim: a, arm: spi, against: none}]",
         r"table.family: claim 'a': arm: must be a row of the table, got 'spi'; did you mean sip"),
        ("table.family=[{claim: a, arm: sip, against: cutmx}]",
         r"claim 'a': against: .* got 'cutmx'; did you mean cutmix"),
    ],
)  # fmt: skip
def test_a_row_that_no_run_can_have_is_refused(folder: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(folder, override)


@pytest.mark.parametrize("columns", [["dataset"], []])
def test_rows_of_a_claim_are_of_the_same_images(tmp_path: Path, columns: list[str]) -> None:
    for dataset in ("digits", "dtd"):
        write_run(tmp_path, "none", 0, dataset=dataset)
        write_run(tmp_path, "sip", 0, dataset=dataset, ids="test" if dataset == "dtd" else "other")
    shape = ["table.control=null", "table.family=[{claim: a, arm: sip, against: none}]"]
    shape += ["table.columns=dataset", "table.mean=true"] if columns else ["table.block=dataset"]
    with pytest.raises(UserError, match="must have the same test images, got 400 that only"):
        made(tmp_path, *shape)


@pytest.mark.parametrize(
    ("first", "second", "setting"),
    [
        ("digits", "dtd", "table.where.dataset=digits"),
        ("image_folder", "image_folder", "table.where.dataset.root=a"),
    ],
)
def test_runs_of_two_data_sets_come_with_the_command_for_one(
    tmp_path: Path, first: str, second: str, setting: str
) -> None:
    roots = {"a": first, "b": second}
    for (root, dataset), arm in zip(roots.items(), ("none", "sip"), strict=True):
        config = {"dataset.root": root, "dataset.val_fraction": 0.1}
        write_run(tmp_path / "runs", arm, 0, dataset=dataset, ids=root, config=config)
    with pytest.raises(UserError) as error:
        made(tmp_path / "runs", "table=arms", "table.control=null", "table.rows=augmentation",
             "table.family=[{claim: a, arm: sip, against: none}]")  # fmt: skip
    command = str(error.value).partition("compare runs of one data set: ")[2]
    words = ["python", "-m", "sip.tables", f"runs={tmp_path}/runs", setting]
    assert shlex.split(command) == words
    key, value = setting.removeprefix("table.where.").split("=")
    assert len(select_runs(tmp_path / "runs", (), {key: value})) == 1


def test_an_empty_family_explores_all(folder: Path) -> None:
    table = made(folder, "table.family=[]")
    assert not table.claims and not any(one.is_clear for one in table.compared)
    assert all(one.holm_p is None for one in table.compared)
    assert any("explore" in note for note in table.notes)


def test_pooling_is_explained_where_a_claim_pools(folder: Path, table: Document) -> None:
    one = made(folder, "table.family=[{claim: a, arm: sip, against: none}]")
    for made_, says in ((table, True), (one, False)):
        assert says == any("one number a seed" in note for note in made_.notes)


def test_two_seeds_tell_nothing() -> None:
    assert not ClaimResult("", "", "x", "a", "b", 1, None).is_clear


@pytest.mark.parametrize(
    "claim", ["{claim: x, arm: a}", "{claim: x, arm: [a, b], against: [c]}", "sip"]
)
def test_a_wrong_claim_is_one_line(claim: str) -> None:
    with pytest.raises(UserError, match="^table.family: each claim must have the keys claim, arm"):
        layout(f"table.family=[{claim}]")


def test_several_arms_against_one_each_are_pooled_and_one_against_several_is_a_choice() -> None:
    assert TableClaim("", ("a",), ("b", "c")).is_choice
    assert not TableClaim("", ("a", "d"), ("b", "c")).is_choice


def test_the_forest_plot_shows_the_claims_in_their_order(table: Document, tmp_path: Path) -> None:
    file = write(table, "test/top1", tmp_path / "table")[1]
    (group,) = read_groups(file, forest_of(f"figure.csv={file}", "figure.claims=true"))
    assert [row.name for row in group.rows] == [result.claim for result in table.claims]
    for row, result in zip(group.rows, table.claims, strict=True):
        assert result.difference is not None
        assert row.mean == pytest.approx(result.difference.estimate.mean, rel=1e-4)
        assert row.holm_p == pytest.approx(result.holm_p, rel=1e-4)
    (arms,) = read_groups(file, forest_of(f"figure.csv={file}"))
    assert {row.name for row in arms.rows} == set(ARMS) - {"none"}
    forest = forest_of(
        f"figure.csv={file}", "figure.claims=true", "figure.numbers=[difference,n,p]"
    )
    draw_forest([group], forest, tmp_path / "claims.png")


def test_claims_need_the_csv_of_a_family(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="figure.claims: must be false without figure.csv"):
        forest_of("figure.claims=true")
    plain = document(select_runs(folder), layout("table=arms"))
    file = write(plain, "test/top1", tmp_path / "table")[1]
    with pytest.raises(UserError, match="figure.claims: must be false for a table without"):
        read_groups(file, forest_of(f"figure.csv={file}", "figure.claims=true"))
