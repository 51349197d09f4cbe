"""Any picture file becomes upright 8-bit RGB, or one line that says why not."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from sip.common.images import read_rgb, to_png, to_tensor

RED, WHITE = (255, 0, 0), (255, 255, 255)


def pixels(path, size=None) -> np.ndarray:
    image = read_rgb(path, size)
    assert image.mode == "RGB"
    return np.asarray(image)


def ramp(num: int = 256) -> np.ndarray:
    return np.arange(num, dtype=np.uint8)[None].repeat(4, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    upright = np.zeros((6, 4, 3), np.uint8)
    upright[:3, :2] = RED  # top left
    undo = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a, 3),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels(tmp_path / "a.png"), upright)


def test_grey_and_bilevel(tmp_path):
    Image.fromarray(ramp()).save(tmp_path / "grey.png")
    assert np.array_equal(pixels(tmp_path / "grey.png"), ramp()[..., None].repeat(3, 2))
    Image.fromarray(ramp() > 127).save(tmp_path / "bits.png")
    assert np.array_equal(pixels(tmp_path / "bits.png")[..., 0], (ramp() > 127) * np.uint8(255))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    Image.fromarray(ramp().astype(np.uint16) * 257).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(pixels(tmp_path / f"a.{suffix}")[..., 1], ramp())


def test_transparency_is_laid_on_white(tmp_path):
    half = np.zeros((1, 3, 4), np.uint8)
    half[0, :, 0], half[0, :, 3] = 255, (255, 128, 0)  # red: opaque, half, not there
    Image.fromarray(half).save(tmp_path / "rgba.png")
    assert pixels(tmp_path / "rgba.png").tolist() == [[[255, 0, 0], [255, 127, 127], [*WHITE]]]
    grey = np.array([[[0, 255], [0, 0]]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "la.png")
    assert pixels(tmp_path / "la.png").tolist() == [[[0, 0, 0], [*WHITE]]]


@pytest.mark.parametrize("transparent", [None, 1])
def test_palette(tmp_path, transparent):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putdata([0, 1])
    options = {} if transparent is None else {"transparency": transparent}
    image.save(tmp_path / "a.png", **options)
    second = (0, 0, 255) if transparent is None else WHITE
    assert pixels(tmp_path / "a.png").tolist() == [[[*RED], [*second]]]


def test_cmyk(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(pixels(tmp_path / "a.jpg").astype(int) - RED).max() <= 2


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animations_give_their_first_frame(tmp_path, suffix):
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), WHITE)
    options = {"lossless": True} if suffix == "webp" else {}
    path = tmp_path / f"a.{suffix}"
    first.save(path, save_all=True, append_images=[second], **options)
    assert np.array_equal(pixels(path), np.asarray(first))


def test_resize_keeps_the_centre(tmp_path):
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, 16:32] = RED
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png", 8)[:, 1:-1], np.full((8, 6, 3), RED))
    assert pixels(tmp_path / "a.png", 100).shape == (100, 100, 3)
    square = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(square).save(tmp_path / "b.png")
    assert np.array_equal(pixels(tmp_path / "b.png", 20), square)
    expected = Image.fromarray(square).resize((7, 7), Image.Resampling.BICUBIC)
    assert np.array_equal(pixels(tmp_path / "b.png", 7), np.asarray(expected))


def bomb() -> bytes:
    """A PNG of a few bytes that says it is 20,000 x 20,000 px."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def encoded(image_format: str) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(stream, image_format)
    return stream.getvalue()


BROKEN = {
    "empty.jpg": b"",
    "text.png": b"not a picture\n" * 9,
    "truncated.png": encoded("PNG")[:4000],
    "truncated.jpg": encoded("JPEG")[:2000],
    "truncated.webp": encoded("WEBP")[:1000],
    "bomb.png": bomb(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(ValueError, match=f"{name}: expected a readable picture: .") as caught:
        read_rgb(tmp_path / name, 8)
    assert "\n" not in str(caught.value)


def test_missing_files_and_unknown_ranges(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_rgb(tmp_path / "none.png", None)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="floating-point numbers of unknown range"):
        read_rgb(tmp_path / "f.tif", None)
    Image.new("L", (10_000, 9_000)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="90000000 pixels|10000 x 9000 px is more than"):
        read_rgb(tmp_path / "large.png", None)


def test_damaged_files_give_a_picture_or_a_value_error(tmp_path):
    rng = np.random.default_rng(0)
    for image_format in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        whole = encoded(image_format)
        for _ in range(40):
            damaged = bytearray(whole)
            for place in rng.integers(0, 200, 3):
                damaged[place] = rng.integers(256)
            (tmp_path / "a").write_bytes(damaged)
            try:
                read_rgb(tmp_path / "a", 8)
            except ValueError as error:
                assert "expected a readable picture" in str(error)


def test_tensor_and_png_are_inverse(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    tensor = to_tensor([Image.fromarray(image) for image in values])
    assert tensor.shape == (2, 3, 5, 7) and tensor.dtype == torch.float32
    assert tensor[1, 2, 3, 4].item() == pytest.approx(values[1, 3, 4, 2] / 255)
    for picture, image in zip(tensor, values, strict=True):
        (tmp_path / "a.png").write_bytes(to_png(picture))
        assert np.array_equal(pixels(tmp_path / "a.png"), image)
    (tmp_path / "a.png").write_bytes(to_png(torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1)))
    assert pixels(tmp_path / "a.png").tolist() == [[[0, 128, 255]]]
