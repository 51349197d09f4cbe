"""What `sip.generate` takes: each kind of data becomes the same list of images."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset
from datasets import Image as ImageFeature
from PIL import Image
from torchvision.datasets import ImageFolder

from sip.api.data import Given, given
from sip.config.job import job
from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.dataset.base import Sample
from tests.api.conftest import NAMES


class Photos(torch.utils.data.Dataset):
    """As torchvision's CIFAR10: arrays, classes, a transform."""

    classes = NAMES

    def __init__(self, pairs: list, transform: Any = None) -> None:
        self.pairs, self.transform = pairs, transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.pairs[index]
        return (image if self.transform is None else self.transform(image)), label


def samples(images: Given) -> list[Sample]:
    """Return the rows as the command line reads them."""
    from sip.config.build import build

    with job("generate", images.overrides) as config:
        rows: list[Sample] = build(config.dataset).samples("train")
    return rows


def folder_of(pairs: list, root: Path) -> Path:
    for number, (image, label) in enumerate(pairs):
        file = root / NAMES[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
    return root


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def hugging_face(pairs: list, folder: Path) -> Dataset:
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=list(NAMES))})
    rows = {"image": [{"bytes": encoded(image), "path": None} for image, _ in pairs]}
    return Dataset.from_dict(rows | {"label": [label for _, label in pairs]}, features)


