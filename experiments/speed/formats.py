"""Cost of an image in each file format: time, space and, if lossy, the error of its pixels.

    python -m experiments.speed.formats [REPEATS]

Results: `formats.md`. Images are crops of two photographs (`sip.benchmark.workload.crops`).
"""

import io
import sys
import time
from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import Any

import numpy as np
from PIL import Image

from sip.benchmark.workload import crops

SIZES = {32: 16, 224: 8, 512: 4}  # px -> number of images
CHOICES: dict[str, dict[str, Any]] = {
    "PNG, level 1": {"format": "PNG", "compress_level": 1},
    "PNG, level 6 (Pillow's)": {"format": "PNG", "compress_level": 6},
    "JPEG, quality 95, 4:2:0": {"format": "JPEG", "quality": 95, "subsampling": "4:2:0"},
    "JPEG, quality 95, 4:4:4": {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"},
    "WebP, lossless, method 0": {"format": "WEBP", "lossless": True, "method": 0},
    "WebP, lossless, method 4": {"format": "WEBP", "lossless": True, "method": 4},
    "WebP, quality 95, method 4": {"format": "WEBP", "quality": 95, "method": 4},
}
HEADER = ("size, px", "format", "encode, ms", "decode, ms", "bytes", "mean abs. error", "PSNR, dB")


def measure(images: Sequence[Image.Image], repeats: int) -> list[dict[str, Any]]:
    """Return one row for each format; CPU times are medians over `repeats` passes.

    Columns: size (px), format, encode_ms, decode_ms, bytes, error (mean absolute, of 255), psnr
    (dB; None if lossless), all of one image, in one thread.

    Args:
        images: RGB, all of one size.
    """
    return [
        {"size": images[0].width, "format": name, **_measure(images, options, repeats)}
        for name, options in CHOICES.items()
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [" | ".join(HEADER), " | ".join("---" for _ in HEADER)]
    for row in rows:
        lossless = row["psnr"] is None
        cells = (
            str(row["size"]),
            row["format"],
            f"{row['encode_ms']:.2f}",
            f"{row['decode_ms']:.2f}",
            f"{row['bytes']:,.0f}",
            "0" if lossless else f"{row['error']:.2f}",
            "lossless" if lossless else f"{row['psnr']:.1f}",
        )
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def _measure(
    images: Sequence[Image.Image], options: dict[str, Any], repeats: int
) -> dict[str, Any]:
    files = [_encode(image, options) for image in images]
    back = [_decode(file) for file in files]
    pairs = zip(images, back, strict=True)
    errors = np.stack([np.asarray(a, np.float64) - np.asarray(b) for a, b in pairs])
    squared = float((errors**2).mean())
    return {
        "encode_ms": _milliseconds(lambda p: _encode(p, options), images, repeats),
        "decode_ms": _milliseconds(_decode, files, repeats),
        "bytes": mean(len(file) for file in files),
        "error": float(np.abs(errors).mean()),
        "psnr": None if squared == 0 else 10 * float(np.log10(255**2 / squared)),
    }


def _encode(image: Image.Image, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def _decode(file: bytes) -> Image.Image:
    with Image.open(io.BytesIO(file)) as image:
        return image.convert("RGB")


def _milliseconds(work: Callable[[Any], Any], inputs: Sequence[Any], repeats: int) -> float:
    """Return the median over passes of the mean CPU time of one call."""
    passes = []
    for _ in range(repeats):
        started = time.process_time()
        for value in inputs:
            work(value)
        passes.append((time.process_time() - started) / len(inputs) * 1e3)
    return median(passes)


if __name__ == "__main__":
    num_repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(table([r for size, num in SIZES.items() for r in measure(crops(size, num), num_repeats)]))
