"""What a run's list and its contact sheet say of images of two classes."""

from pathlib import Path

import pyarrow.parquet as pq

from sip.prompts.base import Prompt, SourceClass
from sip.records.write import sheet_pair, write_images
from tests.pipeline.made_up import stored


def test_an_image_of_two_classes_is_listed_with_both(tmp_path: Path) -> None:
    def prompt(source: SourceClass | None) -> Prompt:
        values = (0, (), "", 7.5, 0.7, 1, None, None, None, source)
        return Prompt("p", "p.png", "hash", 8, "eight", *values)

    images = [stored(prompt(one), None) for one in (SourceClass(3, "three", 0.25), None)]
    write_images(tmp_path / "images.parquet", {}, images, tmp_path)
    rows = pq.read_table(tmp_path / "images.parquet").to_pylist()
    names = ("label", "class_name", "source_label", "source_class_name", "label_share")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (8, "eight", 3, "three", 0.25),
        (8, "eight", None, None, None),
    ]
    mixed, plain = (sheet_pair(stored(image.prompt, "x.png")) for image in images)
    assert (mixed.title, mixed.lines[-1]) == ("three to eight", "label 0.25 eight, 0.75 three")
    assert plain.title == "eight" and "label" not in " ".join(plain.lines)
