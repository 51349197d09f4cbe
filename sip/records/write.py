"""Write the files of a run folder: every image the run used, contact sheets, configuration."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sip.core.files import atomic_file, write_atomically
from sip.core.paths import SUMMARY
from sip.core.sheets import Pair, contact_sheet
from sip.core.spread import spread
from sip.core.uri import Place, relative
from sip.dataset.base import Sample, Split
from sip.pipeline.filtering import REJECTED
from sip.pipeline.stored import StoredImage
from sip.prompts.base import span_pairs
from sip.records.parquet import REAL, TEXT, WHOLE
from sip.records.summary import Summary

CONTACT_SHEET, REJECTED_SHEET = "contact_sheet.png", "rejected.png"
NUM_PAIRS = 12  # on the contact sheet
NUM_REJECTED = 24  # on the sheet of rejected images
CHUNK = 4096  # rows in memory at a time


def write_images(
    path: Path,
    parts: Mapping[Split, Sequence[Sample]],
    generated: Iterable[StoredImage],
    store: Place,
    lost: Mapping[str, tuple[str, str | None]] | None = None,
) -> None:
    """Write a row for every image: what it is, its source, how it was generated.

    Args:
        path: The Parquet file.
        parts: Split -> real images.
        generated: Generated images, also failed ones; read one after the other.
        store: The store; every "file" in it is relative to it.
        lost: sample_id -> reason and error, of originals from which no image could be asked for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [(name, pa.string()) for name in TEXT]
    fields += [(name, pa.int64()) for name in WHOLE] + [(name, pa.float64()) for name in REAL]
    schema = pa.schema(fields, {"pandas": json.dumps(_for_pandas(WHOLE))})
    rows = _rows(parts, generated, store, lost or {})
    with atomic_file(path) as part, pq.ParquetWriter(part, schema) as writer:
        while chunk := list(islice(rows, CHUNK)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))


def _for_pandas(names: Iterable[str]) -> dict[str, Any]:
    """Return what has pandas read columns with gaps as whole numbers; floats would round seeds."""
    columns = [
        {
            "name": n,
            "field_name": n,
            "pandas_type": "int64",
            "numpy_type": "Int64",
            "metadata": None,
        }
        for n in names
    ]
    return {"index_columns": [], "column_indexes": [], "columns": columns, "pandas_version": "2.0"}


def write_contact_sheet(kept: Sequence[StoredImage], folder: Path) -> Path | None:
    """Write a sheet of originals next to images generated from them; None if there are none."""
    return _write_sheet(spread(kept, NUM_PAIRS), folder / CONTACT_SHEET)


def write_rejected_sheet(images: Iterable[StoredImage], folder: Path) -> Path | None:
    """Write a sheet of images that the filter rejected, with the reason; None if there are none.

    An earlier sheet is removed.
    """
    rejected = [image for image in images if image.row.status == REJECTED]
    return _write_sheet(spread(rejected, NUM_REJECTED), folder / REJECTED_SHEET)


def write_config(config: DictConfig, path: Path) -> dict[str, Any]:
    """Write the resolved configuration and return it."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    write_atomically(path, OmegaConf.to_yaml(OmegaConf.create(values)))
    return {str(key): value for key, value in values.items()}


def write_summary(folder: Path, summary: Summary) -> None:
    """Write `summary.json`; a run folder with it is finished."""
    text = json.dumps(summary.to_dict(), indent=2, default=str)
    write_atomically(folder / SUMMARY, text + "\n")


def _rows(
    parts: Mapping[Split, Sequence[Sample]],
    generated: Iterable[StoredImage],
    store: Place,
    lost: Mapping[str, tuple[str, str | None]],
) -> Iterator[dict[str, Any]]:
    for split, samples in parts.items():
        for sample in samples:
            reason, error = lost.get(sample.sample_id, (None, None))
            yield {
                "kind": "real",
                "id": sample.sample_id,
                "sample_id": sample.sample_id,
                "split": split,
                "label": sample.label,
                "class_name": sample.class_name,
                "sha256": sample.sha256,
                "file": relative(sample.path, store),
                "status": "ok",
                "reason": reason,
                "error": error,
            }
    for image in generated:
        prompt, row = image.prompt, image.row
        yield {
            "kind": image.kind,
            "id": prompt.image_id,
            "sample_id": prompt.sample_id,
            "split": "train",
            "label": prompt.label,
            "class_name": prompt.class_name,
            "sha256": row.file_sha256,
            "file": relative(row.file, store) if row.file else None,
            "status": row.status,
            "reason": row.reason,
            "error": row.error,
            "variant": prompt.variant,
            "spans": json.dumps(span_pairs(prompt.spans)),
            "negative_prompt": image.fact("negative_prompt"),
            "guidance_scale": image.fact("guidance_scale"),
            "noise_rate": image.fact("noise_rate"),
            "seed": prompt.seed,
            "caption": prompt.caption,
            "similarity": prompt.similarity,
            "candidates": json.dumps(image.candidates),
            "unet_evaluations": row.unet_evaluations,
            **({} if prompt.source_class is None else prompt.source_class.to_dict()),
        }


def _write_sheet(images: Sequence[StoredImage], path: Path) -> Path | None:
    path.unlink(missing_ok=True)
    if not images:
        return None
    contact_sheet([sheet_pair(image) for image in images], path)
    return path


def sheet_pair(image: StoredImage) -> Pair:
    """Return an original and an image generated from it, with the words of a contact sheet."""
    prompt, row, source = image.prompt, image.row, image.prompt.source_class
    title, lines = sheet_words(
        prompt.class_name,
        span_pairs(prompt.spans),
        prompt.caption,
        prompt.similarity,
        image.fact("guidance_scale"),
        image.fact("noise_rate"),
        None if source is None else (source.class_name, source.label_share),
        None if row.status == "ok" else (str(row.reason), str(row.error)),
        image.kind,
    )
    return Pair(prompt.source, image.file, title, lines, row.file_sha256, image.kind)


def sheet_words(
    class_name: str,
    spans: Iterable[Sequence[Any]],
    caption: str | None,
    similarity: float | None,
    guidance_scale: float | None,
    noise_rate: float | None,
    source: tuple[str, float] | None = None,
    failure: Sequence[str] | None = None,
    kind: str = "generated",
) -> tuple[str, list[str]]:
    """Return the title above a pair of a contact sheet, and the lines below it.

    Args:
        class_name: The class that the image is to show.
        spans: (text, weight) of the prompt.
        caption, similarity, guidance_scale, noise_rate: As of the prompt; None for no line.
        source: The class of the original and the share of the shown class in the label; None: it is
            the original's.
        failure: Why it is not used; None if it is.
        kind: As of the run's list.
    """
    texts = [str(text) for text, _ in spans]
    text = (caption if caption in texts else "".join(texts)) or "(no text)"
    first = ["a real image of the class"] if kind == "retrieved" else [text]
    if similarity is not None:
        first.append(f"similarity {similarity:.3f}")
    lines = [*(failure or first)]
    if guidance_scale is not None:
        lines.append(f"guidance scale {guidance_scale:g}")
    if noise_rate is not None:
        lines.append(f"noise rate {noise_rate:g}")
    if source is None:
        return class_name, lines
    name, share = source
    lines.append(f"label {share:.2f} {class_name}, {1 - share:.2f} {name}")
    return f"{name} to {class_name}", lines
