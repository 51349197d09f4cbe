"""What a picture costs in each file format: time, space and, where lossy, its pixels.

Measured on the two photographs that scikit-learn ships (640 x 427 px, themselves decoded from
JPEG), cropped, never enlarged. 512 px is more than their height: such a picture is 427 rows of
one above 85 rows of the other.
"""

import io
import time
from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from omegaconf import DictConfig

SIZES = {32: 16, 224: 8, 512: 4}  # px -> pictures
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


def run(config: "DictConfig") -> None:
    """Measure and print; reads `config.repeats`."""
    print(table(measure_formats(config.repeats)))


def measure_formats(repeats: int) -> list[dict[str, Any]]:
    """Return one row a size and format; CPU times are medians over `repeats` passes.

    Columns: size (px), format, encode_ms, decode_ms, bytes, error (mean absolute, of 255), psnr
    (dB; None where lossless), all of one picture, in one thread.
    """
    return [row for size, num in SIZES.items() for row in measure(crops(size, num), repeats)]


def measure(pictures: Sequence[Image.Image], repeats: int) -> list[dict[str, Any]]:
    """Return the rows for given RGB pictures of one size."""
    return [
        {"size": pictures[0].width, "format": name, **_measure(pictures, options, repeats)}
        for name, options in CHOICES.items()
    ]


def crops(size: int, num: int) -> list[Image.Image]:
    """Return crops of the photographs, at places chosen once for all."""
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    if size > photographs[0].shape[0]:  # one above the other, and the other way round
        photographs = [np.concatenate(order) for order in (photographs, photographs[::-1])]
    rng = np.random.default_rng(0)
    cut = []
    for position in range(num):
        picture = photographs[position % len(photographs)]
        # A stack is cut from its top, so that its seam is one line.
        top = 0 if size > 427 else rng.integers(picture.shape[0] - size + 1)
        left = rng.integers(picture.shape[1] - size + 1)
        cut.append(Image.fromarray(picture[top : top + size, left : left + size]))
    return cut


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
    pictures: Sequence[Image.Image], options: dict[str, Any], repeats: int
) -> dict[str, Any]:
    files = [_encode(picture, options) for picture in pictures]
    back = [_decode(file) for file in files]
    pairs = zip(pictures, back, strict=True)
    errors = np.stack([np.asarray(a, np.float64) - np.asarray(b) for a, b in pairs])
    squared = float((errors**2).mean())
    return {
        "encode_ms": _milliseconds(lambda p: _encode(p, options), pictures, repeats),
        "decode_ms": _milliseconds(_decode, files, repeats),
        "bytes": mean(len(file) for file in files),
        "error": float(np.abs(errors).mean()),
        "psnr": None if squared == 0 else 10 * float(np.log10(255**2 / squared)),
    }


def _encode(picture: Image.Image, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, **options)
    return stream.getvalue()


def _decode(file: bytes) -> Image.Image:
    with Image.open(io.BytesIO(file)) as picture:
        return picture.convert("RGB")


def _milliseconds(work: Callable[[Any], Any], inputs: Sequence[Any], repeats: int) -> float:
    """Return the median over passes of the mean CPU time of one call."""
    passes = []
    for _ in range(repeats):
        started = time.process_time()
        for value in inputs:
            work(value)
        passes.append((time.process_time() - started) / len(inputs) * 1e3)
    return median(passes)
