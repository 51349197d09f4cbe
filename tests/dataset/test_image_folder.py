"""Your own images in folders, tidy and messy."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sip.core.errors import UserError
from sip.core.image_io import EXIF_ORIENTATION
from sip.dataset import files, index
from sip.dataset.perceptual import hash_images
from tests.dataset.trees import source, write_image


def folder(root: Path, **changes: Any) -> Any:
    """Return the data set with plain options."""
    return source("image_folder", root, **{"val_fraction": 0.2, "test_fraction": 0.3} | changes)


def fill(root: Path, num: int, start: int = 0) -> None:
    """Write `num` images for each of two classes."""
    for label, name in enumerate(("grey_cat", "dog")):
        for i in range(num):
            write_image(root / name / f"{i}.png", start + 100 * label + i)


def test_given_parts_are_kept(tmp_path: Path) -> None:
    for start, (part, num) in enumerate((("train", 4), ("val", 2), ("test", 3))):
        fill(tmp_path / part, num, 1000 * start)
    dataset = folder(tmp_path, shots=3)
    assert dataset.class_names == ("dog", "grey cat")
    assert [len(dataset.samples(part)) for part in ("train", "val", "test")] == [6, 4, 6]
    row = dataset.samples("test")[0]
    assert row.sample_id == "test/dog/0.png"
    assert row.path == str(tmp_path / "test" / "dog" / "0.png")
    assert (row.label, row.width, row.height) == (0, 12, 8)


def test_parts_are_made_by_the_split_seed_alone(tmp_path: Path) -> None:
    fill(tmp_path, 10)
    dataset = folder(tmp_path)
    parts = {part: dataset.samples(part) for part in ("train", "val", "test")}
    # test: 3 of 10 first; val: 0.2 of the 7 left, rounded, is 1
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 12, "val": 2, "test": 6}
    assert len({row.sha256 for rows in parts.values() for row in rows}) == 20
    assert folder(tmp_path, seed=9).samples("test") == parts["test"]
    assert folder(tmp_path, split_seed=1).samples("test") != parts["test"]


def test_a_missing_val_is_taken_from_train(tmp_path: Path) -> None:
    fill(tmp_path / "train", 10)
    fill(tmp_path / "test", 2, 1000)
    dataset = folder(tmp_path)
    assert [len(dataset.samples(part)) for part in ("train", "val", "test")] == [16, 4, 4]


def test_a_rotated_photo_has_its_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (12, 8)).save(tmp_path / "dog" / "rotated.jpg", exif=exif)
    (row,) = folder(tmp_path, val_fraction=0, test_fraction=0).samples("train")
    assert (row.width, row.height) == (8, 12)


def test_prompt_names(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    assert folder(tmp_path, prompt_names={"dog": "old dog"}).class_names == ("old dog", "grey cat")
    with pytest.raises(UserError, match="got cow; the classes are dog, grey_cat"):
        _ = folder(tmp_path, prompt_names={"cow": "x"}).class_names


def test_recipe_knows_the_content(tmp_path: Path) -> None:
    fill(tmp_path, 10)
    before = folder(tmp_path).recipe()
    assert folder(tmp_path).recipe() == before
    (changed, *_) = sorted(tmp_path.rglob("*.png"))
    Image.new("RGB", (9, 9), "red").save(changed)
    assert folder(tmp_path).recipe() != before


def test_files_are_read_once(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    dataset = folder(tmp_path)
    rows = dataset.samples("train")
    for file in tmp_path.rglob("*.png"):
        file.unlink()
    assert dataset.samples("train") == rows


def test_a_flat_folder_is_one_class(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for i in range(3):
        write_image(tmp_path / "photos" / ("", "more")[i % 2] / f"{i}.png", i)
    (tmp_path / "photos" / "notes.txt").touch()
    read = folder(tmp_path / "photos", label="tabby_cat")
    assert read.class_names == ("tabby cat",)
    rows = read.samples("train")
    assert [row.sample_id for row in rows] == ["0.png", "2.png", "more/1.png"]
    assert read.samples("val") == read.samples("test") == []
    assert "passed over 1 file without the name of an image: notes.txt" in capsys.readouterr().err
    with pytest.raises(UserError, match="name it: dataset.label=cat"):
        folder(tmp_path / "photos" / "more").samples("train")
    with pytest.raises(UserError, match="root: must contain images .* got none in"):
        (tmp_path / "empty").mkdir()
        folder(tmp_path / "empty", label="x").samples("train")


def test_one_file_is_one_image(tmp_path: Path) -> None:
    file = write_image(tmp_path / "a.jpg", 1)
    (row,) = folder(file, label="cat").samples("train")
    assert (row.sample_id, row.class_name, row.path) == ("a.jpg", "cat", str(file))
    with pytest.raises(UserError, match="got the file .*; name its class with dataset.label="):
        folder(file).samples("train")


def test_a_second_start_decodes_only_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    fill(tmp_path / "images", 4)
    decoded: list[Path] = []
    read = files.from_file
    monkeypatch.setattr(files, "from_file", lambda path: decoded.append(Path(path)) or read(path))
    monkeypatch.setattr(index, "SETTLED", -1)  # files of this moment are remembered, too
    options = {"val_fraction": 0, "test_fraction": 0, "index": str(tmp_path / "index")}
    first = folder(tmp_path / "images", **options).samples("train")
    assert len(decoded) == 8
    assert folder(tmp_path / "images", **options).samples("train") == first and len(decoded) == 8
    changed = Path(first[0].path)
    Image.new("RGB", (12, 8), "red").save(changed)
    second = folder(tmp_path / "images", **options).samples("train")
    assert decoded[8:] == [changed] and second[0].sha256 != first[0].sha256
    changed.write_bytes(changed.read_bytes()[:40])  # broken files are looked at each time
    for num in (10, 11):
        with pytest.raises(UserError, match="got 1 of 8 that are not: dog/0.png"):
            folder(tmp_path / "images", **options).samples("train")
        assert len(decoded) >= num and decoded[-1] == changed
    (file,) = (tmp_path / "index").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    Image.new("RGB", (12, 8), "red").save(changed)
    assert folder(tmp_path / "images", **options).samples("train") == second
    assert file.with_suffix(".damaged").is_file() and decoded.count(changed) >= 5
    assert f"{file} is damaged (its checksum is" in capsys.readouterr().err


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    fill(tmp_path / "images", 2)
    _ = folder(tmp_path / "images", index=str(tmp_path / "index")).samples("train")
    assert not list((tmp_path / "index").glob("*.arrow"))


def test_perceptual_hashes_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "images", 4)
    monkeypatch.setattr(index, "SETTLED", -1)
    options = {"val_fraction": 0, "test_fraction": 0, "index": str(tmp_path / "index")}
    for _ in range(2):
        dataset = folder(tmp_path / "images", **options)
        paths = [sample.path for sample in dataset.samples("train")]
        hashes = dict(zip(paths, hash_images(paths, 2)[0].tolist(), strict=True))
        assert dataset.perceptual_hashes() == hashes
        known, readable = hash_images([*paths, "gone"], 2, hashes)
        assert known[:-1].tolist() == list(hashes.values())
        assert readable.tolist() == [True] * 8 + [False]


def test_of_two_processes_that_start_at_once_one_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "images", 4)
    decoded: list[str] = []
    read = files.from_file

    def slowly(path: str) -> files.ImageFile:
        decoded.append(path)
        time.sleep(0.02)
        return read(path)

    monkeypatch.setattr(files, "from_file", slowly)
    monkeypatch.setattr(index, "SETTLED", -1)
    options = {"val_fraction": 0, "test_fraction": 0, "index": str(tmp_path / "index")}
    datasets = [folder(tmp_path / "images", **options) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:  # a lock of flock holds back threads as processes
        first, second = threads.map(lambda dataset: dataset.samples("train"), datasets)
    assert first == second and len(decoded) == 8


def test_an_index_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "images", 2)
    monkeypatch.setattr(index, "SETTLED", -1)
    (tmp_path / "file").touch()
    options = {"val_fraction": 0, "test_fraction": 0, "index": str(tmp_path / "file" / "index")}
    assert len(folder(tmp_path / "images", **options).samples("train")) == 4


@pytest.mark.parametrize("kind", ["12 bits", "14 bits", "white on nothing", "one colour"])
def test_images_without_contrast_are_named(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fill(tmp_path, 2)
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    deeper = noise * 4
    white = np.full((8, 8, 4), 255, np.uint8)
    white[:4, :, 3] = 0
    image = {
        "12 bits": Image.fromarray(noise),
        "14 bits": Image.fromarray(deeper),
        "white on nothing": Image.fromarray(white),
        "one colour": Image.new("RGB", (8, 8), "red"),
    }[kind]
    image.save(tmp_path / "dog" / "scan.png")
    _ = folder(tmp_path, val_fraction=0, test_fraction=0).samples("train")
    told = capsys.readouterr().err
    assert "1 image with little contrast: dog/scan.png; often 12-bit values in 16-bit" in told


@pytest.mark.parametrize("low", [-1000, 0])
def test_values_of_an_unknown_range_are_refused(low: int, tmp_path: Path) -> None:
    fill(tmp_path, 2)
    values = np.arange(low, low + 70_000, 20, dtype=np.int32).reshape(50, 70)
    Image.fromarray(values).save(tmp_path / "dog" / "scan.tif")
    words = rf"dog/scan.tif .pixels of {low} \.\. \d+ are not in 0 \.\. 65535: of unknown range"
    with pytest.raises(UserError, match=words):
        folder(tmp_path, val_fraction=0, test_fraction=0).samples("train")


def test_a_pointer_of_git_lfs_is_told_apart(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "dog" / "x.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid 1")
    with pytest.raises(UserError, match="dog/x.jpg .it is a pointer of Git LFS: git lfs pull"):
        folder(tmp_path, val_fraction=0, test_fraction=0).samples("train")


def test_parts_within_classes_are_refused_under_any_name(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for part in ("Training", "Testing"):
            write_image(tmp_path / name / part / "0.png", 1)
    with pytest.raises(UserError, match="train must be above the classes, got .*cat/Training"):
        folder(tmp_path).samples("train")


def test_a_class_that_is_still_packed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fill(tmp_path, 2)
    (tmp_path / "bird.zip").write_bytes(b"PK")
    assert len(folder(tmp_path, val_fraction=0, test_fraction=0).class_names) == 2
    said = capsys.readouterr().err
    assert "passed over 1 archive next to the classes, not unpacked: bird.zip" in said
