"""Each remark on a data set is one line."""

import pytest

from sip.dataset.base import Sample, Split
from sip.dataset.remarks import codes, remarks


def row(name: str, label: int, split: Split, content: str) -> Sample:
    """Return a sample."""
    return Sample(name, f"/{name}", label, ["cat", "dog", "cow"][label], split, 8, 8, content)


def test_copies_and_classes_that_are_not_tested_are_named() -> None:
    parts: dict[Split, list[Sample]] = {
        "train": [
            row("a", 0, "train", "x"),
            row("b", 0, "train", "x"),
            row("c", 1, "train", "y"),
            row("d", 2, "train", "z"),
        ],
        "val": [row("e", 0, "val", "v"), row("f", 1, "val", "w")],
        "test": [row(f"g{i}", n, "test", f"t{i}{n}") for n in range(3) for i in range(1 + n)],
    }
    assert remarks(parts, ["cat", "dog", "cow"]) == [
        "copies within train: 1 of 4 images (b = a); all of them count",
        "classes without a val image: 1 of 3 (cow)",
        "classes with only 1 val image: 2 of 3 (cat, dog)",
        "classes with only 1 test image: 1 of 3 (cat)",
    ]


def test_copies_of_one_image_stand_together() -> None:
    contents = "x", "y", "y", "x", "z", "y"
    rows = [row(f"a{n}", 0, "train", content) for n, content in enumerate(contents)]
    (line,) = remarks({"train": rows}, ["cat"])
    assert line == (
        "copies within train: 3 of 6 images (a3 = a0, a2 = a1, a5 = a1); all of them count"
    )


def test_an_image_in_two_classes_is_named() -> None:
    parts: dict[Split, list[Sample]] = {
        "train": [row("a", 0, "train", "x"), row("b", 1, "train", "y")],
        "val": [row("c", 1, "val", "x"), row("d", 0, "val", "z")],
        "test": [],
    }
    (line,) = (line for line in remarks(parts, ["cat", "dog"]) if "class (" in line)
    assert (
        line
        == "1 image in more than one class (a (cat) = c (dog)); remove what is in the wrong one"
    )


def test_a_usual_data_set_has_no_remarks() -> None:
    parts: dict[Split, list[Sample]] = {
        "train": [row("a", 0, "train", "x")],
        "val": [row("b", 0, "val", "y"), row("c", 0, "val", "z")],
        "test": [],
    }
    assert remarks(parts, ["cat", "dog"]) == []


def test_copies_of_training_images_are_counted_unless_the_check_for_leaks_does() -> None:
    parts: dict[Split, list[Sample]] = {
        "train": [row("a", 0, "train", "x"), row("b", 1, "train", "y")],
        "val": [row("c", 0, "val", "v"), row("d", 0, "val", "x")],
    }
    line = "copies of training images in val: 1 of 2 images (d = a); delete one of each two"
    assert line in remarks(parts, ["cat", "dog"])
    assert line not in remarks(parts, ["cat", "dog"], with_leaks=False)


@pytest.mark.parametrize("name", ["1", "0001", "n02085620", "class 3", "null"])
def test_codes_are_no_words(name: str) -> None:
    (line,) = codes(["cat", name])
    assert line.startswith(f"class names that are no words: 1 of 2 ({name}); ")
    assert codes(["cat", "7 up", "A320", "T-shirt", "\u732b", "number 1"]) == []
