"""WebDataset: tar files of pictures, each followed by its class index and its provenance."""

import json
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path

from sip.core import tars
from sip.export.source import ExportImage


def write(pictures: Iterable[ExportImage], folder: Path, per_file: int) -> None:
    """Write `train-00000.tar` and so on, with members `<id>.png`, `<id>.cls` and `<id>.json`.

    Args:
        pictures: What to write.
        folder: An empty folder.
        per_file: Pictures in a tar file.

    Raises:
        UserError: A picture is damaged.
    """
    left = iter(pictures)
    position = 0
    while first := next(left, None):
        with open(folder / f"train-{position:05d}.tar", "wb") as file:
            for picture in chain([first], islice(left, per_file - 1)):
                file.write(_members(picture))
            file.write(tars.END)
        position += 1


def _members(picture: ExportImage) -> bytes:
    data, facts = picture.read()
    name, text = picture.name, json.dumps(facts, ensure_ascii=False)
    return (
        tars.member(f"{name}{picture.suffix(data)}", data)
        + tars.member(f"{name}.cls", str(facts["label"]).encode())
        + tars.member(f"{name}.json", text.encode())
    )
