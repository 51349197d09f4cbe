"""torchvision's data sets on small trees in their true form, through their own YAMLs."""

import hashlib
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from torchvision import datasets

from sip.core.errors import UserError
from sip.dataset.base import Sample, Split
from sip.dataset.files import Entry, from_pixels
from sip.dataset.folders import is_image
from sip.dataset.subsets import make_parts
from tests.dataset import trees
from tests.dataset.trees import source


@pytest.fixture
def no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision's readers accept files that are not the original ones."""
    for reader in (datasets.CIFAR10, datasets.CIFAR100):
        for parts in ("train_list", "test_list"):
            names = [[name, None] for name, _ in getattr(reader, parts)]
            monkeypatch.setattr(reader, parts, names)
        monkeypatch.setattr(reader, "meta", reader.meta | {"md5": None})
    for parts in ("train_list", "test_list"):
        names = [[name, None] for name, _ in getattr(datasets.STL10, parts)]
        monkeypatch.setattr(datasets.STL10, parts, names)
    files = {key: (name, None) for key, (name, _) in datasets.Flowers102._file_dict.items()}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", files)


def write_tree(name: str, root: Path) -> None:
    """Write the small tree of one data set, with the classes that its YAML names."""
    known = list(trees.node(name).prompt_names)
    if name == "oxford_pets":
        trees.oxford_pets(root, sorted([*known, "American Bulldog"]))
    elif name == "food101":
        trees.food101(root, sorted([*known, "apple_pie"]))
    elif name in ("dtd", "caltech101", "fgvc_aircraft", "eurosat"):
        getattr(trees, name)(root, sorted(known))
    else:
        getattr(trees, name)(root)


FIRST_OF_VAL = [
    f"cifar10/train/{n:05d}" for n in (58, 67, 87)
]  # of CIFAR-10 in the profile's parts; a change would move val

