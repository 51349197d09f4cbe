"""Small files that ask for much: images of billions of pixels, endless animations."""

import struct
import zlib

import numpy as np
from PIL import Image


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, mode: int = 2, bits: int = 8, *more: bytes, rows: bytes = bytes(10**6)
) -> bytes:
    """Return a PNG file that says it is so large; by default its pixels are some zeros."""
    header = struct.pack(">IIBBBBB", width, height, bits, mode, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows, 9))
    parts = [chunk(b"IHDR", header), *more, pixels, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def profile_bomb() -> bytes:
    """Return a PNG file of one pixel with a colour profile of a GB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(10**7)) for _ in range(100)) + packer.flush()
    return png(1, 1, 0, 8, chunk(b"iCCP", b"x\0\0" + packed), chunk(b"zTXt", b"x\0\0" + packed))


def gif(frames: int, width: int = 1, height: int = 1) -> bytes:
    """Return an animation whose frames have one pixel each."""
    header = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\xff\0\0\0\0\xff"
    frame = b"!\xf9\x04\0\0\0\0\0" + b",\0\0\0\0\1\0\1\0\0" + b"\2\2D\1\0"
    return header + frame * frames + b";"


def bmp(width: int, height: int) -> bytes:
    """Return a BMP file without pixels."""
    size = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + size


def ppm(width: int, height: int) -> bytes:
    """Return a PPM file without pixels."""
    return f"P6 {width} {height} 255\n".encode()


def tiff(width: int, height: int) -> bytes:
    """Return a TIFF file of 16-bit grey with one strip that is not there."""
    tags = ((256, 4, width), (257, 4, height), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (278, 4, height), (279, 4, 2**31 - 1))  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def long_chunk() -> bytes:
    """Return a PNG file whose pixels are said to be 4 GB; found by fuzzing."""
    whole = png(20, 24)
    place = whole.index(b"IDAT") - 4
    return whole[:place] + b"\xff\xff\x06\xe0" + whole[place + 4 :]


TOO_LARGE = {
    "square.png": png(50_000, 50_000),
    "wide.png": png(2**31 - 1, 1),
    "grey16.png": png(50_000, 50_000, 0, 16),
    "just.png": png(9_500, 9_500),  # where Pillow would only warn
    "canvas.gif": gif(3, 65_535, 65_535),
    "large.bmp": bmp(50_000, 50_000),
    "large.ppm": ppm(50_000, 50_000),
    "large.tiff": tiff(50_000, 50_000),
}
MANY_FRAMES = gif(100_000)


def small_image() -> Image.Image:
    """Return an image like any other."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
