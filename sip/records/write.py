"""What a run writes down beside its numbers: every picture it used, and a look at some of them."""

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from sip.core.files import atomic_file, write_atomically
from sip.core.sheets import Pair, contact_sheet
from sip.dataset.base import Sample, Split
from sip.pipeline.offline import Picture

Row = TypeVar("Row")
NUM_PAIRS = 12  # on a contact sheet
CHUNK = 4096  # rows that are in memory at a time
LIBRARIES = ("torch", "diffusers", "transformers", "timm", "pytorch-lightning")
TEXT = (
    *("kind", "id", "sample_id", "split", "class_name", "sha256", "file", "status", "reason"),
    *("error", "spans", "negative_prompt", "caption", "candidates"),
)
WHOLE = ("label", "variant", "seed", "unet_evaluations")
REAL = ("guidance_scale", "noise_rate", "similarity")


def write_pictures(
    path: Path, parts: Mapping[Split, Sequence[Sample]], drawn: Iterable[Picture], store: Path
) -> None:
    """List every picture: what it is, where it comes from, how it was drawn.

    Args:
        path: The Parquet file.
        parts: Split -> real pictures.
        drawn: Drawn pictures, also failed ones; read one after the other.
        store: The store's folder; every "file" is relative to it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [(name, pa.string()) for name in TEXT]
    fields += [(name, pa.int64()) for name in WHOLE] + [(name, pa.float64()) for name in REAL]
    schema = pa.schema(fields)
    rows = _rows(parts, drawn, store)
    with atomic_file(path) as part, pq.ParquetWriter(part, schema) as writer:
        while chunk := list(islice(rows, CHUNK)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))


def _rows(
    parts: Mapping[Split, Sequence[Sample]], drawn: Iterable[Picture], store: Path
) -> Iterator[dict[str, Any]]:
    for split, samples in parts.items():
        for sample in samples:
            yield {
                "kind": "real",
                "id": sample.sample_id,
                "sample_id": sample.sample_id,
                "split": split,
                "label": sample.label,
                "class_name": sample.class_name,
                "sha256": sample.sha256,
                "file": os.path.relpath(sample.path, store),
                "status": "ok",
            }
    for picture in drawn:
        prompt, row = picture.prompt, picture.row
        yield {
            "kind": "drawn",
            "id": prompt.image_id,
            "sample_id": prompt.sample_id,
            "split": "train",
            "label": prompt.label,
            "class_name": prompt.class_name,
            "sha256": row["file_sha256"],
            "file": os.path.relpath(row["file"], store) if row["file"] else None,
            "status": row["status"],
            "reason": row["reason"],
            "error": row["error"],
            "variant": prompt.variant,
            "spans": json.dumps([[span.text, span.weight] for span in prompt.spans]),
            "negative_prompt": prompt.negative_prompt,
            "guidance_scale": prompt.guidance_scale,
            "noise_rate": prompt.noise_rate,
            "seed": prompt.seed,
            "caption": prompt.caption,
            "similarity": prompt.similarity,
            "candidates": json.dumps(picture.candidates),
            "unet_evaluations": row["unet_evaluations"],
        }


def write_contact_sheet(
    pictures: Sequence[Picture], folder: Path, name: str = "contact_sheet.png"
) -> Path | None:
    """Draw originals beside their pictures into the folder; None if there are none."""
    if not pictures:
        return None
    contact_sheet([_pair(picture) for picture in pictures], folder / name)
    return folder / name


def spread(rows: Sequence[Row], num: int = NUM_PAIRS) -> list[Row]:
    """Return `num` rows at most, from all over the list."""
    num = min(num, len(rows))
    return [rows[n * len(rows) // num] for n in range(num)]


def write_config(config: DictConfig, path: Path) -> dict[str, Any]:
    """Write the resolved configuration and return it."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    OmegaConf.save(OmegaConf.create(values), path)
    return {str(key): value for key, value in values.items()}


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write the numbers of a run; a run with them is finished."""
    write_atomically(path, json.dumps(summary, indent=2, default=str) + "\n")


def environment() -> dict[str, Any]:
    """Return the command, the versions, the platform and the commit that a run was made with."""
    return {
        "command": command(),
        "versions": {name: version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "commit": _commit(),
    }


def command(job_name: str | None = None) -> str | None:
    """Return the command line that makes this run alone; None outside of Hydra.

    Args:
        job_name: Of the module below `sip`; None for the one that Hydra knows.
    """
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return None
    job = HydraConfig.get()
    return shlex.join(["python", "-m", f"sip.{job_name or job.job.name}", *job.overrides.task])


def choice(group: str) -> str:
    """Return the name of the choice for a configuration group, "custom" outside of Hydra."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return "custom"
    return str(HydraConfig.get().runtime.choices.get(group, "custom")).split("/")[-1]


def command_line() -> dict[str, Any]:
    """Return what the command line set and the choice for every group."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return {"overrides": [], "choices": {}}
    job = HydraConfig.get()
    choices = {str(k): v for k, v in job.runtime.choices.items() if not str(k).startswith("hydra")}
    return {"overrides": list(job.overrides.task), "choices": choices}


def _pair(picture: Picture) -> Pair:
    prompt = picture.prompt
    has_caption = any(span.text == prompt.caption for span in prompt.spans)
    lines = [(prompt.caption if has_caption else prompt.text) or "(no text)"]
    if picture.row["status"] != "ok":
        lines = [str(picture.row["reason"]), str(picture.row["error"])]
    elif prompt.similarity is not None:
        lines.append(f"similarity {prompt.similarity:.3f}")
    lines.append(f"guidance scale {prompt.guidance_scale:g}")
    lines.append(f"noise rate {prompt.noise_rate:g}")
    row = picture.row
    return Pair(prompt.source, row["file"], prompt.class_name, lines, row.get("file_sha256"))


def _commit() -> str | None:
    """Return the commit of the code, if it runs from a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
