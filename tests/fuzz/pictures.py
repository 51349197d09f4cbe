"""Damaged picture files, tar files and tables through the readers of data sets."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.fuzz.engine import Attempt

ODD = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def prepare() -> Attempt:
    """Return the attempt; imports what it tries."""
    from sip.core import tars
    from sip.core.errors import UserError
    from sip.core.image_io import read_rgb, size_of
    from sip.dataset.leaks import read_grey
    from sip.dataset.webdataset import open_member, read_groups

    whole = _wholes()

    def picture(rng: Random, folder: Path) -> str:
        data = damaged(rng, rng.choice(whole))
        file = folder / "picture"
        file.write_bytes(data)
        size_of(data)
        read_grey(str(file))
        try:
            image = read_rgb(file, rng.choice((None, 8, 32)))
        except ValueError as error:
            assert "\n" not in str(error) and "expected a readable picture: " in str(error)
            assert "MemoryError" not in str(error), "more memory than there may be"
            return "refused"
        assert image.mode == "RGB"
        return "read"

    def tar(rng: Random, folder: Path) -> str:
        members = [(f"{n}.{end}", rng.choice(whole) if end == "png" else b"%d" % n)
                   for n in range(3) for end in ("png", "cls")]  # fmt: skip
        body = b"".join(tars.member(*member) for member in members) + tars.END
        file = folder / "train-0.tar"
        tars._open.cache_clear()
        file.write_bytes(damaged(rng, body, few=True))
        try:
            for group in read_groups(file, "train-0"):
                found = open_member(group.picture or "")
                assert found.width >= 0 and len(found.sha256) == 64
        except UserError as error:
            assert "\n" not in str(error)
            return "refused as a tar file"
        return "read as a tar file"

    return lambda rng, folder: (tar if rng.random() < 0.2 else picture)(rng, folder)


def _wholes() -> list[bytes]:
    """Return pictures of all formats and kinds that are read."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (24, 20, 3), np.uint8))
    grey16 = Image.fromarray(rng.integers(0, 65536, (24, 20)).astype(np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds: list[tuple[Image.Image, str, dict]] = [
        (colour, "PNG", {}),
        (colour.convert("P"), "PNG", {"transparency": 3}),
        (colour.convert("RGBA"), "PNG", {}),
        (grey16, "PNG", {}),
        (colour, "PNG", {"save_all": True, "append_images": [colour.rotate(90)]}),
        (colour, "JPEG", {"exif": turned}),
        (colour, "JPEG", {"progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "MPO", {"save_all": True, "append_images": [colour]}),
        (colour, "WEBP", {"exif": turned}),
        (colour.convert("RGBA"), "WEBP", {"lossless": True}),
        (colour, "WEBP", {"save_all": True, "append_images": [colour.rotate(90)]}),
        (colour.convert("P"), "GIF", {"save_all": True, "append_images": [colour.convert("P")]}),
        (colour, "TIFF", {}),
        (colour, "TIFF", {"compression": "tiff_lzw", "exif": turned}),
        (colour, "TIFF", {"compression": "tiff_deflate"}),
        (colour, "TIFF", {"compression": "jpeg"}),
        (grey16, "TIFF", {}),
        (colour.convert("1"), "TIFF", {"compression": "group4"}),
        (colour, "BMP", {}),
        (colour.convert("P"), "BMP", {}),
        (colour, "PPM", {}),
        (colour, "JPEG2000", {}),
    ]
    files = []
    for image, name, options in kinds:
        stream = io.BytesIO()
        image.save(stream, name, **options)
        files.append(stream.getvalue())
    return files


def damaged(rng: Random, data: bytes, few: bool = False) -> bytes:
    """Return data with some of its bytes changed, cut out, said twice or made odd numbers.

    Args:
        rng: Decides.
        data: Whole.
        few: One or two changes alone, so that more of it is looked at.
    """
    made = bytearray(data)
    changes: list[Callable[[], None]] = [
        lambda: _set(rng, made, bytes([rng.randrange(256)])),
        lambda: _set(rng, made, bytes([made[rng.randrange(len(made))] ^ 1 << rng.randrange(8)])),
        lambda: _set(rng, made, struct.pack(rng.choice("<>") + "I", rng.choice(ODD))),
        lambda: _set(rng, made, struct.pack(rng.choice("<>") + "H", rng.choice(ODD) & 0xFFFF)),
        lambda: _cut(rng, made),
        lambda: _say_twice(rng, made),
        lambda: made.extend(rng.randbytes(rng.randrange(64))),
        lambda: made.__delitem__(slice(rng.randrange(len(made)), None)),
    ]
    for _ in range(rng.choice((1, 1, 2) if few else (1, 2, 3, 8, 32))):
        if made:
            rng.choice(changes)()
    return bytes(made)


def _set(rng: Random, made: bytearray, value: bytes) -> None:
    # Headers stand at the beginning: half of the changes hit it.
    end = len(made) if rng.random() < 0.5 else min(len(made), 64)
    start = rng.randrange(end)
    made[start : start + len(value)] = value


def _cut(rng: Random, made: bytearray) -> None:
    start = rng.randrange(len(made))
    del made[start : start + rng.randrange(1, 64)]


def _say_twice(rng: Random, made: bytearray) -> None:
    start = rng.randrange(len(made))
    made[start:start] = made[start : start + rng.randrange(1, 256)] * rng.choice((1, 1, 9))
