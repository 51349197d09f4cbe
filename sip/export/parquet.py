"""A folder that the package `datasets` loads: Parquet files with the images' bytes in them."""

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sip.export.source import COLUMNS, ExportImage

ROW_GROUP = 100  # images that are in memory at a time, here and at a reader's


def write(
    images: Iterable[ExportImage],
    folder: Path,
    class_names: Sequence[str],
    num: int,
    per_file: int,
) -> None:
    """Write `data/train-00000-of-00003.parquet` and so on.

    Args:
        images: What to write.
        folder: An empty folder.
        class_names: By label.
        num: How many images there are.
        per_file: Images in a Parquet file.

    Raises:
        UserError: A image is damaged.
    """
    (folder / "data").mkdir()
    left, table_schema = iter(images), schema(class_names)
    num_files = -(-num // per_file)
    for position in range(num_files):
        name = f"train-{position:05d}-of-{num_files:05d}.parquet"
        part = islice(left, per_file)
        with pq.ParquetWriter(folder / "data" / name, table_schema) as writer:
            while rows := [_row(image) for image in islice(part, ROW_GROUP)]:
                writer.write_table(pa.Table.from_pylist(rows, table_schema))


def schema(class_names: Sequence[str]) -> pa.Schema:
    """Return the columns, with what `datasets` wants to know of them in its own notation."""
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    for name, (kind, _) in COLUMNS.items():
        features[name] = {"dtype": kind, "_type": "Value"}
    features["label"] = {"names": list(class_names), "_type": "ClassLabel"}
    fields = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    fields += [(name, pa.type_for_alias(kind)) for name, (kind, _) in COLUMNS.items()]
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})


def _row(image: ExportImage) -> dict[str, Any]:
    data, facts = image.read()
    return {"image": {"bytes": data, "path": f"{image.name}{image.suffix(data)}"}, **facts}
