"""Image files to RGB and back, the same for all stages; files of their own or in tar files.

An image can come from anybody: only known formats are decoded, and how much of a file is read and
decoded is bounded before it is done.
"""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps

from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.shapes import Size, scaled
from sip.core.tars import read_bytes, read_checked
from sip.core.text import reason_of

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 89_478_485  # Pillow warns above it, a quarter GiB of RGB; here it is an error
WIDE_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N"}  # Pillow's names for 16-bit grey
VALUES_AT_ONCE = 2**18  # of 16-bit grey
Format = Literal["png", "jpeg", "webp"]
SUFFIXES: dict[Format, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
# What Pillow may decode. Of its other formats some start a program (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
# Brands of ISO base media files (ISO 23008-12) that are HEIC, at bytes 8 to 12, behind "ftyp".
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
LFS_POINTER = b"version https://git-lfs.github.com/"
PLAIN = ("JPEG", "MPO", "PNG", "WEBP")  # MPO: a JPEG with further images behind it
PNG_BITS = 24  # place of the byte that says how many bits a channel has
EXIF_ORIENTATION = 0x0112
UPRIGHT = 1  # value of it
SMALL = 32  # px, of `small_grey`
ROTATED = (5, 6, 7, 8)  # values of it that swap width and height

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `opened` refuses it

# As measured in experiments/speed/formats.md. PNG: level 1 takes a third of level 6's time for a
# tenth more bytes. JPEG: full colour resolution (4:4:4), since halving it costs 5 dB. WebP is
# lossless: at 512 px its lossy half takes twenty times JPEG's time for a fifth fewer bytes.
ENCODERS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 95, "subsampling": "4:4:4"},
    "webp": {"lossless": True, "method": 0},
}


def read_rgb(
    path: str | os.PathLike[str], size: int | Size | None, sha256: str | None = None
) -> Image.Image:
    """Read any image file as upright 8-bit RGB.

    EXIF rotation is applied, transparency is laid on white, 16-bit grey is scaled down, and of an
    animation the first frame is taken.

    Args:
        path: An image in one of `FORMATS`: a file, or a reference into a tar file.
        size: In px; the largest central square is scaled (bicubic) to size x size. Of a `Size`, all
            of the image is, as `sip.core.shapes.scaled` says. None leaves the image as it is.
        sha256: What the file must be, in hex digits; None where nobody knows: it is not checked.

    Raises:
        DamagedError: The file is another.
        ValueError: The file is missing, broken, not an image, or larger than `MAX_PIXELS` or
            `sip.core.tars.MAX_BYTES`.
    """
    checked = None if sha256 is None else read_checked(path, sha256)
    try:
        upright = decoded(path if checked is None else checked)
    except ValueError as error:
        raise ValueError(f"{Path(path)}: must be a readable image: {error}") from error
    return upright if size is None else scaled(upright, size, Image.Resampling.BICUBIC)


def decoded(source: str | os.PathLike[str] | bytes) -> Image.Image:
    """Return an image as upright 8-bit RGB, of its own size.

    Args:
        source: As of `opened`.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        with opened(source) as image:
            image.load()
            return _to_rgb(_upright(image))
    except Exception as error:  # on damaged files Pillow raises RuntimeError and others too
        raise ValueError(reason_of(error)) from error


def is_plain(source: bytes) -> bool:
    """Return whether every program sees the pixels of `read_rgb` in an encoded image.

    That is an upright PNG, JPEG or WebP of one image, with 8 bits a channel, grey or RGB.

    Raises:
        Exception: Of any kind, by Pillow: it cannot be read.
    """
    with opened(source) as image:
        if image.format not in PLAIN or image.mode not in ("L", "RGB"):
            return False
        is_deep = image.format == "PNG" and source[PNG_BITS] == 16  # Pillow narrows 16-bit RGB
        is_animated = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
        is_turned = _orientation(image) not in (None, UPRIGHT)
        return not (is_deep or is_animated or is_turned or image.has_transparency_data)


@contextmanager
def opened(source: str | os.PathLike[str] | bytes) -> Iterator[Image.Image]:
    """Open an image: its header is read and bounded, its pixels are not decoded yet.

    Args:
        source: A file, a reference into a tar file, or the bytes of a file.

    Raises:
        ValueError: It is larger than `MAX_PIXELS` or `sip.core.tars.MAX_BYTES`, or not a regular
            file.
        Exception: Of any kind, by Pillow: it cannot be read.
    """
    data = source if isinstance(source, bytes) else read_bytes(source)
    if data.startswith(LFS_POINTER):
        raise ValueError("it is a pointer of Git LFS: git lfs pull gets the image")
    formats = _formats()
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS and b"avif" not in data[:64]:
        formats = _with_heic()
    with Image.open(io.BytesIO(data), formats=formats) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} px is more than {MAX_PIXELS} px")
        yield image


@dataclass(frozen=True)
class Looked:
    """What there is to know of an image before it is used.

    Attributes:
        width, height: In px after EXIF rotation; 0 if the header cannot be read.
        error: Why it cannot be decoded; None if it can.
        contrast: Lightest minus darkest grey level, in [0, 255].
        grey: The image as `small_grey`, (32, 32), uint8; None if it cannot be decoded.
        is_several: Whether the file has further pages or frames, which are not read.
    """

    width: int
    height: int
    error: str | None
    contrast: int = field(default=255, compare=False)
    grey: np.ndarray | None = field(default=None, compare=False)
    is_several: bool = field(default=False, compare=False)


def look_at(source: str | os.PathLike[str] | bytes) -> Looked:
    """Decode an image to see that its file is whole.

    A JPEG file is decoded no larger than need be: all of it is read, in a fraction of the time.

    Args:
        source: As of `opened`.
    """
    width = height = 0
    try:
        with opened(source) as image:
            width, height = image.size
            # Cameras put small copies of the image behind it (MPO).
            is_several = image.format != "MPO" and getattr(image, "is_animated", False)
            if image.format == "JPEG":
                image.draft("L", (2 * SMALL, 2 * SMALL))
            image.load()  # before EXIF: Pillow decodes a PNG file for that, and hides the error
            if _orientation(image) in ROTATED:
                width, height = height, width
            upright = _upright(image)
            is_grey = upright.mode == "L" and not upright.has_transparency_data
            grey = upright if is_grey else _to_rgb(upright).convert("L")
            contrast = int(np.ptp(np.asarray(grey)))
    except Exception as error:  # as in `decoded`
        return Looked(width, height, reason_of(error))
    return Looked(width, height, None, contrast, small_grey(grey), is_several)


def small_grey(image: Image.Image) -> np.ndarray:
    """Return an image as grey, (32, 32), uint8, of which a perceptual hash can be made."""
    return np.asarray(image.convert("L").resize((SMALL, SMALL), Image.Resampling.BOX))


def _orientation(image: Image.Image) -> int | None:
    """Return how EXIF says that an image is turned; None without EXIF, or if it is broken."""
    if image.format == "PNG" and "exif" not in image.info:  # `getexif` would decode all pixels
        return None
    try:
        return image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # as in `_upright`
        return None


def shrunk(image: Image.Image, max_side: int) -> Image.Image:
    """Return an image whose longest side is `max_side` px at most, scaled bicubically."""
    scale = max_side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height))


def file_sha256(row: object) -> str | None:
    """Return the checksum of a generated image's file; None for an original: it has none."""
    return getattr(row, "file_sha256", None)


