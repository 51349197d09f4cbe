"""Any image file becomes upright 8-bit RGB, or one line that says why not.

Too large and randomly damaged files: tests/trust/test_bombs.py.
"""

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from sip.core import image_io, tars
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.image_io import ENCODERS, SUFFIXES, Looked, encode, look_at, read_rgb, to_tensor
from sip.dataset.folders import is_image
from tests.trust.bombs import png

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


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_exif_rotation_is_applied_in_lossy_formats(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is the right side
    stored = Image.new("RGB", (32, 16), WHITE)
    stored.paste(RED, (0, 0, 32, 8))
    stored.save(tmp_path / f"a.{suffix}", exif=exif, quality=100)
    upright = pixels(tmp_path / f"a.{suffix}").astype(int)
    assert upright.shape == (32, 16, 3)
    assert np.abs(upright[:, 10:] - RED).max() < 20 and np.abs(upright[:, :6] - WHITE).max() < 20


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage!garbage!", "9"])
def test_broken_exif_turns_nothing(tmp_path, suffix, exif):
    if exif == "9":  # there are 1 to 8
        exif = Image.Exif()
        exif[0x0112] = 9
    Image.new("RGB", (8, 6), RED).save(tmp_path / f"a.{suffix}", exif=exif)
    assert pixels(tmp_path / f"a.{suffix}").shape == (6, 8, 3)


def heic(colour) -> bytes:
    """Return an image of 40 x 24 px as a phone writes it."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    stream = io.BytesIO()
    Image.new("RGB", (40, 24), colour).save(stream, "HEIF")
    return stream.getvalue()


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.jpg"])
def test_images_of_phones_are_read_by_their_content(tmp_path, name):
    (tmp_path / name).write_bytes(heic((0, 255, 0)))
    read = pixels(tmp_path / name).astype(int)
    assert read.shape == (24, 40, 3) and np.abs(read - (0, 255, 0)).max() <= 8
    assert look_at(tmp_path / name) == Looked(40, 24, None)
    assert is_image(name)


def test_images_of_phones_need_an_extra(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(heic(RED))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_io._with_heic.cache_clear()
    message = f"HEIC needs {install_extras('heic')}"
    assert look_at(tmp_path / "a.heic").error == message
    with pytest.raises(ValueError, match="a.heic: must be a readable image: HEIC needs pip"):
        read_rgb(tmp_path / "a.heic", None)


def test_grey_and_bilevel(tmp_path):
    Image.fromarray(ramp()).save(tmp_path / "grey.png")
    assert np.array_equal(pixels(tmp_path / "grey.png"), ramp()[..., None].repeat(3, 2))
    Image.fromarray(ramp() > 127).save(tmp_path / "bits.png")
    assert np.array_equal(pixels(tmp_path / "bits.png")[..., 0], (ramp() > 127) * np.uint8(255))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    Image.fromarray(ramp().astype(np.uint16) * 257).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(pixels(tmp_path / f"a.{suffix}")[..., 1], ramp())


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_of_any_colour_type(tmp_path, channels):
    wide = np.repeat(ramp().astype(np.uint16)[..., None] * 257, channels, axis=2)
    if channels in (2, 4):
        wide[..., -1] = 65535  # opaque
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    (tmp_path / "a.png").write_bytes(png(256, 4, colour_type, 16, rows=rows))
    assert np.array_equal(pixels(tmp_path / "a.png"), ramp()[..., None].repeat(3, 2))


def test_big_endian_16_bit_grey(tmp_path):
    wide = Image.frombytes("I;16B", (256, 4), (ramp().astype(">u2") * 257).tobytes())
    wide.save(tmp_path / "a.tif")
    assert np.array_equal(pixels(tmp_path / "a.tif")[..., 2], ramp())


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


def encoded(image_format: str) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(stream, image_format)
    return stream.getvalue()


BROKEN = {
    "empty.jpg": b"",
    "text.png": b"not an image\n" * 9,
    "truncated.png": encoded("PNG")[:4000],
    "truncated.jpg": encoded("JPEG")[:2000],
    "truncated.webp": encoded("WEBP")[:1000],
    "truncated.gif": encoded("GIF")[:1000],
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(ValueError, match=f"{name}: must be a readable image: .") as caught:
        read_rgb(tmp_path / name, 8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_members_of_a_tar_file_are_named_in_one_line(tmp_path, name):
    whole, tar = encoded("PNG"), tmp_path / "a.tar"
    member = tars.member(name, BROKEN[name])
    tar.write_bytes(member + tars.member("b.png", whole) + tars.END)
    with pytest.raises(ValueError, match=r"a\.tar::512:\d+: must be a readable image: .") as caught:
        read_rgb(tars.reference(tar, 0, len(BROKEN[name])), 8)
    assert "\n" not in str(caught.value)
    assert read_rgb(tars.reference(tar, len(member), len(whole)), None).size == (64, 64)
    tar.write_bytes(b"")
    with pytest.raises(ValueError, match="must be a readable image"):
        read_rgb(tars.reference(tar, 0, 10), 8)
    with pytest.raises(ValueError, match="No such file"):
        read_rgb(f"{tmp_path}/none.tar::512:10", 8)


def test_missing_files_and_unknown_ranges(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_rgb(tmp_path / "none.png", None)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="floating-point numbers of unknown range"):
        read_rgb(tmp_path / "f.tif", None)


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_tensor_and_file_are_inverse(tmp_path, file_format):
    values = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    tensor = to_tensor([Image.fromarray(image) for image in values])
    assert tensor.shape == (2, 3, 5, 7) and tensor.dtype == torch.float32
    assert tensor[1, 2, 3, 4].item() == pytest.approx(values[1, 3, 4, 2] / 255)
    path = tmp_path / f"a{SUFFIXES[file_format]}"
    for colours, image in zip(tensor, values, strict=True):
        path.write_bytes(encode(colours, file_format))
        assert np.array_equal(pixels(path), image)
    path.write_bytes(encode(torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1), file_format))
    assert pixels(path).tolist() == [[[0, 128, 255]]]


def test_jpeg_keeps_the_colours_resolution(tmp_path):
    stripes = torch.zeros(3, 32, 32)
    stripes[0, :, ::2], stripes[2, :, 1::2] = 1, 1  # red, blue, each 1 px wide
    (tmp_path / "a.jpg").write_bytes(encode(stripes, "jpeg"))
    assert np.abs(pixels(tmp_path / "a.jpg") / 255 - stripes.permute(1, 2, 0).numpy()).mean() < 0.02


@pytest.mark.parametrize("file_format", SUFFIXES)
def test_an_image_is_the_same_bytes_each_time(file_format):
    pixels = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64):
        assert encode(pixels.to(dtype), file_format) == encode(pixels, file_format)
    with Image.open(io.BytesIO(encode(pixels, file_format))) as image:
        assert image.format == file_format.upper() and image.size == (24, 16)
        assert Image.registered_extensions()[SUFFIXES[file_format]] == image.format


def test_other_formats_are_refused():
    assert set(ENCODERS) == set(SUFFIXES)
    with pytest.raises(UserError, match="format: must be one of png, jpeg, webp, got 'gif'"):
        encode(torch.zeros(3, 1, 1), "gif")
