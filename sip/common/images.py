"""Picture files to RGB and back, the same for all rooms; files of their own or in tar files."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from sip.common.errors import UserError
from sip.common.tars import read_bytes, read_checked, split_reference

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 89_478_485  # Pillow warns above it, a quarter GiB of RGB; here it is an error
WIDE_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N"}  # Pillow's names for 16-bit grey
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}

# As measured in experiments/speed/formats.md. PNG: level 1 takes a third of level 6's time for a
# tenth more bytes. JPEG: full colour resolution (4:4:4), since halving it costs 5 dB. WebP is
# lossless: at 512 px its lossy half takes twenty times JPEG's time for a fifth fewer bytes.
ENCODERS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 95, "subsampling": "4:4:4"},
    "webp": {"lossless": True, "method": 0},
}


def read_rgb(
    path: str | os.PathLike[str], size: int | None, sha256: str | None = None
) -> Image.Image:
    """Read any picture file as upright 8-bit RGB.

    EXIF rotation is applied, transparency is laid on white, 16-bit grey is scaled down, and of an
    animation the first frame is taken.

    Args:
        path: Any format Pillow reads; a file, or a reference into a tar file (`sip.common.tars`).
        size: In px; the largest central square is scaled (bicubic) to size x size. None leaves the
            picture as it is.
        sha256: What the file must be, in hex digits; None where nobody knows: it is not checked.

    Raises:
        DamagedError: The file is another.
        ValueError: The file is missing, broken, not a picture, or larger than `MAX_PIXELS`.
    """
    checked = None if sha256 is None else io.BytesIO(read_checked(path, sha256))
    try:
        with Image.open(checked or _source(path)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} px is more than {MAX_PIXELS} px")
            image.load()
            upright = _to_rgb(_upright(image))
    except Exception as error:  # on damaged files Pillow raises RuntimeError and others too
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{Path(path)}: expected a readable picture: {reason}") from error
    if size is None:
        return upright
    # `fit` scales only the square that stays: a 1 x 10,000 px picture costs no memory.
    return ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)


def file_sha256(row: object) -> str | None:
    """Return the checksum of a drawn picture's file; None for what was not drawn: it has none."""
    return getattr(row, "file_sha256", None)


def _upright(image: Image.Image) -> Image.Image:
    """Return a loaded picture turned as its EXIF says; as it is where EXIF is broken."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # SyntaxError, struct.error and others; the pixels themselves are whole
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in WIDE_MODES:
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def to_tensor(images: Sequence[Image.Image]) -> "Tensor":
    """Return RGB pictures of one size as (B, 3, H, W), float32, in [0, 1]."""
    import torch

    # In numpy: a torch operation in a background thread starts threads of its own, which take the
    # cores from the model's; measured with 2 cores, drawing took 1.3 times as long.
    levels = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.divide(levels, 255, dtype=np.float32, order="C"))


def encode(pixels: "Tensor", format: str) -> bytes:
    """Return a picture (3, H, W), in [0, 1], rounded to 8 bits, as the bytes of a file.

    PNG and WebP are lossless. The encoders work without Python's lock: threads help.

    Args:
        format: One of `SUFFIXES`.

    Raises:
        UserError: There is no such format.
    """
    if format not in ENCODERS:
        raise UserError(f"format: expected one of {', '.join(ENCODERS)}, came {format!r}")
    values = np.asarray(pixels.detach().float().cpu())  # then in numpy, as in `to_tensor`
    levels = np.rint(values.clip(0, 1) * np.float32(255)).astype(np.uint8)
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
    image.save(stream, format=format, **ENCODERS[format])
    return stream.getvalue()


def _source(path: str | os.PathLike[str]) -> str | os.PathLike[str] | BinaryIO:
    """Return what Pillow can open."""
    return path if split_reference(os.fspath(path)) is None else io.BytesIO(read_bytes(path))
