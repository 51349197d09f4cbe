"""ImageFolder: `<part>/<class>/<name>.png`, and the provenance of each image in two tables.

torchvision and timm read the folder of a part. The package `datasets` reads all of it, with classes
and types from `<part>/metadata.parquet`: those of CSV files it would guess.
`metadata.csv` says the same for people.
"""

import csv
import errno
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sip.core.errors import UserError
from sip.core.tars import split_reference
from sip.core.uri import is_uri
from sip.dataset.base import Split
from sip.export.formats.base import ExportPart, ImageFormat, features
from sip.export.names import FileNames, folder_names
from sip.export.source import COLUMNS

ROWS = 1000  # of a table that are in memory at a time
TABLE = "metadata.parquet"
READ_BY_TORCHVISION = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
)  # fmt: skip


class ImageFolderFormat(ImageFormat):
    """A folder a part, and in it a folder a class."""

    is_folder = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._passed_over: Counter[str] = Counter()

    def write(self, parts: Iterable[ExportPart], folder: Path) -> None:
        """Write the images and the tables of their provenance.

        Raises:
            UserError: An image is damaged, or cannot be linked.
        """
        folders = folder_names(self.class_names, {TABLE})
        names = FileNames()
        with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, ["file_name", *COLUMNS])
            table.writeheader()
            for part in parts:
                (folder / part.name).mkdir()
                with pq.ParquetWriter(folder / part.name / TABLE, self._schema()) as typed:
                    rows: list[dict[str, Any]] = []
                    for image in part.images:
                        row = self._write_image(image, folder / part.name, folders, names)
                        table.writerow(row | {"file_name": f"{part.name}/{row['file_name']}"})
                        rows.append(row)
                        if len(rows) == ROWS:
                            typed.write_table(pa.Table.from_pylist(rows, typed.schema))
                            rows = []
                    typed.write_table(pa.Table.from_pylist(rows, typed.schema))

    def _write_image(
        self, image: Any, folder: Path, folders: list[str], names: FileNames
    ) -> dict[str, Any]:
        """Write one image; return its row, with "file_name" relative to the part's folder."""
        made = image.read()
        of_class = folders[made.facts["label"]]
        name = names.unique(str(folder / of_class), image.stem, made.suffix)
        path = folder / of_class / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix.lower() not in READ_BY_TORCHVISION:
            self._passed_over[folder.name] += 1
        if self.link and not made.facts["converted"]:
            _link(image.listed.file, path)
        else:
            path.write_bytes(made.data)
        return {"file_name": f"{of_class}/{name}", **made.facts}

    def _schema(self) -> pa.Schema:
        stated = {"file_name": {"dtype": "string", "_type": "Value"}, **features(self.class_names)}
        fields = [("file_name", pa.string())]
        fields += [(name, pa.type_for_alias(kind)) for name, (kind, _) in COLUMNS.items()]
        return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": stated}})})

    def data_files(self, part: Split) -> str:
        """Return the pattern of a part's files."""
        return f"{part}/**"

    def loading(self, counts: dict[Split, int]) -> str:
        """Return Python code that reads the parts."""
        lines = []
        for part, num in counts.items():
            lost = self._passed_over[part]
            note = f", passes over {lost:,} of other formats" if lost else ""
            lines.append(f"torchvision.datasets.ImageFolder('{part}')  # {num - lost:,}{note}")
        return "\n".join([*lines, "datasets.load_dataset('path/to/this/folder')  # all of it"])


def _link(file: str, path: Path) -> None:
    if split_reference(file) is not None or is_uri(file):
        what = "an object in a store" if is_uri(file) else "a part of a tar file"
        raise UserError(f"link=true: images must be files, got {file}, {what}; use link=false")
    try:
        os.link(os.path.realpath(file), path)  # else a link would be linked, and lead nowhere
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        raise UserError(
            f"link=true: {file} cannot be linked to {path.parent.parent} ({error.strerror}); write "
            "to the store's file system, or use link=false"
        ) from error
