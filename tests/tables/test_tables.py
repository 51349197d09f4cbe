"""Tables from made-up runs: cells, comparisons, gaps, budgets, choices."""

import csv
import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sip.core.errors import UserError
from sip.core.paths import conf_folder
from sip.records.read import read_run, training_runs
from sip.tables.__main__ import task
from sip.tables.document import Document, document
from sip.tables.formats import markdown, write
from sip.tables.latex import latex
from sip.tables.layout import TableLayout, parts
from sip.tables.query import select_runs
from sip.tables.runs_file import write_predictions
from tests.composing import composed
from tests.records.made_up import MACHINE
from tests.tables.made_up import write_arms, write_run

ARMS = {"none": 0.7, "randaugment": 0.8, "sip": 0.74, "sip_randaugment": 0.82}


def layout(*overrides: str) -> TableLayout:
    """Return the layout of a command line."""
    return TableLayout.of(composed(*overrides, name="tables").table)


def made(folder: Path, *overrides: str) -> Document:
    """Return the table of all runs in a folder."""
    shape = layout(*overrides)
    return document(select_runs(folder, (), shape.where), shape)


def fields(one: Document, grid: int = 0) -> list[list[str]]:
    """Return the texts of a grid; bold ones between asterisks."""
    rows = one.grids[grid].rows
    return [[f"*{text.text}*" if text.bold else text.text for text in row] for row in rows]


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return runs of four arms on two data sets, all but sip on the second, and one seed less."""
    folder = tmp_path_factory.mktemp("two")
    write_arms(folder, ARMS, dataset="digits")
    others = {arm: accuracy - 0.2 for arm, accuracy in ARMS.items() if arm != "sip"}
    write_arms(folder, others, dataset="dtd")
    last = next(folder.glob("resnet50-randaugment-seed4-*"))
    shutil.rmtree(last)
    return folder


def test_the_mean_column_is_of_seeds_that_all_columns_have(two_sets: Path) -> None:
    table = made(two_sets, "table=main")
    by_name = {row[0]: row for row in fields(table)}
    assert list(table.grids[0].header) == ["Augmentation", "digits", "dtd", "mean"]
    assert list(by_name) == ["none", "randaugment", "sip", "sip_randaugment"]
    assert by_name["sip"][2:] == ["missing", "missing"]
    assert by_name["randaugment"][3].strip("*").endswith("(4)")
    cell = table.found["resnet50", "none", "mean"]
    digits, dtd = (table.found["resnet50", "none", c].values for c in ("digits", "dtd"))
    assert dict(cell.values) == pytest.approx({s: (digits[s] + dtd[s]) / 2 for s in range(5)})


def test_gaps_are_named_with_the_command_that_fills_them(two_sets: Path) -> None:
    table = made(two_sets, "table=main")
    lacking = dict(table.commands)
    empty = "resnet50 × sip × dtd: missing"
    assert empty in lacking and empty in table.notes
    words = shlex.split(lacking[empty])
    assert words[:4] == ["python", "-m", "sip.train", "-m"]
    assert sorted(words[4:]) == [
        "augmentation=sip",
        "backbone=resnet50",
        "dataset=dtd",
        "experiment=main",
        "seed=0,1,2,3,4",
    ]
    incomplete = [name for name in lacking if "lacks seed 4" in name]
    assert len(incomplete) == 1 and "seed=4" in lacking[incomplete[0]]
    assert " -m augmentation" not in lacking[incomplete[0]]


def test_a_filling_command_composes_for_an_arm_without_a_preset(tmp_path: Path) -> None:
    combo = {f"augmentation/{place}": "none" for place in ("offline", "sample", "mix")}
    combo |= {"augmentation": "combo", "augmentation/sample": "cutout"}
    combo |= {"augmentation/mix": "cutmix"}
    set_by_hand = ["augmentation=combo", "augmentation/sample=cutout", "augmentation/mix=cutmix"]
    for dataset in ("digits", "eurosat"):
        write_run(tmp_path, "none", 0, dataset=dataset)
    texts = [*set_by_hand, "seed=0", "+sweep=arms", "dataset.shots=2", "dataset=digits"]
    write_run(tmp_path, "cutout_cutmix", 0, choices=combo, overrides=texts)
    (line,) = [text for _, text in made(tmp_path, "table=main").commands]
    words = shlex.split(line)[3:]
    assert "+sweep=arms" not in words and "dataset=eurosat" in words
    config = composed(*words)
    assert config.augmentation.sample._target_.endswith("Cutout")
    assert config.augmentation.mix._target_.endswith("CutMix")
    assert "dataset.shots=2" not in words  # it belonged to the other data set


def test_a_filling_command_keeps_the_base_transform(tmp_path: Path) -> None:
    texts = ["augmentation/base=crop", "augmentation.base.min_scale=0.5"]
    for arm, seeds in {"none": (0, 1), "cutmix": (0,)}.items():
        for seed in seeds:
            given = [*texts, f"augmentation={arm}", f"seed={seed}"]
            write_run(tmp_path, arm, seed, overrides=given)
    ((_, line),) = made(tmp_path).commands
    assert set(shlex.split(line)[3:]) == {
        *texts,
        "augmentation=cutmix",
        "experiment=main",
        "seed=1",
        "backbone=resnet50",
    }


def test_a_filling_command_takes_what_the_runs_of_its_block_share(tmp_path: Path) -> None:
    strength = "augmentation.sample.arguments.magnitude=14"
    for backbone, own in {"resnet_mini": "classifier.steps=9", "vit": "classifier=probe"}.items():
        arms = {"none": [], "sip": ["images.per_sample=4"], "randaugment": [strength]}
        for arm in list(arms)[: 3 if backbone == "resnet_mini" else 2]:
            given = [own, f"backbone={backbone}", f"augmentation={arm}", *arms[arm], "seed=0"]
            write_run(tmp_path, arm, 0, backbone=backbone, overrides=given)
    claim = "table.family=[{claim: a, arm: sip, against: randaugment}]"
    ((missing, line),) = made(tmp_path, claim).commands
    assert missing == "vit × randaugment: missing"
    assert sorted(shlex.split(line)[3:]) == [
        *(strength, "augmentation=randaugment", "backbone=vit", "classifier=probe"),
        *("experiment=main", "seed=0"),
    ]


def test_a_filling_command_keeps_settings_below_a_key_that_stays(tmp_path: Path) -> None:
    scale = "prompts.guidance.scale=3"
    for rule, seeds, more in (("constant", (0,), [scale]), ("quadratic", (0, 1), [])):
        for seed in seeds:
            given = [f"prompts/guidance={rule}", *more, "augmentation=sip", f"seed={seed}"]
            write_run(tmp_path, "sip", seed, choices={"prompts/guidance": rule}, overrides=given)
    ((_, line),) = made(tmp_path, "table.rows=prompts/guidance").commands
    words = {"prompts/guidance=constant", scale, "augmentation=sip", "seed=1"}
    assert words <= set(shlex.split(line))


def test_a_filling_command_has_the_exact_value(tmp_path: Path) -> None:
    rate = 0.5496714153011233
    for value, seeds in ((rate, (0,)), (0.3, (0, 1))):
        for seed in seeds:
            given = ["augmentation=sip", f"prompts.noise_rate={value}", f"seed={seed}"]
            config = {"prompts.noise_rate": value}
            write_run(tmp_path, "sip", seed, config=config, overrides=given)
    ((name, line),) = made(tmp_path).commands
    assert name == "resnet50 × noise rate 0.549671: lacks seed 1"
    assert f"prompts.noise_rate={rate}" in shlex.split(line)


def test_a_difference_is_bold_only_where_its_interval_leaves_out_0(tmp_path: Path) -> None:
    write_arms(tmp_path, {"none": 0.7, "sip": 0.9})
    for seed, accuracy in enumerate([0.6, 0.95, 0.7, 0.8, 0.66]):
        write_run(tmp_path, "cutmix", seed, accuracy)
    table = made(tmp_path)
    bold = {row[0]: row[1].startswith("*") for row in fields(table)}
    assert bold == {"none": False, "cutmix": False, "sip": True}
    for one in table.compared:
        low = one.difference.estimate.mean - (one.difference.estimate.half_width or 0)
        assert (low > 0) == (one.row == "sip") == one.is_clear
    assert "**+" in markdown(table)


def test_a_number_is_a_control_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    for rate, accuracy in {0.3: 0.7, 0.5: 0.8}.items():
        for seed in range(3):
            write_run(tmp_path, "sip", seed, accuracy, config={"prompts.noise_rate": rate})
    rows = ["table.rows=prompts.noise_rate"]
    (one,) = made(tmp_path, *rows, "table.control=0.50").compared
    assert (one.row, one.against) == ("0.3", "0.5")
    listed = "there are noise rate 0.3, noise rate 0.5"
    with pytest.raises(UserError, match=f"^table.control: must be a row .* got '0.7'; {listed}$"):
        made(tmp_path, *rows, "table.control=0.7")
    (one,) = made(tmp_path, *rows, "table.control=noise rate 0.5").compared
    assert one.against == "0.5"


def test_what_the_correction_takes_away_is_not_bold(tmp_path: Path) -> None:
    # Alone the arm is clear; among twenty arms it could be luck.
    gains = [0.01, 0.05, 0.02, 0.06, 0.04]
    for seed, gain in enumerate(gains):
        write_run(tmp_path, "none", seed, 0.5)
        write_run(tmp_path, "cutmix", seed, 0.5 + gain)
    assert fields(made(tmp_path))[1][1].startswith("*")
    for arm in range(8):
        for seed in range(5):
            write_run(tmp_path, f"arm{arm}", seed, 0.5 + 0.05 * (-1) ** (seed + arm))
    table = made(tmp_path)
    (cutmix,) = [one for one in table.compared if one.row == "cutmix"]
    assert cutmix.difference.estimate.excludes_zero and not cutmix.is_clear
    assert cutmix.holm_p == pytest.approx(9 * (cutmix.difference.p_value or 0))


def test_fewer_than_three_seeds_give_no_interval_and_no_bold(tmp_path: Path) -> None:
    write_arms(tmp_path, {"none": 0.5, "sip": 0.9}, num_seeds=2)
    text = "\n".join(" ".join(row) for row in fields(made(tmp_path)))
    assert "±" not in text and "*" not in text and "(2)" in text


def test_pairs_of_other_test_images_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "none", 0)
    write_run(tmp_path, "sip", 0, ids="other")
    with pytest.raises(UserError, match="must have the same test images, got 400 that only"):
        made(tmp_path)


@pytest.mark.parametrize(
    ("option", "value"),
    [("shots", 1), ("label_noise", 0.1), ("fraction", 0.5), ("fraction", 1.0), ("imbalance", None)],
)
def test_pairs_of_other_training_images_are_refused(
    tmp_path: Path, option: str, value: float | None
) -> None:
    for arm, chosen in (("none", 1), ("sip", 0)):
        config = {"dataset.seed": chosen, f"dataset.{option}": value}
        write_run(tmp_path, arm, 1, config=config)
    if value in (None, 1.0) and option != "shots":  # all images: the seed chooses none
        assert len(made(tmp_path).compared) == 1
        return
    with pytest.raises(UserError, match="same training images, got dataset.seed 0 and 1; compare"):
        made(tmp_path)


@pytest.mark.parametrize("logits", [[], None])
def test_predictions_without_logits_are_named(tmp_path: Path, logits: list | None) -> None:
    file = write_run(tmp_path, "none", 0) / "predictions.parquet"
    rows = [row | {"logits": logits} for row in pq.read_table(file).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(file)), file)
    with pytest.raises(UserError, match="logits: must be a number for each class, got none"):
        _ = training_runs(tmp_path)[0].predictions


def test_predictions_of_val_only_are_not_written(tmp_path: Path) -> None:
    file = write_run(tmp_path, "none", 0) / "predictions.parquet"
    rows = [row | {"split": "val"} for row in pq.read_table(file).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(file)), file)
    assert write_predictions(training_runs(tmp_path), tmp_path / "table") is None


def test_pairs_without_predictions_are_noted(tmp_path: Path) -> None:
    write_run(tmp_path, "none", 0, predictions=False)
    write_run(tmp_path, "sip", 0)
    table = made(tmp_path)
    assert table.compared[0].images is None
    assert any(note.startswith("1 comparison without") for note in table.comparison_notes)


def test_two_runs_of_one_cell_with_equal_settings_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "sip", 0, recipe={"offline": {"prompts": {"version": 1}}})
    write_run(tmp_path, "sip", 0, ids="x", recipe={"offline": {"prompts": {"version": 2}}})
    with pytest.raises(UserError, match="differ in offline.prompts.version .* delete one of these"):
        made(tmp_path)


def test_unequal_budgets_within_a_column_are_noted(tmp_path: Path) -> None:
    write_run(tmp_path, "none", 0)
    write_run(tmp_path, "sip", 0, steps=500)
    (note,) = [note for note in made(tmp_path).notes if "UNEQUAL" in note]
    assert note == "UNEQUAL BUDGET, resnet50: steps 250 (none); 500 (sip)."


def test_budgets_of_columns_are_in_order_and_count_all_added_images(
    tmp_path: Path,
) -> None:
    for shots in (2, 16):
        config = {"dataset.shots": shots}
        write_run(tmp_path, "sip", 0, config=config, num_real=10 * shots, num_generated=10 * shots)
    notes = made(tmp_path, "table.columns=dataset.shots").notes
    budgets = [note for note in notes if note.startswith(("Budget", "Added"))]
    assert budgets == [
        "Budget of resnet50 × shots 2: 250 steps, 20 real images.",
        "Budget of resnet50 × shots 16: 250 steps, 160 real images.",
        "Added images, resnet50: 20 to 160 (sip).",
    ]


def test_the_machine_is_named_and_a_mixture_is_said(tmp_path: Path) -> None:
    write_arms(tmp_path, {"none": 0.5, "sip": 0.6}, num_seeds=2)
    notes = made(tmp_path).notes
    assert "Machine: AMD EPYC, AVX2, 1 thread; torch 2.15.0." in notes
    other = replace(MACHINE, limits={"ONEDNN_MAX_CPU_ISA": "AVX2"}, threads=2)
    write_run(tmp_path, "none", 2, machine=other, versions={"torch": "2.16.0"})
    write_run(tmp_path, "sip", 2, machine=None)
    mixed = [note for note in made(tmp_path).notes if note.startswith("MIXED")]
    several = "which alone moves single runs"
    assert mixed == [
        f"MIXED MACHINES, {several}: AMD EPYC, AVX2, 1 thread (4 runs); AMD EPYC, AVX2, "
        "ONEDNN_MAX_CPU_ISA=AVX2, 2 threads (1 run); not recorded (1 run).",
        f"MIXED LIBRARY VERSIONS, {several}: torch 2.15.0 (5 runs); torch 2.16.0 (1 run).",
    ]


def test_one_generated_set_for_all_seeds_is_said(tmp_path: Path) -> None:
    def notes(name: str, seeds: tuple[int, int], shots: int | None) -> list[str]:
        for seed, of_prompts in enumerate(seeds):
            config = {"prompts.seed": of_prompts, "dataset.shots": shots}
            write_run(tmp_path / name, "sip", seed, config=config, shots=shots)
        more = ["table.rows=augmentation", "table.columns=null", "table.select=prompts.seed"]
        return [n for n in made(tmp_path / name, *more).notes if "share one generated set" in n]

    (note,) = notes("all", (0, 0), None)
    assert "(sip)" in note and "prompts.seed='${seed}'" in note
    assert notes("few", (0, 0), 5) == []


def test_the_papers_gain_is_next_to_ours_with_its_source(tmp_path: Path) -> None:
    write_arms(tmp_path, {"none": 0.7, "cutmix": 0.72, "sip": 0.75})
    write_arms(tmp_path, {"none": 0.7, "sip": 0.75}, backbone="convnext")
    notes = [note for note in made(tmp_path, "table=main").notes if "best baseline" in note]
    assert "(cutmix)" in notes[1] and "the paper reports +1.72 (arXiv 2302.02070" in notes[1]
    assert "the paper" not in notes[0]
    assert re.search(r", digits: \+2\.\d+ ± .* points, p before correction ", notes[1])
    one = ["table=main", "table.columns=null", "+table.where.backbone=resnet50"]
    (note,) = [note for note in made(tmp_path, *one).notes if "best baseline" in note]
    assert "(cutmix), test top-1: +2" in note
    (note,) = [n for n in made(tmp_path, *one, "table.value=val/top1").notes if "best base" in n]
    assert "points" in note and "the paper" not in note
    (note,) = [n for n in made(tmp_path, *one, "table.value=steps").notes if "best base" in n]
    assert "points" not in note


def test_the_best_baseline_is_that_of_the_seeds_that_all_have(tmp_path: Path) -> None:
    write_run(tmp_path, "sip", 1, 0.9)
    for arm, values in {"none": {0: 0.9, 1: 0.5}, "cutmix": {1: 0.6}}.items():
        for seed, val in values.items():
            write_run(tmp_path, arm, seed, 0.7, val_accuracy=val)
    (note,) = [note for note in made(tmp_path, "table=main").notes if "best baseline" in note]
    assert "(cutmix)" in note
    shutil.rmtree(next(tmp_path.glob("*-cutmix-*")))
    write_run(tmp_path, "cutmix", 2, 0.7)
    assert not any("best baseline" in note for note in made(tmp_path, "table=main").notes)


def test_combinations_are_compared_with_both_of_their_parts(two_sets: Path) -> None:
    table = made(two_sets, "table=combinations", "+table.where.dataset=digits")
    pairs = {(one.row, one.against) for one in table.compared if one.column == "digits"}
    assert pairs == {("sip_randaugment", "sip"), ("sip_randaugment", "randaugment")}
    assert parts("sip_random_erasing", ["sip", "random_erasing"]) == ["sip", "random_erasing"]
    assert parts("real_guidance", ["real", "sip"]) == []


def test_cost_counts_generation_by_whichever_run(tmp_path: Path) -> None:
    write_run(tmp_path, "sip", 0, generation_seconds=30.0)
    table = made(tmp_path, "table=cost")
    row = dict(zip(table.grids[0].header, fields(table)[0], strict=True))
    assert (row["Generation, s"], row["Training, s"], row["Total, s"]) == ("30", "10", "40")


def test_what_plays_no_part_in_a_run_is_no_value_of_it(tmp_path: Path) -> None:
    write_run(tmp_path, "none", 0)
    write_run(tmp_path, "sip", 0)
    none, sip = sorted(select_runs(tmp_path), key=lambda run: run.summary.augmentation)
    assert (none.value("prompts.noise_rate"), sip.value("prompts.noise_rate")) == (None, 0.5)
    assert (none.value("prompts"), sip.value("prompts")) == (None, "label_caption")
    assert none.metric("test/top1") == pytest.approx(70.0)


def rates(folder: Path, rng: np.random.Generator) -> None:
    """Write sip at three noise rates with unlike validation and test numbers."""
    for rate in (0.3, 0.5, 0.7):
        for seed in range(3):
            val = 0.5 + 0.1 * (rate == 0.5) + 0.01 * seed
            write_run(
                folder,
                "sip",
                seed,
                float(rng.uniform(0.3, 0.9)),
                config={"prompts.noise_rate": rate},
                val_accuracy=val,
            )


def test_validation_chooses_and_test_cannot(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rates(tmp_path, rng)
    write_arms(tmp_path, {"none": 0.5}, num_seeds=3)
    first = made(tmp_path, "table=selected")
    chosen = [note for note in first.notes if note.startswith("Chosen on validation")]
    assert len(chosen) == 1 and "prompts.noise_rate=0.5" in chosen[0]
    assert ", of 3 settings (validation top-1, %: 61.00 over 3 seeds)" in chosen[0]
    files = sorted(tmp_path.glob("*/summary.json"))
    texts = [json.loads(file.read_text()) for file in files]
    for _ in range(5):
        order = rng.permutation(len(files))
        for file, text, source in zip(files, texts, order, strict=True):
            value = texts[source]["metrics"]["test/top1"]
            metrics = text["metrics"] | {"test/top1": value}
            changed = text | {"test_accuracy": value, "metrics": metrics}
            file.write_text(json.dumps(changed))
        again = made(tmp_path, "table=selected")
        assert again.fingerprints == first.fingerprints
        assert [note for note in again.notes if note.startswith("Chosen")] == chosen


@pytest.mark.parametrize("table", ["selected", "confirmatory", "main"])  # settings, baselines
@pytest.mark.parametrize("metric", ["test/top1", "val/nll"])  # of the second one, less is better
def test_nothing_is_chosen_on_test_or_for_being_worse(table: str, metric: str) -> None:
    with pytest.raises(UserError, match="select_by: must be a metric of the validation part"):
        layout(f"table={table}", f"table.select_by={metric}")


def test_candidates_are_compared_over_the_seeds_they_share(tmp_path: Path) -> None:
    for rate, seeds in ((0.3, (0, 1)), (0.7, (1, 2))):
        for seed in seeds:
            config = {"prompts.noise_rate": rate}
            val = {0: 0.99, 1: 0.5 + rate / 10, 2: 0.1}[seed]
            write_run(tmp_path, "sip", seed, config=config, val_accuracy=val)
    assert any("noise_rate=0.7" in note for note in made(tmp_path, "table=selected").notes)
    shutil.rmtree(next(p for p in tmp_path.iterdir() if rate_and_seed(p) == (0.7, 1)))
    with pytest.raises(UserError, match="candidates must have a seed in common"):
        made(tmp_path, "table=selected")


def rate_and_seed(folder: Path) -> tuple[float, int]:
    """Return a run's noise rate and seed."""
    run = read_run(folder)
    return run.value("prompts.noise_rate"), run.value("seed")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("table.rows=prompts.noise", r"the key 'prompts.noise'; did you mean prompts.noise_rate\?"),
        ("table.rows=prompts/gidance", r"'prompts/gidance'; did you mean prompts/guidance\?"),
        ("table.rows=weather", "no run has the key 'weather'; it must be a key of summary.json"),
        ("table.value=test/top7", "no run has the metric 'test/top7'; there are test/top1, val"),
        (
            "+table.where.backbone=vgg",
            "table.where.backbone: must be one of resnet50, got vgg",
        ),
        ("+table.where.sed=0", r"table.where.sed: no such key; did you mean seed\?"),
        ("+table.where.weather=0", "table.where.weather: no such key; it must be a key of summ"),
        ("+table.where.prompts.noise_rate=.1", r"table.where.prompts.noise_rate: .* -, 0.5, got"),
        ("table.rows=[]", "table.rows: must be a key or a list of keys"),
        ("table.columns=[dataset,seed]", "table.columns: must be a valid string, got ..dataset"),
        ("table.family=3", "table.family: must be a list, got 3"),
        ("table.quoted={resnet50: x}", "table.quoted: must be a valid number, .* got .'resnet50'"),
        ("table.where=3", r"table.where: must be keys with values, such as \+table.where.backbone"),
        ("table.select_by=null", "table.select_by: must be a valid string, got null"),
    ],
)
def test_a_wrong_name_is_one_line(tmp_path: Path, override: str, message: str) -> None:
    write_run(tmp_path, "none", 0)
    write_run(tmp_path, "sip", 0, choices={"prompts/guidance": "constant"})
    with pytest.raises(UserError, match=message):
        made(tmp_path, override)


