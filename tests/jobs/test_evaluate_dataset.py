"""A run's classifier on other labelled images: matched by name, or refused."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.jobs.evaluate_dataset import match_classes
from sip.records.write import write_images
from tests.classifier.made_up import NAMES, Splits, make_splits, run
from tests.commands import run_module


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return make_splits(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def run_folder(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run(splits, folder)
    return folder


def folders(splits: Splits, root: Path, rename: dict[str, str] | None = None) -> Path:
    """Write the test images a folder a class, whose order by name is not that of the labels."""
    for row in splits["test"]:
        name = NAMES[row.label]
        (root / (rename or {}).get(name, name)).mkdir(parents=True, exist_ok=True)
        shutil.copy(row.path, root / (rename or {}).get(name, name))
    return root


def call(run_folder: Path, root: Path, tmp_path: Path, *more: str):
    place = ["dataset=image_folder", f"dataset.root={root}", "part=all"]
    return run_module("sip.evaluate", [f"run={run_folder}", *place, *more], tmp_path / "said")


def test_the_runs_own_images_give_its_own_predictions(
    splits: Splits, run_folder: Path, tmp_path: Path
) -> None:
    ended = call(run_folder, folders(splits, tmp_path / "photos"), tmp_path)
    assert ended.returncode == 0, ended.stderr
    (folder,) = (run_folder / "evaluations").iterdir()
    assert folder.name.startswith("image_folder-all-") and str(folder) in ended.stdout
    assert {file.name for file in folder.iterdir()} == {
        *("metrics.json", "per_class.csv", "confusion.png", "predictions.parquet")
    }
    expected = pd.read_parquet(run_folder / "predictions.parquet").query("split == 'test'")
    read = pd.read_parquet(folder / "predictions.parquet")
    read = read.set_index(read.path.map(lambda path: Path(path).stem)).loc[expected.sample_id]
    assert read.label.tolist() == expected.label.tolist()
    stacked = [np.stack(rows.logits.tolist()) for rows in (read, expected)]
    np.testing.assert_allclose(*stacked, atol=1e-4)
    right = (stacked[1].argmax(1) == expected.label).mean()
    record = json.loads((folder / "metrics.json").read_text())
    assert (record["num_images"], record["metrics"]["top1"]) == (15, pytest.approx(right))
    assert re.search(rf"top1 +{right:.4f}\n", ended.stdout)
    assert list(pd.read_csv(folder / "per_class.csv").class_name) == list(NAMES)


def test_images_that_the_run_has_used_are_counted(
    splits: Splits, run_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    rows = splits["test"]
    used = [*(("train", row) for row in rows[:4]), *(("val", row) for row in rows[3:9])]
    samples = [
        Sample(
            f"{part}-{Path(row.path).stem}",
            row.path,
            row.label,
            "x",
            part,
            8,
            8,
            digest_of(row.path),
        )
        for part, row in used
    ]
    parts = {part: [s for s in samples if s.split == part] for part in ("train", "val")}
    write_images(tmp_path / "run" / "images.parquet", parts, [], tmp_path)  # type: ignore[arg-type]
    ended = call(tmp_path / "run", folders(splits, tmp_path / "photos"), tmp_path)
    line = "of 15 images, 4 trained this classifier and 5 chose its checkpoint: accuracy on them"
    assert ended.returncode == 0 and line in ended.stderr
    (file,) = (tmp_path / "run" / "evaluations").glob("*/metrics.json")
    record = json.loads(file.read_text())
    assert (record["num_train"], record["num_val"]) == (4, 5)


def digest_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_unknown_classes_are_refused_and_can_be_named(
    splits: Splits, run_folder: Path, tmp_path: Path
) -> None:
    root = folders(splits, tmp_path / "photos", {"bright": "light"})
    refused = call(run_folder, root, tmp_path)
    assert refused.returncode == 1
    assert "must have classes of the run, got light (and none of bright)" in refused.stderr
    named = call(run_folder, root, tmp_path, "dataset.prompt_names={light: bright}")
    assert named.returncode == 0, named.stderr


def test_a_part_that_was_made_is_said(splits: Splits, run_folder: Path, tmp_path: Path) -> None:
    root = folders(splits, tmp_path / "photos")
    ended = call(run_folder, root, tmp_path, "part=test")
    assert ended.returncode == 0, ended.stderr
    num = re.search(r"(\d+) of 15 images are scored, the part test made by", ended.stderr)
    assert num and int(num[1]) < 15 and re.search(rf"images +{num[1]}\n", ended.stdout)
    assert "to score all: part=all" in ended.stderr and "generate from all" not in ended.stderr


def test_labels_follow_the_names(capfd: pytest.CaptureFixture[str]) -> None:
    assert match_classes(["cat", "dog"], ["cat", "dog"]) == [0, 1]
    assert match_classes(["newt", "cat"], ["cat", "dog", "newt"]) == [2, 0]
    assert "no images of 1 class of the run: dog" in capfd.readouterr().err
    assert match_classes(["A\u0308pfel", "b"], ["b", "\u00c4pfel"]) == [1, 0]
    capfd.readouterr()
    with pytest.raises(UserError, match=r"such as 'dataset.prompt_names=\{light: \"bright\"\}'"):
        match_classes(["dim", "light"], ["bright", "dim"])
    with pytest.raises(UserError, match="must have class names that differ"):
        match_classes(["crane", "crane"], ["crane", "dog", "crane"])


def test_a_data_set_needs_a_run_with_a_classifier(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for place, message in (("", "run: must be"), ("none", "finished run, got none")):
        given = [f"run={place}"] if place else []
        ended = run_module(
            "sip.evaluate",
            [*given, "dataset=image_folder", f"dataset.root={root}"],
            tmp_path / f"said{place}",
        )
        assert ended.returncode == 2
        assert message in ended.stderr
