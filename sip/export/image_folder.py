"""ImageFolder: `<class>/<id>.png` and `metadata.csv`; for torchvision, timm and `datasets`."""

import csv
import errno
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from sip.core.errors import UserError
from sip.core.tars import split_reference
from sip.export.source import COLUMNS, ExportImage

MAX_BYTES = 200  # of a folder's name; file systems allow 255
UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
# Windows opens these in any folder, with any ending.
DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE
)
TAKEN = {"", "metadata.csv", "readme.md"}


def write(
    images: Iterable[ExportImage], folder: Path, class_names: Sequence[str], link: bool
) -> None:
    """Write the images, a folder a class, and the table of their provenance.

    Args:
        images: What to write.
        folder: An empty folder.
        class_names: By label.
        link: Make hard links to the store's files in place of copies.

    Raises:
        UserError: A image is damaged, or cannot be linked.
    """
    folders = [folder / name for name in folder_names(class_names)]
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["file_name", *COLUMNS])
        table.writeheader()
        for image in images:
            data, facts = image.read()
            path = folders[facts["label"]] / f"{image.name}{image.suffix(data)}"
            path.parent.mkdir(exist_ok=True)
            if link:
                _link(image.file, path)
            else:
                path.write_bytes(data)
            table.writerow({"file_name": path.relative_to(folder).as_posix(), **facts})


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Return a folder's name for each class: readable, safe on any system, and each once.

    Letters of any script stay. What means something in a path becomes "_", and so does a dot at
    either end, or what a shell or a spreadsheet would take for an option or a formula; "_" goes
    before what Windows takes for a device. Names that are then alike, or differ in capitals only,
    get their label.
    """
    used = set(TAKEN)
    names = []
    for label, class_name in enumerate(class_names):
        text = UNSAFE.sub("_", unicodedata.normalize("NFC", class_name)).strip()
        text = text.encode(errors="ignore")[:MAX_BYTES].decode(errors="ignore").strip()
        name = re.sub(r"^[.=+@-]|\.$", "_", text)
        name = f"_{name}" if DEVICE.fullmatch(name) else name
        while name.casefold() in used:
            name = f"{name or 'class'}-{label}"
        used.add(name.casefold())
        names.append(name)
    return names


def _link(file: str, path: Path) -> None:
    if split_reference(file) is not None:
        raise UserError(
            f"link=true: images must be files, got {file}, a part of a tar file; use link=false"
        )
    try:
        os.link(file, path)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        raise UserError(
            f"link=true: {file} cannot be linked to {path.parent.parent} ({error.strerror}); write "
            "to the store's file system, or use link=false"
        ) from error
