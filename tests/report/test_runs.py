"""Which runs belong together, and what they are called."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sip.core.errors import UserError
from sip.report.charts import Scale
from sip.report.images import ReportImage, choose, collect
from sip.report.results import groups
from sip.report.runs import find_runs, header_of
from tests.records.made_up import generation_summary, write_run
from tests.report.made_up import make_run, make_sweep, write_config


def test_arms_are_named_by_their_choices(tmp_path: Path) -> None:
    runs = find_runs(make_sweep(tmp_path), ["nxg"], None, [])
    names = list(dict.fromkeys(run.arm for run in runs))
    assert names == [
        "noise rate 0.3, guidance constant 7.5",
        "noise rate 0.3, guidance quadratic",
        "noise rate 0.7, guidance constant 7.5",
        "noise rate 0.7, guidance quadratic",
    ]
    make_run(tmp_path, "none", 0)
    runs = find_runs(tmp_path / "runs", (), None, [])
    assert runs[0].arm == "none" and runs[1].arm == f"sip, {names[0]}"
    (group,) = groups(runs)
    assert [len(arm.runs) for arm in group.arms] == [1, 3, 3, 3, 3]


def test_a_baseline_that_is_missing_has_its_command(tmp_path: Path) -> None:
    (group,) = groups(find_runs(make_sweep(tmp_path), ["nxg"], None, []), ["nxg"])
    assert group.control is group.arms[0] and group.control.difference is None
    words = shlex.split(group.baseline_command or "")
    assert words[:4] == ["python", "-m", "sip.train", "-m"]
    assert sorted(words[4:]) == [
        "augmentation=none", "backbone=resnet50", "experiment=nxg", "seed=0,1,2",
    ]  # fmt: skip
    for file in (tmp_path / "runs").glob("*/summary.json"):
        started = "A=b python -m sip.train --config-dir x"
        file.write_text(file.read_text().replace("python -m sip.train", started))
    (group,) = groups(find_runs(tmp_path / "runs", ["nxg"], None, []), ["nxg"])
    assert str(group.baseline_command).startswith("A=b python -m sip.train --config-dir x -m ")
    for seed in range(2):
        make_run(tmp_path, "none", seed)
    (group,) = groups(find_runs(tmp_path / "runs", (), None, []))
    assert group.baseline_command is None and group.control is group.arms[0]
    assert group.control.name == "none" and len(group.control.runs) == 2


def test_a_diverged_run_is_left_out_of_the_numbers(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, "none", seed)
        accuracy = float("nan") if seed == 1 else 0.8
        make_run(tmp_path, "sip", seed, test_accuracy=accuracy)
        make_run(tmp_path, "sip_cutmix", seed, test_accuracy=float("nan"))
    (group,) = groups(find_runs(tmp_path / "runs", (), None, []))
    none, sip, lost = group.arms
    assert sip.diverged == [1] and sip.values == [80.0, 80.0] and none.diverged == []
    assert sip.difference is not None and sip.difference.estimate.num == 2
    assert lost.accuracy is None and lost.difference is None and lost.diverged == [0, 1, 2]


def test_runs_of_other_images_are_no_pairs(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, "none", seed)
        make_run(tmp_path, "sip", seed)
    for folder in (tmp_path / "runs").iterdir():
        file = folder / "predictions.parquet"
        rows = pq.read_table(file).to_pylist()
        own = "other" if "sip-seed2" in folder.name else "val"
        rows += [row | {"split": "val", "sample_id": f"{own}/{n}"} for n, row in enumerate(rows)]
        pq.write_table(pa.Table.from_pylist(rows), file)
    (group,) = groups(find_runs(tmp_path / "runs", (), None, []))
    none, sip = group.arms
    assert (sip.difference, none.unlike) == (None, None)
    (line,) = group.unlike
    assert "sip: tables: " in line and "must have the same val images, got 24 that only" in line
    assert str(tmp_path) not in line
    (tmp_path / "runs" / "resnet50-sip-seed2" / "predictions.parquet").write_bytes(b"PAR1")
    (group,) = groups(find_runs(tmp_path / "runs", (), None, []))
    assert group.arms[1].difference is not None and not group.unlike  # as far as is known


def test_two_runs_of_one_cell_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path, "sip", 0).rename(tmp_path / "runs" / "twin")
    make_run(tmp_path, "sip", 0)
    with pytest.raises(UserError, match="one run of sip and seed 0, got twin and resnet50"):
        groups(find_runs(tmp_path / "runs", (), None, []))


def test_folders_that_are_no_training_run_are_left_alone(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "none", 0)
    write_run(tmp_path / "runs" / "generate-digits", generation_summary())
    found = find_runs(tmp_path / "runs", ["trial"], None, damaged := [])
    assert [run.record.folder for run in found] == [folder] and damaged == []


def test_the_question_comes_from_the_header_of_the_sweep(tmp_path: Path) -> None:
    header = header_of("arms", tmp_path)
    assert header["Question"] == "how do the arms compare, seed by seed, with one backbone?"
    assert header["Command"].splitlines()[1] == "python -m sip.tables experiment=main"
    assert header_of("unheard_of", tmp_path) == {}


def generated(number: int, status: str, label: int, arm: str) -> ReportImage:
    row = {"id": f"{number:03d}", "sample_id": f"{number}", "status": status, "label": label}
    row |= {"noise_rate": 0.5, "variant": 0, "label_similarity": number / 1000}
    return ReportImage(row, None, None, {arm: None})


def test_the_choice_is_spread_over_classes_and_arms() -> None:
    many = [generated(n, "ok", 0, "a") for n in range(300)]
    many += [generated(300 + n, "ok", 1, "b") for n in range(5)]
    many += [generated(400 + n, "failed", 0, "a") for n in range(90)]
    chosen = choose(many, 40)
    assert len(chosen) == 40
    views = ("spread", "worst", "left out")
    of = {view: [image for image in chosen if view in image.views] for view in views}
    assert [len(of[view]) for view in of] == [30, 10, 10]
    assert sum(image.row["label"] == 1 for image in of["spread"]) == 5  # the rare class, in full
    assert {image.row["id"] for image in of["worst"]} == {f"{n:03d}" for n in range(10)}
    assert max(int(image.row["id"]) for image in of["left out"]) == 481  # from all over
    assert choose([], 40) == []


def test_equal_ids_of_other_generators_are_other_images(tmp_path: Path) -> None:
    for seed, steps in enumerate((25, 25, 50)):
        make_run(tmp_path, "sip", seed, recipe={"offline": {"images": {"num_steps": steps}}})
    found = collect(find_runs(tmp_path / "runs", (), None, []), damaged := [])
    assert sorted(len(image.runs) for image in found) == [1] * 12 + [2] * 12 and not damaged


def test_where_runs_were_made_tells_no_arms_apart(tmp_path: Path) -> None:
    for seed, (executor, download) in enumerate((("local", True), ("ray", False))):
        make_run(
            tmp_path, "sip", seed, {"dataset.download": download}, choices={"executor": executor},
            overrides=(f"executor={executor}", f"dataset.download={download}"),
        )  # fmt: skip
    assert {run.arm for run in find_runs(tmp_path / "runs", (), None, [])} == {"sip"}


def test_names_that_are_equal_without_their_folders_are_told_apart(tmp_path: Path) -> None:
    for number in range(3):
        folder = make_run(tmp_path, "sip", 0, {"number": number})
        write_config(folder, {"images.model": f"/{number}/weights"})
    runs = find_runs(tmp_path / "runs", (), None, [])
    name = "images model weights"
    assert sorted(run.arm for run in runs) == [name, f"{name} (2)", f"{name} (3)"]
    assert len(groups(runs)[0].arms) == 3


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ((99.10, 99.25), ["99.10", "99.15", "99.20", "99.25"]),
        ((71.2, 72.0), ["71.2", "71.4", "71.6", "71.8", "72.0"]),
        ((70.0, 80.0), ["70", "75", "80"]),
    ],
)
def test_ticks_have_the_digits_that_tell_them_apart(
    values: tuple[float, ...], labels: list[str]
) -> None:
    scale = Scale([cast(Any, SimpleNamespace(values=values, interval=None))])
    assert [scale.label(tick) for tick in scale.ticks()] == labels
