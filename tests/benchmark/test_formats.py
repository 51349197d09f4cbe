"""The tables of formats and storages: right columns, right errors, ratios the right way round."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sip.benchmark import formats, storage
from sip.core.image_io import ENCODERS
from sip.store.shards import STORAGES


def test_crops_are_real_pixels_of_the_asked_size() -> None:
    from sklearn.datasets import load_sample_images

    first, second = load_sample_images().images
    for size, num in formats.SIZES.items():
        pictures = formats.crops(size, num)
        assert len(pictures) == num and {picture.size for picture in pictures} == {(size, size)}
        again = formats.crops(size, num)
        assert all(np.array_equal(a, b) for a, b in zip(pictures, again, strict=True))
    stacked = np.asarray(formats.crops(512, 1)[0])
    windows = [left for left in range(129) if np.array_equal(stacked[0], first[0, left:][:512])]
    assert len(windows) == 1
    left = windows[0]
    assert np.array_equal(stacked[:427], first[:, left : left + 512])
    assert np.array_equal(stacked[427:], second[:85, left : left + 512])


def test_lossless_formats_lose_nothing_and_errors_are_right() -> None:
    pictures = formats.crops(32, 4)
    rows = {row["format"]: row for row in formats.measure(pictures, repeats=1)}
    assert list(rows) == list(formats.CHOICES)
    for name, row in rows.items():
        assert row["size"] == 32 and row["bytes"] > 100
        assert row["encode_ms"] > 0 and row["decode_ms"] > 0
        lossless = "PNG" in name or "lossless" in name
        assert (row["psnr"] is None) == lossless and (row["error"] == 0) == lossless
    row = rows["JPEG, quality 95, 4:4:4"]
    assert 30 < row["psnr"] < 60 and 0.1 < row["error"] < 5
    assert row["psnr"] > rows["JPEG, quality 95, 4:2:0"]["psnr"]


def test_the_error_is_that_of_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    off_by_two = Image.new("RGB", (8, 8), (12, 12, 12))
    monkeypatch.setattr(formats, "_decode", lambda _: off_by_two)
    row = formats.measure([Image.new("RGB", (8, 8), (10, 10, 10))], repeats=1)[0]
    assert row["error"] == 2
    assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / 4))


def test_what_the_store_writes_is_among_the_choices() -> None:
    measured = [
        {key: value for key, value in options.items() if key != "format"} | {"": options["format"]}
        for options in formats.CHOICES.values()
    ]
    for name, options in ENCODERS.items():
        assert options | {"": name.upper()} in measured


def test_the_command_prints_all_sizes(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "SIZES", {32: 1, 224: 1})
    formats.run(SimpleNamespace(repeats=1))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 * len(formats.CHOICES)
    assert lines[0].startswith("| size, px | format | encode, ms |")
    assert {line.count("|") for line in lines} == {len(formats.HEADER) + 1}


def test_storages_are_measured_on_the_same_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PER_SHARD", 8)
    rows = storage.measure_storage(tmp_path, num=20, size=32, repeats=1)
    assert [row["storage"] for row in rows] == list(STORAGES)
    assert [row["files"] for row in rows] == [20 + 3, 3 + 3]
    text = storage.table(rows, 20, 32)
    rates = ("order_warm", "random_warm", "random_cold", "rgb_warm", "rgb_cold")
    assert all(row[name] > 0 for row in rows for name in rates)
    lines = text.splitlines()
    assert {line.count("|") for line in lines[:5]} == {len(storage.HEADER) + 1}
    assert lines[4].startswith(f"| webdataset / files | {6 / 23:.3g} |")


def test_the_storage_command_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "NUM_PICTURES", 12)
    monkeypatch.setattr(storage, "SIZE", 32)
    storage.run(SimpleNamespace(repeats=1))
    assert "12 PNG pictures of 32 px" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
