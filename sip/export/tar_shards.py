"""WebDataset: tar files of images, each followed by its class index and its provenance."""

import json
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path

from sip.core import tars
from sip.export.source import ExportImage


def write(images: Iterable[ExportImage], folder: Path, per_file: int) -> None:
    """Write `train-00000.tar` and so on, with members `<id>.png`, `<id>.cls` and `<id>.json`.

    Args:
        images: What to write.
        folder: An empty folder.
        per_file: Images in a tar file.

    Raises:
        UserError: A image is damaged.
    """
    left = iter(images)
    position = 0
    while first := next(left, None):
        with open(folder / f"train-{position:05d}.tar", "wb") as file:
            for image in chain([first], islice(left, per_file - 1)):
                file.write(_members(image))
            file.write(tars.END)
        position += 1


def _members(image: ExportImage) -> bytes:
    data, facts = image.read()
    name, text = image.name, json.dumps(facts, ensure_ascii=False)
    return (
        tars.member(f"{name}{image.suffix(data)}", data)
        + tars.member(f"{name}.cls", str(facts["label"]).encode())
        + tars.member(f"{name}.json", text.encode())
    )
