"""Leaks between the parts: hashes against scipy, search against all pairs, and the report."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from sip.core.errors import UserError
from sip.dataset import perceptual as perceptual_hashes
from sip.dataset.base import Sample, Split
from sip.dataset.leaks import THRESHOLD as MOST
from sip.dataset.leaks import check_sources, find, nearest_within
from sip.dataset.perceptual import hash_images, perceptual
from tests.dataset.trees import source


def scene(number: int, size: int = 96) -> Image.Image:
    """Return a smooth random image."""
    noise = np.random.default_rng(number).normal(size=(size, size, 3))
    smooth = gaussian_filter(noise, (size / 12, size / 12, 0))
    pixels = np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def sample(path: Path, split: Split) -> Sample:
    """Return a row for an image file."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Sample(path.stem, str(path), 0, "cat", split, 96, 96, sha256)


def write(path: Path, image: Image.Image, **options: int) -> Path:
    image.save(path, **options)
    return path


def test_hash_is_the_signs_of_scipys_cosine_transform() -> None:
    rng = np.random.default_rng(0)
    grey = [rng.integers(0, 256, (32, 32), dtype=np.uint8) for _ in range(20)]
    for pixels, ours in zip(grey, perceptual(grey), strict=True):
        low = dctn(pixels.astype(float), type=2)[:8, :8].ravel()
        low[0] = 0
        bits = low > np.median(low)
        assert [bool(int(ours) >> i & 1) for i in range(64)] == bits.tolist()
    assert perceptual([np.full((32, 32), 77, np.uint8)]).tolist() == [0]


@pytest.mark.parametrize("most", [0, 4, 9])
def test_search_equals_all_pairs(most: int) -> None:
    rng = np.random.default_rng(most)
    known = rng.integers(0, 2**64, 3000, dtype=np.uint64)
    asked = known[rng.integers(0, 3000, 500)]
    for _ in range(6):  # flip up to six bits, some of them twice
        asked = asked ^ (np.uint64(1) << rng.integers(0, 64, 500, dtype=np.uint64))
    known[1::7], asked[::9] = known[0], known[0]  # many equal ones
    bits = np.bitwise_count(asked[:, None] ^ known[None]).astype(int)
    nearest, found = nearest_within(known, asked, most)
    near = bits.min(axis=1) <= most
    assert near.any() and (~near).any()
    assert np.array_equal(nearest, np.where(near, bits.argmin(axis=1), -1))
    assert np.array_equal(found[near], bits.min(axis=1)[near])


def test_search_of_nothing() -> None:
    nothing = np.zeros(0, np.uint64)
    assert nearest_within(nothing, np.zeros(2, np.uint64), MOST)[0].tolist() == [-1, -1]
    assert nearest_within(nothing, nothing, MOST)[0].tolist() == []


def test_copies_are_found_and_others_are_not(tmp_path: Path) -> None:
    scenes = [scene(number) for number in range(30)]
    train = [write(tmp_path / f"a{i}.png", image) for i, image in enumerate(scenes)]
    test = [
        write(tmp_path / "same.png", scenes[3]),
        write(tmp_path / "worse.jpg", scenes[4], quality=30),
        write(tmp_path / "smaller.png", scenes[5].resize((40, 40))),
        write(tmp_path / "darker.png", scenes[6].point(lambda value: value * 0.6)),
        *(write(tmp_path / f"b{i}.png", scene(100 + i)) for i in range(30)),
    ]
    (tmp_path / "broken.png").write_bytes(b"no image")
    parts: dict[Split, list[Sample]] = {
        "train": [sample(path, "train") for path in (*train, tmp_path / "broken.png")],
        "val": [],
        "test": [sample(path, "test") for path in test],
    }
    (leak,) = find(parts, 2)
    assert (leak.part, leak.num, leak.exact, leak.near) == ("test", 34, 1, 3)
    assert [pair[:2] for pair in leak.pairs] == [
        ("same", "a3"),
        ("worse", "a4"),
        ("smaller", "a5"),
        ("darker", "a6"),
    ]
    assert leak.pairs[0][2] == 0
    assert leak.line() == (
        "test: 1 exact and 3 near duplicates of training images, of 34 "
        "(same = a3, worse = a4, smaller = a5, ...)"
    )


def test_of_equal_training_images_the_first_is_named(tmp_path: Path) -> None:
    train = [write(tmp_path / f"{name}.png", scene(1)) for name in "bac"]
    parts: dict[Split, list[Sample]] = {
        "train": [sample(path, "train") for path in train],
        "val": [sample(write(tmp_path / "v.png", scene(1)), "val")],
        "test": [sample(write(tmp_path / "t.jpg", scene(1)), "test")],
    }
    assert [pair[:2] for leak in find(parts, 1) for pair in leak.pairs] == [("v", "b"), ("t", "b")]


def test_hashes_do_not_depend_on_how_many_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(write(tmp_path / f"{number}.png", scene(number))) for number in range(5)]
    files.insert(2, str(tmp_path / "gone.png"))
    whole, readable = hash_images(files, 2)
    assert readable.tolist() == [True, True, False, True, True, True]
    known = {files[0]: int(whole[0]), files[4]: 7}
    monkeypatch.setattr(perceptual_hashes, "IMAGES_AT_ONCE", 2)
    hashes, found = hash_images(files, 2, known)
    assert np.array_equal(found, readable)
    assert hashes.tolist() == [*whole[:4].tolist(), 7, whole[5]]


def test_what_the_generator_saw_is_a_part_like_train(tmp_path: Path) -> None:
    files = [write(tmp_path / f"a{number}.png", scene(number)) for number in range(4)]
    parts: dict[Split, list[Sample]] = {
        "pretrain": [sample(path, "pretrain") for path in files[:2]],
        "train": [sample(files[2], "train")],
        "val": [sample(files[3], "val")],
        "test": [sample(write(tmp_path / "same.png", scene(1)), "test")],
    }
    assert [leak.exact for leak in find(parts, 1)] == [0, 0]
    val, test = find(parts, 1, "pretrain")
    assert (val.exact, test.exact) == (0, 1)
    assert test.line() == (
        "test: 1 exact and 0 near duplicates of the generator's images (pretrain), of 1 (same = a1)"
    )


def test_jpeg_is_read_small_and_hashes_the_same(tmp_path: Path) -> None:
    files = []
    for i in range(8):
        image = scene(i, 400)
        files += [write(tmp_path / f"{i}.png", image), write(tmp_path / f"{i}.jpg", image)]
    hashes, readable = hash_images([str(file) for file in files], 2)
    assert readable.all()
    assert (np.bitwise_count(hashes[::2] ^ hashes[1::2]) <= MOST).all()


def test_false_alarms_on_digits_are_rare(tmp_path: Path) -> None:
    dataset = source("digits", tmp_path, image_size=32, shots=None)
    val, test = find({part: dataset.samples(part) for part in ("train", "val", "test")}, 2)
    assert (val.exact, test.exact) == (0, 0)
    assert val.near <= 1 and test.near <= 6


@dataclass(frozen=True)
class Made:
    sample_id: str
    source_sha256: str


def test_sources_outside_train_are_refused(tmp_path: Path) -> None:
    inside = sample(write(tmp_path / "a.png", scene(0)), "train")
    check_sources([Made("a", inside.sha256)], [inside])
    with pytest.raises(UserError, match="in the training part, got 1 that are not .* first b; gen"):
        check_sources([Made("a", inside.sha256), Made("b", "x")], [inside])
    with pytest.raises(UserError, match="got 1 that are not in it or have changed, first a"):
        check_sources([Made("a", "x")], [inside])
