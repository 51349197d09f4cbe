"""A folder that the package `datasets` loads: Parquet files with the images' bytes in them."""

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sip.dataset.base import Split
from sip.export.formats.base import SPLITS, ExportPart, ImageFormat, features
from sip.export.names import FileNames
from sip.export.source import COLUMNS, ExportImage

ROW_GROUP = 100  # images that are in memory at a time, here and at a reader's


class DatasetsFormat(ImageFormat):
    """Columns `image` and those of the provenance."""

    def write(self, parts: Iterable[ExportPart], folder: Path) -> None:
        """Write `data/train-00000-of-00003.parquet` and so on."""
        (folder / "data").mkdir()
        schema = self._schema()
        for part in parts:
            num_files, names = self.num_files(part.num), FileNames()
            for position in range(num_files):
                name = f"{part.name}-{position:05d}-of-{num_files:05d}.parquet"
                images = islice(part.images, self.per_file)
                with pq.ParquetWriter(folder / "data" / name, schema) as writer:
                    while rows := [_row(image, names) for image in islice(images, ROW_GROUP)]:
                        writer.write_table(pa.Table.from_pylist(rows, schema))

    def _schema(self) -> pa.Schema:
        """Return the columns, with what `datasets` wants to know of them in its own notation."""
        stated = {"image": {"_type": "Image"}, **features(self.class_names)}
        fields = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
        fields += [(name, pa.type_for_alias(kind)) for name, (kind, _) in COLUMNS.items()]
        return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": stated}})})

    def data_files(self, part: Split) -> str:
        """Return the pattern of a part's files."""
        return f"data/{part}-*.parquet"

    def loading(self, counts: dict[Split, int]) -> str:
        """Return Python code that reads the parts."""
        return "\n".join(
            f"datasets.load_dataset('path/to/this/folder', split='{SPLITS[part]}')  # {num:,}"
            for part, num in counts.items()
        )


def _row(image: ExportImage, names: FileNames) -> dict[str, Any]:
    made = image.read()
    path = names.unique("", image.stem, made.suffix)
    return {"image": {"bytes": made.data, "path": path}, **made.facts}