def test_no_runs_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="runs: must hold finished training runs, got none in .*"):
        select_runs(tmp_path, ["x"])
    write_run(tmp_path, "none", 0, experiments=("shots",))
    with pytest.raises(UserError, match="got 'shot'; did you mean shots?"):
        select_runs(tmp_path, ["shot"])
    with pytest.raises(UserError, match="got 'x'; there are shots"):
        select_runs(tmp_path, ["x"])
    write_run(tmp_path / "free", "none", 0, experiments=())
    with pytest.raises(UserError, match="got 'x'; these runs belong to no experiment"):
        select_runs(tmp_path / "free", ["x"])
    with pytest.raises(UserError, match="got .*/rums, which is not there; did you mean runs"):
        (tmp_path / "runs").mkdir()
        select_runs(tmp_path / "rums", ["x"])


def test_what_comes_from_data_is_escaped(tmp_path: Path) -> None:
    nasty = "a_b & 50% {#1} $x$ \\input|<b>"
    write_run(tmp_path, "none", 0, dataset=nasty)
    table = made(tmp_path, "table=main")
    tex, text = latex(table), markdown(table)
    assert r"a\_b \& 50\% \{\#1\} \$x\$ \textbackslash{}input\textbar{}\textless{}b" in tex
    assert "\\|&lt;b" in text and "<b>" not in text


