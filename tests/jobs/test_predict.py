"""Predictions on image files: those of the run itself, in any format, with broken files named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sip.core.errors import UserError
from sip.jobs.predict import PredictOptions, find_images, predict
from tests.classifier.made_up import NAMES, Splits, make_splits, run
from tests.commands import run_module
from tests.composing import composed


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return make_splits(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def runs(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of different seeds."""
    folders = [tmp_path_factory.mktemp(f"run{seed}") for seed in range(2)]
    for seed, folder in enumerate(folders):
        run(splits, folder, seed=seed)
    return folders


def options(**changed: object) -> PredictOptions:
    return PredictOptions.of({**composed(name="predict"), **changed})


def stored(folder: Path) -> pd.DataFrame:
    """Return file stem -> probabilities of the test images, as the run stored them."""
    rows = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'")
    logits = torch.tensor(np.stack(rows.logits.tolist()))
    return pd.DataFrame(logits.softmax(1).numpy(), index=rows.sample_id)


@pytest.fixture
def folder(splits: Splits, tmp_path: Path) -> Path:
    """The test images, some of them in a folder of their own."""
    (tmp_path / "images" / "more").mkdir(parents=True)
    for number, row in enumerate(splits["test"]):
        shutil.copy(row.path, tmp_path / "images" / ("more" if number % 2 else "."))
    return tmp_path / "images"


def test_they_are_the_runs_own_predictions(runs: list[Path], folder: Path) -> None:
    table = predict(options(run=str(runs[0]), files=str(folder), top_k=3, batch_size=4))
    assert list(table.columns) == [
        *("file", "label", "probability", "label_2", "probability_2", "label_3", "probability_3")
    ]
    expected = stored(runs[0])
    assert len(table) == len(expected) == 15
    for row in table.itertuples():
        shares = expected.loc[Path(row.file).stem]
        assert [row.label, row.label_2, row.label_3] == [NAMES[n] for n in shares.argsort()[::-1]]
        assert row.probability == pytest.approx(shares.max(), abs=1e-5)
        assert row.probability_3 == pytest.approx(shares.min(), abs=1e-5)


def test_several_runs_are_averaged(runs: list[Path], folder: Path) -> None:
    table = predict(options(run=[str(place) for place in runs], files=str(folder)))
    mean = sum(stored(place) for place in runs) / 2
    expected = [mean.loc[Path(file).stem].max() for file in table.file]
    assert table.probability.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_each_format_holds_the_table(
    suffix: str, runs: list[Path], folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / f"out{suffix}"
    table = predict(options(run=str(runs[0]), files=str(folder), output=str(file)))
    if suffix == ".json":
        read = pd.DataFrame(json.loads(file.read_text()))
    else:
        read = {".csv": pd.read_csv, ".parquet": pd.read_parquet}[suffix](file)
    assert read.to_dict("list") == table.to_dict("list")
    assert len(list(tmp_path.iterdir())) == 2  # no part is left


def test_images_are_found_in_folders_and_by_patterns(folder: Path) -> None:
    every = find_images([str(folder)])
    assert len(every) == 15 and any("more" in file for file in every)
    inner = find_images([f"{folder}/more/*"])
    assert inner == find_images([str(folder / "more")]) and len(inner) == 7
    assert find_images([f"{folder}/**/*.png", str(folder)]) == sorted(every)
    assert find_images([every[0]]) == [every[0]]
    for place in (f"{folder}/*.gif", f"{folder}/none"):
        with pytest.raises(UserError, match="images: must be a folder with images, an image file"):
            find_images([place])
    (folder / "more" / "upper.JPEG").touch()
    with pytest.raises(UserError, match=r"; 1 image matches but for capitals, .*/upper.JPEG$"):
        find_images([f"{folder}/more/*.jpeg"])
    (folder / "more" / "upper.JPEG").unlink()


def test_broken_files_are_skipped_or_refused_by_name(
    runs: list[Path], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty.png").touch()
    whole = (folder / "test0.png").read_bytes()
    (folder / "more" / "cut.png").write_bytes(whole[: len(whole) // 2])
    table = predict(options(run=str(runs[0]), files=str(folder)))
    assert len(table) == 15
    said = capfd.readouterr().err
    assert f"2 files of 17 cannot be read: {folder}/empty.png, {folder}/more/cut.png" in said
    with pytest.raises(UserError, match=r"2 of 17 files .*empty.png, .*cut.png\); fix or .*=skip"):
        predict(options(run=str(runs[0]), files=str(folder), broken="refuse"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"run": None}, "run: must be given; say run=runs/<name>"),
        ({"files": None}, "images: must be given"),
        ({"output": "a.xlsx"}, "output: must be a file ending in .csv, .json, .parquet"),
        ({"top_k": 0}, "top_k: must be a whole number >= 1, got 0"),
        ({"broken": "keep"}, "broken: must be one of skip, refuse, got 'keep'"),
        ({"device": "gpu"}, "device: must be auto, cpu, cuda or"),
        (
            {"run": "nowhere"},
            "run: must be the folder of a finished run, got nowhere, which is not",
        ),
    ],
)
def test_refusals_name_the_key(changed: dict, message: str, runs: list[Path], folder: Path) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        predict(options(**{"run": str(runs[0]), "files": str(folder), **changed}))


def test_runs_of_other_classes_are_not_averaged(
    runs: list[Path], splits: Splits, folder: Path, tmp_path: Path
) -> None:
    from sip.backbone.saved import FOLDER, SavedClassifier, save

    saved = SavedClassifier.of(runs[0])
    config = {**saved.config, "label_names": ["dark", "grey", "bright"]}
    save(tmp_path / "other" / FOLDER, config, saved.network().state_dict())
    with pytest.raises(UserError, match=r"same classes, got \S+other without middle and with grey"):
        predict(options(run=[str(runs[0]), str(tmp_path / "other")], files=str(folder)))


def test_the_command_prints_a_table_or_writes_it(
    runs: list[Path], folder: Path, tmp_path: Path
) -> None:
    place = [f"run={runs[0]}", f"images={folder}"]
    printed = run_module("sip.predict", [f"run={runs[0]}", f"images={folder}/test0.png"], tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.splitlines()[0] == "file,label,probability"
    assert printed.stdout.splitlines()[1].startswith(f"{folder}/test0.png,dark,0.")
    output = tmp_path / "classes.csv"
    written = run_module("sip.predict", [*place, f"output={output}"], tmp_path)
    assert written.stdout.startswith(f"{output}: 15 images: ")
    assert len(pd.read_csv(output)) == 15


def test_of_broken_files_only_the_table_has_its_columns(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    table = predict(options(run=str(runs[0]), files=str(tmp_path), top_k=2))
    assert not len(table)
    assert list(table.columns) == ["file", "label", "probability", "label_2", "probability_2"]