# classes; images a class in train, val, test
EXPECTED = {
    "cifar10": (10, 9, 1, 2),
    "cifar100": (100, 2, 1, 1),
    "caltech101": (23, 27, 3, 3),
    "stanford_cars": (2, 4, 1, 2),
    "flowers102": (102, 1, 1, 2),
    "oxford_pets": (26, 3, 1, 2),
    "dtd": (47, 2, 2, 2),
    "food101": (3, 9, 1, 3),
    "fgvc_aircraft": (100, 1, 1, 1),
    "eurosat": (10, 7, 1, 2),
    "stl10": (10, 4, 1, 2),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_splits_ids_names_and_files(name: str, tmp_path: Path, no_checksums: None) -> None:
    write_tree(name, tmp_path)
    dataset = source(name, tmp_path)
    num_classes, *per_class = EXPECTED[name]
    assert len(dataset.class_names) == num_classes
    assert len(set(dataset.class_names)) == num_classes
    assert not any("_" in word for word in dataset.class_names)
    ids: set[str] = set()
    for split, num in zip(("train", "val", "test"), per_class, strict=True):
        rows = dataset.samples(split)
        assert Counter(row.label for row in rows) == dict.fromkeys(range(num_classes), num)
        assert ids.isdisjoint(row.sample_id for row in rows)
        ids |= {row.sample_id for row in rows}
        for row in rows[:: max(1, len(rows) // 5)]:
            assert row.split == split
            assert row.class_name == dataset.class_names[row.label]
            if (inside := Path(row.path)).is_relative_to(place := tmp_path / dataset.folder):
                assert row.sample_id == f"{name}/{inside.relative_to(place).as_posix()}"
            with Image.open(row.path) as file:
                assert file.size == (row.width, row.height)
        again = source(name, tmp_path, seed=5)
        assert again.samples(split) == rows  # the run's seed moves nothing without shots


def test_shots_are_nested_and_leave_val_and_test(tmp_path: Path, no_checksums: None) -> None:
    trees.cifar10(tmp_path)
    sets = {shots: source("cifar10", tmp_path, shots=shots, seed=3) for shots in (None, 2, 5)}
    ids = {key: {row.sample_id for row in sets[key].samples("train")} for key in sets}
    assert ids[2] < ids[5] < ids[None]
    assert len(ids[2]) == 20
    assert sets[2].samples("val") == sets[None].samples("val")
    assert sets[2].samples("test") == sets[None].samples("test")
    other = source("cifar10", tmp_path, shots=2, seed=4)
    assert {row.sample_id for row in other.samples("train")} != ids[2]
    assert sets[2].recipe() == sets[None].recipe() | {"shots": 2}


def test_cifar_images_are_written_only_where_asked_for(tmp_path: Path, no_checksums: None) -> None:
    trees.cifar10(tmp_path)
    dataset = source("cifar10", tmp_path, shots=1)
    rows = dataset.samples("train")
    assert len(list((tmp_path / "cifar10-png").rglob("*.png"))) == len(rows) == 10
    original = datasets.CIFAR10(tmp_path, train=True)
    row = rows[0]
    index = int(row.sample_id.rsplit("/", 1)[1])
    assert np.array_equal(np.asarray(Image.open(row.path)), original.data[index])
    assert original.targets[index] == row.label


def test_names_fit_a_prompt(tmp_path: Path, no_checksums: None) -> None:
    trees.cifar100(tmp_path)
    names = source("cifar100", tmp_path).class_names
    assert "aquarium fish" in names and "ray fish" in names
    for name, expected in (
        ("fgvc_aircraft", {"Boeing 707-320 aircraft", "Embraer Legacy 600 aircraft"}),
        ("eurosat", {"annual crop land", "sea or lake"}),
        ("food101", {"apple pie", "pho noodle soup"}),
    ):
        write_tree(name, tmp_path)
        assert expected <= set(source(name, tmp_path).class_names)


def test_stl10_images_are_upright(tmp_path: Path, no_checksums: None) -> None:
    trees.stl10(tmp_path)
    row = source("stl10", tmp_path).samples("test")[3]
    image, label = datasets.STL10(tmp_path, split="test")[3]
    assert np.array_equal(np.asarray(Image.open(row.path)), np.asarray(image))
    assert (row.label, row.class_name) == (label, "cat")


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    write_tree("eurosat", tmp_path)
    (tmp_path / "eurosat" / "2750" / "Desert").mkdir()
    with pytest.raises(UserError, match="cannot read the data set eurosat .*Desert"):
        source("eurosat", tmp_path).samples("train")


@pytest.mark.parametrize("content", [b"", b"\x80\xff\0junk", b"one\n"])
@pytest.mark.parametrize("name", EXPECTED)
def test_damaged_lists_are_one_line(
    name: str, content: bytes, tmp_path: Path, no_checksums: None
) -> None:
    write_tree(name, tmp_path)
    lists = [file for file in tmp_path.rglob("*") if file.is_file() and not is_image(file.name)]
    for file in lists[:8]:
        sound = file.read_bytes()
        file.write_bytes(content)
        with suppress(UserError):  # another error would be a traceback; some lists are not read
            source(name, tmp_path).samples("train")
        file.write_bytes(sound)


@pytest.mark.parametrize("name", EXPECTED)
def test_missing_data_say_what_where_and_how(name: str, tmp_path: Path) -> None:
    dataset = source(name, tmp_path)
    with pytest.raises(UserError) as error:
        dataset.samples("train")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(
        f"dataset: cannot read the data set {name} in {tmp_path}/{dataset.folder}"
    )
    assert ("dataset.download=true" in message) == (name != "stanford_cars")
    assert "put" in message


def test_a_failed_download_does_not_advise_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fail)
    with pytest.raises(UserError) as error:
        source("cifar10", tmp_path, download=True).samples("train")
    assert str(error.value).endswith(
        "Name or service not known; the download failed: check the network, or put data_batch_1 "
        "... data_batch_5, test_batch and batches.meta there"
    )


def test_rules_are_for_missing_parts_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="val_fraction: must be null, since the part is official"):
        source("dtd", tmp_path, val_fraction=0.2)
    with pytest.raises(UserError, match="test_fraction: must be set, got null; one rule for .*te"):
        source("caltech101", tmp_path, train_per_class=None)
    with pytest.raises(UserError, match="class: must be null if dataset.test_fraction is set, got"):
        source("caltech101", tmp_path, test_fraction=0.2)
    with pytest.raises(UserError, match=r"one of train, val, test, got 'pretrain'"):
        source("dtd", tmp_path).samples("pretrain")


def test_a_listed_file_that_is_missing_is_named(tmp_path: Path) -> None:
    write_tree("dtd", tmp_path)
    gone = tmp_path / "dtd" / "dtd" / "images" / "banded" / "banded_0001.jpg"
    gone.unlink()
    with pytest.raises(UserError, match=f"cannot read the image {gone}"):
        source("dtd", tmp_path).samples("train")


def test_a_part_for_generators_is_set_aside(tmp_path: Path, no_checksums: None) -> None:
    trees.cifar10(tmp_path)
    parted = source("cifar10", tmp_path, pretrain_fraction=0.8, val_fraction=0.5)
    for part, num in (("pretrain", 8), ("train", 1), ("val", 1), ("test", 2)):  # of 10 and 2
        counts = Counter(row.label for row in parted.samples(part))
        assert counts == dict.fromkeys(range(10), num)


def test_cifar10_profiles_parts_have_their_sizes() -> None:
    """The rule is the commitment: counts of the true data set, by class and hash, without it."""
    rows: list[Entry] = [
        Entry(f"cifar10/train/{index:05d}", index % 10, lambda: None)  # type: ignore[arg-type, return-value]
        for index in range(50_000)
    ]
    profile = OmegaConf.load(trees.CONF.parent / "profile" / "cifar10.yaml").dataset
    entries: dict[Split, list[Entry]] = {"train": rows, "test": []}
    make_parts(entries, None, profile.val_fraction, 0, profile.pretrain_fraction)
    for part, num in (("pretrain", 4000), ("train", 800), ("val", 200)):
        counts = Counter(row.label for row in entries[part])  # type: ignore[index]
        assert counts == dict.fromkeys(range(10), num)
    first = sorted(row.sample_id for row in entries["val"])[:3]
    assert first == FIRST_OF_VAL


def test_arrays_are_remembered_and_those_of_other_arguments_are_other_files(
    tmp_path: Path, no_checksums: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.stl10(tmp_path)

    def read(fold: int) -> list[Sample]:
        parts = {"train": {"split": "train", "folds": fold}, "test": {"split": "test"}}
        options = {"parts": parts, "val_fraction": 0, "index": str(tmp_path / "index")}
        return list(source("stl10", tmp_path, **options).samples("train"))

    folds = {fold: read(fold) for fold in (0, 1)}
    for row in (*folds[0], *folds[1]):
        assert hashlib.sha256(Image.open(row.path).tobytes()).hexdigest() == row.sha256
    contents = [{row.sha256 for row in rows} for rows in folds.values()]
    assert contents[0].isdisjoint(contents[1])
    monkeypatch.setattr("sip.dataset.torchvision.from_pixels", None)
    assert {fold: read(fold) for fold in (0, 1)} == folds


def test_a_file_that_a_crash_left_empty_is_written_again(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    (tmp_path / "1.png").touch()
    file = from_pixels(tmp_path / "1.png", image)
    assert Image.open(file.path).tobytes() == image.tobytes()


def test_a_reader_that_torchvision_does_not_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reader: must be a class of torchvision.datasets, got 'P"):
        source("cifar10", tmp_path, reader="Pets").samples("train")