def _upright(image: Image.Image) -> Image.Image:
    """Return a loaded image turned as its EXIF says; as it is where EXIF is broken."""
    try:
        if image.getexif().get(EXIF_ORIENTATION, UPRIGHT) == UPRIGHT:
            return image  # Pillow would copy it
        return ImageOps.exif_transpose(image)
    except Exception:  # SyntaxError, struct.error and others; the pixels themselves are whole
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in WIDE_MODES:
        wide = np.asarray(image)
        if wide.size and not 0 <= wide.min() <= wide.max() <= 65535:
            low, high = wide.min(), wide.max()
            raise ValueError(f"pixels of {low} .. {high} are not in 0 .. 65535: of unknown range")
        return Image.fromarray(_narrow(wide)).convert("RGB")
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _narrow(wide: np.ndarray) -> np.ndarray:
    """Return grey (H, W), in [0, 65535], rounded to 8 bits; in parts, to take less memory."""
    levels = np.empty(wide.shape, np.uint8)
    values, made = wide.reshape(-1), levels.reshape(-1)
    for start in range(0, values.size, VALUES_AT_ONCE):
        part = slice(start, start + VALUES_AT_ONCE)
        made[part] = (values[part].astype(np.uint32) + 128) // 257
    return levels


def to_tensor(images: Sequence[Image.Image]) -> "Tensor":
    """Return RGB images of one size as (B, 3, H, W), float32, in [0, 1]."""
    import torch

    # In numpy: a torch operation in a background thread starts threads of its own, which take the
    # cores from the model's; measured with 2 cores, generation took 1.3 times as long.
    levels = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.divide(levels, 255, dtype=np.float32, order="C"))


def encode(pixels: "Tensor", format: str, size: Size | None = None) -> bytes:
    """Return an image (3, H, W), in [0, 1], rounded to 8 bits, as the bytes of a file.

    PNG and WebP are lossless. The encoders work without Python's lock: threads help.

    Args:
        pixels: The image.
        format: One of `SUFFIXES`.
        size: Scaled to (bicubic), all of it; None: its own.

    Raises:
        UserError: There is no such format.
    """
    if format not in ENCODERS:
        raise UserError(f"format: must be one of {', '.join(ENCODERS)}, got {format!r}")
    values = np.asarray(pixels.detach().float().cpu())  # then in numpy, as in `to_tensor`
    levels = np.rint(values.clip(0, 1) * np.float32(255)).astype(np.uint8)
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
    if size is not None and size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    image.save(stream, format=format, **ENCODERS[format])
    return stream.getvalue()


@cache
def _with_heic() -> tuple[str, ...]:
    """Return the formats with HEIC, for which Pillow needs another package.

    Raises:
        ValueError: It is not installed.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ValueError(f"HEIC needs {install_extras('heic')}") from error
    register_heif_opener(thumbnails=False)
    return (*_formats(), "HEIF")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # Pillow 11.0 has no AVIF
