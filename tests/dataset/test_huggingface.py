"""Data sets through the package `datasets`, from local folders only."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest

from sip.core.errors import UserError
from sip.dataset.huggingface import labels_of
from sip.dataset.survey import Survey
from tests.dataset.trees import encoded, source


def read(path: Path, root: Path, **changes: Any) -> Any:
    """Return the data set with plain options."""
    return source("huggingface", root, path=str(path), **{"val_fraction": 0.25} | changes)


def save(path: Path, labels: Any, splits: dict[str, int]) -> None:
    """Save a small data set as `save_to_disk` does; `labels` is its label feature."""
    datasets = pytest.importorskip("datasets")
    named = hasattr(labels, "names")
    parts = {}
    for start, (split, num) in enumerate(splits.items()):
        rows = {
            "image": [{"bytes": encoded(20 * i + start, "JPEG"), "path": None} for i in range(num)],
            "label": [i % 2 if named else ("old_dog", "cat")[i % 2] for i in range(num)],
        }
        features = datasets.Features({"image": datasets.Image(), "label": labels})
        parts[split] = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(path))


def test_saved_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.ClassLabel(names=["old_dog", "cat"]), {"train": 8, "test": 4})
    dataset = read(tmp_path / "set", tmp_path)
    assert dataset.class_names == ("old dog", "cat")
    assert [len(dataset.samples(part)) for part in ("train", "val", "test")] == [6, 2, 4]
    row = dataset.samples("test")[1]
    assert (row.sample_id, row.label, row.class_name) == ("test/000001", 1, "cat")
    assert (row.width, row.height) == (10, 6)
    assert Path(row.path).read_bytes() == encoded(21, "JPEG") and row.path.endswith(".jpeg")
    assert row.sha256 == hashlib.sha256(encoded(21, "JPEG")).hexdigest()


def test_the_folder_is_looked_at_once_a_part_and_not_for_each_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.ClassLabel(names=["a", "b"]), {"train": 40, "test": 40})
    dataset = read(tmp_path / "set", tmp_path)
    asked = []

    def name(reader: Any) -> str:
        asked.append(1)
        return "set"

    monkeypatch.setattr(type(dataset), "name", property(name))
    _, entries = dataset.listing()
    assert len(entries["test"]) == 40 and len(asked) <= 4
    assert len(dataset.column_values("label", "a key")) == 80 and len(asked) <= 6


def test_classes_may_be_called_like_numbers(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.ClassLabel(names=["1.0", "2.5"]), {"train": 8, "test": 4})
    dataset = read(tmp_path / "set", tmp_path)
    assert dataset.class_names == ("1.0", "2.5")
    assert [row.label for row in dataset.samples("test")] == [0, 1, 0, 1]


def test_text_labels_and_made_parts(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.Value("string"), {"all": 12})
    splits = {"train": "all", "val": None, "test": None}
    dataset = read(tmp_path / "set", tmp_path, splits=splits, shots=2)
    assert dataset.class_names == ("cat", "old dog")
    # test: 0.2 of 6 a class is 1; val: 0.25 of the 5 left is 1
    assert [len(dataset.samples(part)) for part in ("train", "val", "test")] == [4, 2, 2]
    assert dataset.samples("test")[0].sample_id.startswith("train/")


def test_a_copy_in_another_folder_has_the_same_parts(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for name in ("set", "copy"):
        save(tmp_path / name, datasets.Value("string"), {"train": 40})
    splits: dict[str, Any] = {"train": "train", "val": None, "test": None}
    first, second, prefixed = (
        read(tmp_path / name, tmp_path, splits=splits, id_prefix=prefix)
        for name, prefix in (("set", None), ("copy", None), ("copy", "flowers"))
    )
    ids = [
        [row.sample_id for part in ("val", "test") for row in one.samples(part)]
        for one in (first, second, prefixed)
    ]
    assert ids[0] == ids[1] and first.recipe() == second.recipe()
    assert all(name.startswith("flowers/train/") for name in ids[2])
    assert [name.removeprefix("flowers/") for name in ids[2]] != ids[0]  # ids decide the parts
    assert prefixed.recipe() != first.recipe()  # by their content
    assert prefixed.column_values("label", "a key")["flowers/train/000001"] == "cat"
    assert prefixed.column_files("image", ids[2][:1], "a key").keys() == set(ids[2][:1])


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "set", datasets.Value("string"), {"train": 8, "test": 4})
    row = read(Path("~/set"), Path("~/data")).samples("test")[0]
    assert Path(row.path).is_relative_to(tmp_path / "data" / "huggingface" / "set")


def test_splits_of_usual_names_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.Value("string"), {"train": 12, "validation": 4, "test": 6})
    splits: dict[str, Any] = {"train": "train", "val": None, "test": None}
    found = read(tmp_path / "set", tmp_path, splits=splits)
    assert [len(found.samples(part)) for part in ("train", "val", "test")] == [12, 4, 6]
    assert "val is the split validation of the source; to leave" in capsys.readouterr().err
    assert found.made_parts == ()
    left = read(tmp_path / "set", tmp_path, splits=splits | {"val": False})
    assert [len(left.samples(part)) for part in ("train", "val", "test")] == [8, 4, 6]
    assert left.made_parts == ("val",)
    assert left.samples("val")[0].sample_id.startswith("train/")


def test_two_splits_of_usual_names_are_refused(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.Value("string"), {"train": 4, "dev": 4, "val": 4, "test": 4})
    with pytest.raises(UserError, match="dataset.splits.val: must be one of dev, val, got null"):
        read(tmp_path / "set", tmp_path).samples("train")


def test_generated_rows_are_not_tested_on(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.Value("string"), {"train": 8})
    table = datasets.load_from_disk(str(tmp_path / "set"))
    table["train"] = table["train"].add_column("kind", ["real", "real", *["generated"] * 6])
    table.save_to_disk(str(tmp_path / "kinds"))
    splits = {"train": "train", "val": None, "test": None}
    with pytest.raises(UserError, match="must contain real images only, got .*_fraction=0$"):
        read(tmp_path / "kinds", tmp_path, splits=splits).samples("train")
    options = {"splits": splits, "val_fraction": 0, "test_fraction": 0}
    assert len(read(tmp_path / "kinds", tmp_path, **options).samples("train")) == 8


def test_parquet_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {
        "img": [{"bytes": encoded(9 * i, "JPEG"), "path": None} for i in range(8)],
        "digit": [7, 11] * 4,
    }
    features = datasets.Features({"img": datasets.Image(), "digit": datasets.Value("int64")})
    table = datasets.Dataset.from_dict(rows, features=features)
    (tmp_path / "set").mkdir()
    table.to_parquet(str(tmp_path / "set" / "train.parquet"))
    dataset = read(
        tmp_path / "set",
        tmp_path,
        splits={"train": "train", "val": None, "test": None},
        image_column="img",
        label_column="digit",
    )
    assert dataset.class_names == ("7", "11")
    assert {row.label for row in dataset.samples("train")} == {0, 1}


def test_wrong_names_list_the_known_ones(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.Value("string"), {"train": 8, "test": 4})
    wrong = {"train": "training", "val": None, "test": "test"}
    rule = "dataset.splits.train: must be one of train, test, got 'training'; name it$"
    with pytest.raises(UserError, match=rule):
        read(tmp_path / "set", tmp_path, splits=wrong).samples("train")
    wrong = {"train": "train", "val": "dev", "test": "test"}
    with pytest.raises(UserError, match="got 'dev'; .* set dataset.splits.val=false if there is"):
        read(tmp_path / "set", tmp_path, splits=wrong).samples("train")
    with pytest.raises(UserError, match="image_column: must be one of image, label, got 'img'"):
        read(tmp_path / "set", tmp_path, image_column="img").samples("train")
    with pytest.raises(UserError, match="dataset.path: must be a data set of the hub or a local"):
        read(tmp_path / "nowhere", tmp_path).samples("train")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install -e '.*\[datasets\]'"):
        read(tmp_path, tmp_path).samples("train")


def test_a_part_for_generators_is_set_aside(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["old_dog", "cat"])
    save(tmp_path / "set", names, {"train": 40, "test": 4})
    before = read(tmp_path / "set", tmp_path)
    parted = read(tmp_path / "set", tmp_path, pretrain_fraction=0.5)
    upper = read(tmp_path / "set", tmp_path, pretrain_fraction=0.5, train_part="pretrain", shots=4)
    parts = ("pretrain", "train", "val", "test")
    sizes = [len(parted.samples(part)) for part in parts]
    assert sizes == [20, 16, 4, 4]  # val: 0.25 of 10 a class
    ids = {part: {row.sample_id for row in parted.samples(part)} for part in parts}
    assert len(set.union(*ids.values())) == 44
    assert {row.sample_id for row in upper.samples("train")} < ids["pretrain"]
    assert len(upper.samples("train")) == 8 and upper.samples("val") == parted.samples("val")
    assert upper.samples("train")[0].split == "train"
    assert len({str(one.recipe()) for one in (before, parted, upper)}) == 3
    with pytest.raises(UserError, match="must be one of train, val, test, got 'pretrain'"):
        before.samples("pretrain")
    with pytest.raises(UserError, match="train_part: must be train if there is no part pretrain"):
        read(tmp_path / "set", tmp_path, train_part="pretrain")
    with pytest.raises(UserError, match="train_part: must be one of train, pretrain, got 'test'"):
        read(tmp_path / "set", tmp_path, pretrain_fraction=0.5, train_part="test")


def save_labels(path: Path, labels: list[Any], split: str = "train") -> None:
    """Save a small data set with these labels."""
    datasets = pytest.importorskip("datasets")
    rows = {"image": [{"bytes": encoded(i, "PNG"), "path": None} for i in range(len(labels))]}
    table = datasets.Dataset.from_dict(rows | {"label": labels})
    datasets.DatasetDict({split: table.cast_column("image", datasets.Image())}).save_to_disk(path)


ONE = {"splits": {"train": "train", "val": None, "test": None}, "val_fraction": 0.0}


def test_numbers_of_any_type_are_ordered_by_number(tmp_path: Path) -> None:
    for name, kind in (("texts", str), ("floats", float)):
        save_labels(tmp_path / name, [kind(k) for k in range(11)])
        dataset = read(tmp_path / name, tmp_path, **ONE, test_fraction=0)
        assert list(dataset.class_names) == [str(k) for k in range(11)]
        assert [row.label for row in dataset.samples("train")] == list(range(11))


@pytest.mark.parametrize(
    "labels",
    [[0.0, 1.0, float("nan")], [0, 1, None], ["a", "b", " "], [0, 1, -1], ["a", "b", "NaN"]],
)
def test_rows_without_a_label_are_refused(labels: list[Any], tmp_path: Path) -> None:
    save_labels(tmp_path / "set", labels * 2)
    with pytest.raises(UserError, match="got none in 2 of 6 rows of train, first 2; remove them$"):
        read(tmp_path / "set", tmp_path, **ONE).samples("train")


def test_numbers_as_texts_with_and_without_decimals_are_the_same(tmp_path: Path) -> None:
    save_labels(tmp_path / "set", ["1.0", "1", "2", "2.0"])
    assert read(tmp_path / "set", tmp_path, **ONE, test_fraction=0).class_names == ("1", "2")


def test_a_split_is_one_part(tmp_path: Path) -> None:
    save_labels(tmp_path / "set", ["a", "b"])
    splits = {"train": "train", "val": None, "test": "train"}
    with pytest.raises(UserError, match="must be another split for each part, got train twice"):
        read(tmp_path / "set", tmp_path, splits=splits).samples("train")


def test_a_file_is_no_data_set(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="must be a folder or a hub name, got the file .*x.parquet"):
        read(tmp_path / "x.parquet", tmp_path).samples("train")


def test_a_part_without_labels_is_refused(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.ClassLabel(names=["cat", "dog"]), {"train": 8})
    source = datasets.load_from_disk(str(tmp_path / "set"))
    hidden = source["train"].map(lambda row: {"label": -1})
    datasets.DatasetDict({"train": source["train"], "test": hidden}).save_to_disk(tmp_path / "two")
    with pytest.raises(UserError, match="8 of 8 rows of test, first 0; .*splits.test=false"):
        read(tmp_path / "two", tmp_path).samples("train")


def test_classes_that_look_the_same_are_refused(tmp_path: Path) -> None:
    save_labels(tmp_path / "set", ["cat", "cat ", "Cat", "dog"] * 4)
    with pytest.raises(UserError, match="must differ in words, got 'Cat' and 'cat'"):
        read(tmp_path / "set", tmp_path, **ONE).samples("train")


def test_parts_number_their_classes_by_name(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    parts = {}
    for part, names in (("train", ["cat", "dog"]), ("test", ["dog", "cat"])):
        save(tmp_path / part, datasets.ClassLabel(names=names), {part: 4})
        parts[part] = datasets.load_from_disk(str(tmp_path / part))[part]
    assert labels_of(parts["train"], "label", "train") == ["cat", "dog"] * 2
    assert labels_of(parts["test"], "label", "test") == ["dog", "cat"] * 2


def test_signs_of_a_pattern_in_the_path_are_named(tmp_path: Path) -> None:
    (tmp_path / "a [v1]").mkdir()
    with pytest.raises(UserError, match=r"dataset.path: must have none of .* got \[ \] in '.*a"):
        read(tmp_path / "a [v1]", tmp_path).samples("train")


def test_a_folder_called_datasets_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = type(sys)("datasets")
    own.__file__ = "/here/datasets/__init__.py"
    monkeypatch.setitem(sys.modules, "datasets", own)
    with pytest.raises(UserError, match="got /here/datasets/__init__.py of the same name; rename"):
        read(tmp_path, tmp_path).samples("train")


def test_the_first_cause_is_told(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match="dataset.path: .*Parquet magic bytes not found"):
        read(tmp_path / "set", tmp_path).samples("train")


def test_other_images_of_a_row_are_not_decoded(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.Value("string"), {"train": 8})
    table = datasets.load_from_disk(str(tmp_path / "set"))["train"]
    table = table.add_column("mask", [{"bytes": b"no image", "path": None}] * 8)
    table.cast_column("mask", datasets.Image()).save_to_disk(str(tmp_path / "masks"))
    assert len(read(tmp_path / "masks", tmp_path, **ONE, test_fraction=0).samples("train")) == 8


def test_a_format_that_is_saved_with_the_data_plays_no_part(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save_labels(tmp_path / "set", [3, 5] * 4)
    table = datasets.load_from_disk(str(tmp_path / "set"))
    table.with_format("numpy").save_to_disk(str(tmp_path / "arrays"))
    dataset = read(tmp_path / "arrays", tmp_path, **ONE, test_fraction=0)
    assert dataset.class_names == ("3", "5") and len(dataset.samples("train")) == 8


def test_a_label_that_training_does_not_have_is_named_by_row_and_part(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for part, labels in (("train", ["a", "b"] * 4), ("validation", ["a", "c"])):
        save_labels(tmp_path / part, labels, part)
    parts = {p: datasets.load_from_disk(str(tmp_path / p))[p] for p in ("train", "validation")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(UserError, match="got 'c' in row 1 of val; fix it"):
        read(tmp_path / "set", tmp_path, **ONE, test_fraction=0).samples("train")


def test_a_survey_writes_no_files(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.Value("string"), {"train": 8, "test": 2})
    survey = Survey.of(read(tmp_path / "set", tmp_path / "data"))
    assert not survey.is_decoded and not (tmp_path / "data").exists()
    assert survey.sizes() == "2 classes; images: train 6, val 2, test 2"


def test_broken_images_are_named_before_shots_and_in_every_part(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    save(tmp_path / "set", datasets.ClassLabel(names=["a", "b"]), {"train": 16, "test": 2})
    options: dict[str, Any] = {"val_fraction": 0, "pretrain_fraction": 0.5}
    sound = read(tmp_path / "set", tmp_path, **options)
    tables = datasets.load_from_disk(str(tmp_path / "set"))
    rest = tables["train"].remove_columns("image")
    for part in ("train", "pretrain"):
        name = sound.samples(part)[0].sample_id
        images = tables["train"].cast_column("image", datasets.Image(decode=False))["image"][:]
        images[int(name.rpartition("/")[2])] = {"bytes": b"no image", "path": None}
        table = rest.add_column("image", images).cast_column("image", datasets.Image())
        broken = datasets.DatasetDict({**tables, "train": table})
        broken.save_to_disk(str(tmp_path / part / "set"))
        dataset = read(tmp_path / part / "set", tmp_path, **options, shots=4)
        with pytest.raises(UserError, match=f"got 1 of .* that are not: {name} "):
            dataset.samples(part)
    short = read(tmp_path / "train" / "set", tmp_path, **options, shots=4, broken="skip")
    with pytest.raises(UserError, match="dataset.shots: must be at most 3, the training images of"):
        short.samples("train")