KINDS: dict[str, Any] = {
    "PIL": lambda pairs, folder: pairs,
    "arrays": lambda pairs, folder: [(np.asarray(image), label) for image, label in pairs],
    "tensors": lambda pairs, folder: [
        (torch.from_numpy(np.array(image)).permute(2, 0, 1), label) for image, label in pairs
    ],
    "mappings": lambda pairs, folder: [{"image": i, "label": label} for i, label in pairs],
    "frame": lambda pairs, folder: pd.DataFrame(pairs, columns=["image", "label"]),
    "datasets": hugging_face,
    "torch": lambda pairs, folder: Photos(pairs, transform=lambda image: torch.zeros(3)),
    "torchvision": lambda pairs, folder: ImageFolder(str(folder_of(pairs, folder / "f"))),
    "files": lambda pairs, folder: ImageFolder(str(folder_of(pairs, folder / "f"))).samples,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_data_is_the_same_images(kind: str, pairs: list, tmp_path: Path) -> None:
    data = KINDS[kind](pairs, tmp_path)
    classes = NAMES if kind not in ("datasets", "torch", "torchvision") else None
    if kind in ("torchvision", "files"):  # sorts the names of the folders
        pairs, classes = sorted(pairs, key=lambda pair: NAMES[pair[1]]), sorted(NAMES)
    images = given(data, None, classes, tmp_path / "store")
    rows = samples(images)
    assert [row.path for row in rows] == list(images.files or ())
    for row, (image, label) in zip(rows, pairs, strict=True):
        assert row.class_name == NAMES[label]
        with Image.open(row.path) as stored:
            assert stored.convert("RGB").tobytes() == image.tobytes()
    assert given(data, None, classes, tmp_path / "store") == images


def test_labels_in_words_and_as_numbers_keep_their_order(pairs: list, tmp_path: Path) -> None:
    words = given([(image, NAMES[label]) for image, label in pairs], None, None, tmp_path)
    assert [row.class_name for row in samples(words)] == [NAMES[label] for _, label in pairs]
    odd = ["a 'b' \"c\", d", "x: {y}", "größe"]
    numbers = given(pairs, None, odd, tmp_path)
    rows = samples(numbers)
    assert [row.label for row in rows] == [label for _, label in pairs]
    assert [row.class_name for row in rows] == [odd[label] for _, label in pairs]


def test_the_same_image_twice_is_two_items(pairs: list, tmp_path: Path) -> None:
    images = given([pairs[0], pairs[0]], None, NAMES, tmp_path)
    first, second = samples(images)
    assert first.sha256 == second.sha256 and first.sample_id != second.sample_id


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I", "I;16"])
def test_an_image_in_memory_is_read_as_its_file_is(mode: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8)
    image, file = Image.fromarray(pixels), tmp_path / "a.tif"
    if mode == "P":
        image, file = Image.fromarray(pixels[..., :3]).quantize(16), tmp_path / "a.png"
        image.info["transparency"] = 3
    elif mode[0] == "I":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    image = image.convert(mode)
    image.save(file)
    (path,) = given([(image, "cat")], None, None, tmp_path).files or ()
    assert np.array_equal(read_rgb(path, None), read_rgb(file, None))


def test_images_of_one_class_need_no_labels(pairs: list, tmp_path: Path) -> None:
    images = given([image for image, _ in pairs], "tabby cat", None, tmp_path)
    assert {row.class_name for row in samples(images)} == {"tabby cat"}


def test_a_folder_and_a_name_are_read_where_they_are(pairs: list, tmp_path: Path) -> None:
    root = folder_of(pairs, tmp_path / "photos")
    images = given(root, None, None, tmp_path / "store")
    assert len(samples(images)) == 6 and images.files is None
    assert not (tmp_path / "store" / "originals").exists()
    assert given("digits", None, None, tmp_path).overrides == ("dataset=digits",)


@pytest.mark.parametrize("name", ["7", "null", "a,b", "[a]", "{a}", "x=y", "it's", "a\\", "a\\'b"])
def test_names_are_texts_whatever_hydra_would_read(
    name: str, pairs: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    pairs[0][0].save(Path(name) / "0.png")
    (row,) = samples(given(Path(name), name, None, tmp_path))
    assert row.class_name == name and Path(row.path).parent.name == name
    (row,) = samples(given([pairs[0]], None, [name], Path(name)))
    assert row.class_name == name and name in row.path


@pytest.mark.parametrize(
    ("data", "names", "message"),
    [
        ("nowhere", None, "data: must be a folder.* got 'nowhere', which is not there"),
        (5, None, "data: must be a folder.* got int"),
        ([], None, "data: must have an image, got none"),
        ([1], None, r"each item must be \(image, label\), got int in item 0"),
        ([(np.zeros((4, 4, 3), np.uint8), 1)], None, "class_names: must be the words"),
        ([(np.zeros((4, 4, 3), np.uint8), 2)], ["a"], "number from 0 to 0.* got 2 in item 0"),
        ([(np.zeros((4, 4, 3), np.uint8), "2")], ["a"], "number from 0 to 0.* got 2 in item 0"),
        ([(np.zeros((4, 4, 3), np.uint8), -1)], None, "got -1 in item 0"),
        ([(np.zeros((4, 4, 3), np.float32), "a")], None, r"in uint8.* float32 \(4, 4, 3\)"),
        ([(Image.new("F", (4, 4)), "a")], None, "of 8 or 16 bits, got .* of mode F in item 0"),
        ([(Image.new("I", (4, 4), 2**16), "a")], None, "of 8 or 16 bits, got .* of mode I in"),
        ([(Image.new("I", (4, 4), -1), "a")], None, "of 8 or 16 bits, got .* of mode I in item"),
        (pd.DataFrame({"a": [1]}), None, "must have a column for the image.* got a; rename it"),
        (IterableDataset.from_generator(list), None, "column for the image, .* got none; rename"),
        (DatasetDict(), None, "one split of a DatasetDict"),
    ],
)
def test_other_data_are_refused(data: Any, names: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        given(data, None, names, tmp_path)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_one_line(
    pairs: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    for data in (pairs, [(tmp_path / "a.png", "cat")]):
        with pytest.raises(UserError, match="^cannot write to .*: No space left .*store="):
            given(data, None, NAMES, tmp_path / "store")


def test_arguments_that_the_data_do_not_take_are_refused(pairs: list, tmp_path: Path) -> None:
    folder = folder_of(pairs, tmp_path / "photos")
    for data in (folder, "digits"):
        with pytest.raises(
            UserError, match=r"^class_names: must be left out with .* got \['cat'\]"
        ):
            given(data, None, ["cat"], tmp_path)
    with pytest.raises(UserError, match="^label: must be left out with data='digits'.* got 'cat'"):
        given("digits", "cat", None, tmp_path)


def test_a_column_is_no_list_of_classes(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": ["a.png"], "label": [0], "classes": ["a class"]})
    with pytest.raises(UserError, match="^class_names: must be the words for labels"):
        given(table, None, None, tmp_path)


def test_a_label_for_images_with_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="label: must be left out"):
        given(pd.DataFrame({"image": [], "label": []}), "cat", None, tmp_path)
