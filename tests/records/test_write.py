"""What a run's list and its contact sheet say of images of two classes."""

import errno
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from sip.dataset.base import Sample
from sip.images.retrieved import Retrieved
from sip.prompts.base import Prompt, SourceClass
from sip.records.write import sheet_pair, write_config, write_images
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


def test_what_plays_no_part_in_an_image_is_not_said_of_it(tmp_path: Path) -> None:
    prompt = Prompt("p", "p.png", "hash", 8, "eight", 0, (), "blurry", 7.5, 0.7, 1, None, None)
    made = stored(prompt, "x.png")
    of_text = replace(made, unread=frozenset({"noise_rate"}))
    real = replace(made, kind="retrieved", unread=Retrieved.unread.fget(None))
    write_images(tmp_path / "images.parquet", {}, [made, of_text, real], tmp_path)
    names = ("kind", "noise_rate", "guidance_scale", "negative_prompt", "seed")
    rows = pq.read_table(tmp_path / "images.parquet").to_pylist()
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("generated", 0.7, 7.5, "blurry", 1),
        ("generated", None, 7.5, "blurry", 1),
        ("retrieved", None, None, None, 1),
    ]
    assert [(pair.kind, pair.lines) for pair in map(sheet_pair, (made, of_text, real))] == [
        ("generated", ["(no text)", "guidance scale 7.5", "noise rate 0.7"]),
        ("generated", ["(no text)", "guidance scale 7.5"]),
        ("retrieved", ["a real image of the class"]),
    ]


def test_pandas_reads_whole_numbers_as_they_are(tmp_path: Path) -> None:
    """A float has no place for the seeds, and a column with gaps is one of floats by default."""
    seed = 2563785021857003407
    values = (0, (), "", 7.5, 0.7, seed, None, None, None, SourceClass(3, "three", 0.25))
    prompt = Prompt("p", "p.png", "hash", 8, "eight", *values)
    images = [stored(prompt, None), stored(replace(prompt, source_class=None), None)]
    real = [Sample("a", str(tmp_path / "a.png"), 8, "eight", "train", 8, 8, "a" * 64)]
    write_images(tmp_path / "images.parquet", {"train": real}, images, tmp_path)
    rows = pd.read_parquet(tmp_path / "images.parquet")
    assert rows["seed"].tolist() == [pd.NA, seed, seed] and str(rows["seed"].dtype) == "Int64"
    assert rows["source_label"].to_csv(index=False).split() == ["source_label", '""', "3", '""']


def test_a_configuration_is_written_whole_or_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    write_config(OmegaConf.create({"seed": 1, "name": "ä", "same": "${seed}"}), file)
    assert file.read_text() == "seed: 1\nname: ä\nsame: 1\n"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sip.core.files.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write_config(OmegaConf.create({"seed": 2}), file)
    assert "seed: 1" in file.read_text() and list(tmp_path.iterdir()) == [file]
