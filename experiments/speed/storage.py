"""Speed of reading images from files of their own and from tar shards.

    python -m experiments.speed.storage [REPEATS]

Results: `storage.md`.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sip.benchmark.workload import crops
from sip.core.image_io import encode, read_bytes, read_rgb, to_tensor
from sip.core.tars import split_reference
from sip.store.place import Folder
from sip.store.shards import STORAGES, read_columns, read_rows
from sip.store.writer import ShardWriter

NUM_IMAGES = 5_000
NUM_DIFFERENT = 100  # each is stored many times, as a file of its own each time
SIZE = 224  # px
PER_SHARD = 1_000
TURN = 20  # images that are read from one storage before it is the other's turn
BLOCK = 512  # bytes; what the system counts disk space in
HEADER = (
    "storage", "files", "MB on disk", "write, s", "bytes in order, warm", "bytes at random, warm",
    "bytes at random, cold", "RGB at random, warm", "RGB at random, cold",
)  # fmt: skip
Read = Callable[[str], Any]


def main(num: int = NUM_IMAGES, size: int = SIZE, repeats: int = 5) -> None:
    """Measure in a temporary folder of the working directory and print."""
    with tempfile.TemporaryDirectory(prefix="sip-storage-", dir=".") as folder:
        rows = measure_storage(Path(folder), num, size, repeats)
    print(table(rows, num, size))


def measure_storage(folder: Path, num: int, size: int, repeats: int) -> list[dict[str, Any]]:
    """Return one row a storage; rates are images/s, medians over `repeats`, in one thread.

    "Cold" drops the images from the system's page cache before each pass; the directory
    entries, which a fresh machine would have to read too, stay cached.
    """
    pixels = to_tensor(crops(size, min(num, NUM_DIFFERENT)))
    payloads = [encode(image, "png") for image in pixels]
    rows: list[dict[str, Any]] = []
    files: dict[str, list[str]] = {}
    for storage in STORAGES:
        started = time.perf_counter()
        files[storage] = _write(folder / storage, storage, payloads, num)
        seconds = time.perf_counter() - started
        rows.append({"storage": storage, "write_s": seconds, **_space(folder / storage)})
    order = np.random.default_rng(0).permutation(num)
    for name, read, is_random, is_cold in (
        ("order_warm", read_bytes, False, False),
        ("random_warm", read_bytes, True, False),
        ("random_cold", read_bytes, True, True),
        ("rgb_warm", _rgb, True, False),
        ("rgb_cold", _rgb, True, True),
    ):
        chosen = {
            storage: [listed[n] for n in order] if is_random else listed
            for storage, listed in files.items()
        }
        rates = [_rates(chosen, read, is_cold) for _ in range(repeats)]
        for row in rows:
            row[name] = median(rate[row["storage"]] for rate in rates)
    return rows


def table(rows: Sequence[dict[str, Any]], num: int, size: int) -> str:
    """Return the rows as a Markdown table, with the ratio of tar shards to files."""
    names = ("order_warm", "random_warm", "random_cold", "rgb_warm", "rgb_cold")
    lines = [" | ".join(HEADER), " | ".join("---" for _ in HEADER)]
    for row in rows:
        cells = [row["storage"], f"{row['files']:,}", f"{row['disk_bytes'] / 1e6:,.1f}"]
        cells += [f"{row['write_s']:.1f}", *(f"{row[name]:,.0f}" for name in names)]
        lines.append(" | ".join(cells))
    files, tar = rows
    ratios = [f"{tar[key] / files[key]:.3g}" for key in ("files", "disk_bytes", "write_s", *names)]
    lines.append(" | ".join(["webdataset / files", *ratios]))
    text = "\n".join(f"| {line} |" for line in lines)
    return f"{text}\n\n{num:,} PNG images of {size} px; rates in images/s, one thread."


def _write(folder: Path, storage: str, payloads: Sequence[bytes], num: int) -> list[str]:
    """Write a stage of `num` images; return the place of each."""
    place = Folder(folder)
    place.prepare()
    files: list[str] = []
    for start in range(0, num, PER_SHARD):
        keys = [f"{n:024x}" for n in range(start, min(start + PER_SHARD, num))]
        writer = ShardWriter(place, "owner", storage)
        for position, key in enumerate(keys, start):
            payload = payloads[position % len(payloads)]
            writer.add({"key": key, "payload": payload, "suffix": ".png"})
        writer.commit(keys)
        shard = place.shards / writer.name
        files += [r["file"] for r in read_rows(shard, {*read_columns(shard, ["key"])["key"]})]
    return files


def _space(folder: Path) -> dict[str, int]:
    stats = [path.stat() for path in folder.rglob("*")]
    is_file = [path.is_file() for path in folder.rglob("*")]
    return {"files": sum(is_file), "disk_bytes": sum(stat.st_blocks for stat in stats) * BLOCK}


def _rgb(file: str) -> None:
    read_rgb(file, None)


def _rates(files: Mapping[str, Sequence[str]], read: Read, is_cold: bool) -> dict[str, float]:
    """Return images/s of reading each storage's files once.

    By turns, a few images at a time, so that a busy moment of the machine meets both.
    """
    if is_cold:
        for listed in files.values():
            _forget(listed)
    seconds = dict.fromkeys(files, 0.0)
    num = len(next(iter(files.values())))
    for start in range(0, num, TURN):
        for storage, listed in files.items():
            started = time.perf_counter()
            for file in listed[start : start + TURN]:
                read(file)
            seconds[storage] += time.perf_counter() - started
    return {storage: num / spent for storage, spent in seconds.items()}


def _forget(files: Sequence[str]) -> None:
    """Ask the system to drop the files' content from its page cache; they are on the disk."""
    parts = [split_reference(file) for file in files]
    for path in {part[0] if part else file for part, file in zip(parts, files, strict=True)}:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    main(repeats=int(sys.argv[1]) if len(sys.argv) > 1 else 5)