def test_files_hold_the_same_numbers(two_sets: Path, tmp_path: Path) -> None:
    table = made(two_sets, "table=main")
    for ending in ("md", "csv", "tex"):
        files = write(table, "test/top1", tmp_path / f"table.{ending}")
        assert [file.name for file in files[:3]] == ["table.md", "table.csv", "table.tex"]
    files = write(table, "test/top1", tmp_path / "out" / "table.v1")
    ends = (".md", ".csv", ".tex", "_runs.csv", "_predictions.npz")
    assert [file.name for file in files] == [f"table.v1{end}" for end in ends]
    with files[1].open() as file:
        rows = list(csv.DictReader(file))
    (row,) = [r for r in rows if (r["row"], r["column"]) == ("sip", "digits")]
    shown = next(line for line in fields(table) if line[0] == "sip")[1].strip("*")
    assert shown == f"{float(row['mean']):.2f} ± {float(row['half_width']):.2f} ({row['n']})"
    assert shown.replace("±", "$\\pm$") in files[2].read_text() and shown in files[0].read_text()
    assert float(row["p_mcnemar"]) <= 1 and row["against"] == "none"


def test_latex_has_floats_with_label_caption_and_notes(two_sets: Path) -> None:
    tex = latex(made(two_sets, "table=main"))
    floats = re.findall(r"\\begin\{(table\*?)\}(.*?)\\end\{\1\}", tex, re.DOTALL)
    assert [kind for kind, _ in floats] == ["table*", "table*"]
    outside = re.sub(r"\\begin\{(table\*?)\}.*?\\end\{\1\}", "", tex, flags=re.DOTALL)
    assert all(line.startswith("%") for line in outside.splitlines() if line)
    values, differences = (text for _, text in floats)
    assert r"\label{tab:arms-by-data-sets-resnet50" in values
    assert "mean $\\pm$ half-width of the Student-t 95 \\% interval" in values
    assert "paired by seed" in differences and "p (Holm): of the paired" in differences
    assert (
        values.index(r"\bottomrule") < values.index("half-width") < values.index("minipage}", 900)
    )
    names = re.findall(r"\\(begin|end)\{(\w+\*?)\}", tex)
    open_: list[str] = []
    for which, name in names:
        if which == "begin":
            open_.append(name)
        else:
            assert open_.pop() == name
    assert not open_
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    for text in (values, differences):
        (align,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
        assert {line.count(" & ") + 1 for line in rows if line in text} == {len(align)}


def test_latex_of_few_columns_fits_one_column_of_a_paper(tmp_path: Path) -> None:
    write_arms(tmp_path, {"none": 0.7, "sip": 0.8})
    write_arms(tmp_path, {"none": 0.7, "sip": 0.8}, backbone="vit")
    tex = latex(made(tmp_path, "table.also=[]", "table.title=Arms"))
    kinds = re.findall(r"\\begin\{(table\*?)\}", tex)
    assert kinds == ["table"] * 4
    assert "resizebox" not in tex and tex.count("Notes: see Table~\\ref{tab:arms-resnet50") == 2
    assert re.findall(r"\\label\{(.*?)\}", tex) == [
        "tab:arms-resnet50", "tab:arms-resnet50-differences",
        "tab:arms-vit", "tab:arms-vit-differences",
    ]  # fmt: skip
    assert "Augmentation & Test top-1, \\%" in tex


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="needs pdflatex; on Debian: texlive-latex-recommended"
)
@pytest.mark.parametrize("preset", ["main", "arms", "cost"])
def test_latex_compiles_and_fits(two_sets: Path, tmp_path: Path, preset: str) -> None:
    body = latex(made(two_sets, f"table={preset}", "+table.where.dataset=digits"))
    head = (
        "\\documentclass[twocolumn,10pt]{article}\\usepackage{booktabs,graphicx}"
        "\\usepackage[margin=0.8in]{geometry}\\begin{document}x"
    )
    (tmp_path / "t.tex").write_text(f"{head}\n{body}\n\\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "Overfull \\hbox" not in done.stdout


TABLES = sorted(file.stem for file in (conf_folder() / "table").glob("*.yaml"))


@pytest.mark.parametrize("name", TABLES)
def test_every_preset_makes_a_table(two_sets: Path, name: str) -> None:
    more = ["table.columns=shots"] if name == "shots" else []  # the runs' configuration has none
    table = made(two_sets, f"table={name}", "+table.where.dataset=digits", *more)
    assert table.grids[0].rows and "runs of main, commit 0123456789" in markdown(table)


def test_the_command_prints_and_writes_a_table_and_a_figure(
    two_sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    common = [f"runs={two_sets}", f"output={tmp_path / 'out'}", "experiment=main"]
    task(composed(*common, "+table.where.dataset=digits", name="tables"))
    assert "| sip_randaugment | " in capsys.readouterr().out
    task(composed(*common, "figure=cost", "+figure.where.dataset=digits", name="tables"))
    assert capsys.readouterr().out.startswith("figure: ")
    task(composed(*common, "figure=tradeoff", name="tables"))
    assert (
        capsys.readouterr().out
        == "figure skipped: none of 34 runs has generated/diversity_original\n"
    )
    written = sorted(file.suffix for file in tmp_path.iterdir())
    assert written == [".csv", ".csv", ".md", ".npz", ".pdf", ".png", ".tex"]


def test_notes_on_shared_runs_and_on_training_that_may_be_unfinished(tmp_path: Path) -> None:
    for seed in range(3):
        names = ("trial", "quick") if seed == 0 else ("trial",)
        write_run(tmp_path, "none", seed, experiments=names, best_step=250 if seed else 200)
    text = markdown(made(tmp_path))
    assert "3 runs of trial (1 shared with quick), commit" in text
    assert "last step in 2 of 3 runs: training may be unfinished" in text
    write_run(tmp_path, "cutmix", 0, experiments=("other",))
    text = markdown(made(tmp_path))
    assert "4 runs of other, quick, trial, commit" in text and "unfinished" not in text
