"""Each remark on a data set is one line."""

from sip.dataset.base import Sample, Split
from sip.dataset.remarks import remarks


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
        "1 of 4 training images are copies of other images (b = a); all of them count",
        "1 of 3 classes have no val image: cow",
        "2 of 3 classes have only 1 val image: cat, dog",
        "1 of 3 classes have only 1 test image: cat",
    ]


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
