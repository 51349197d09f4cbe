"""A store with made-up rows, and run folders that need some of them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sip.core.hashing import fingerprint_of
from sip.core.tars import read_checked
from sip.records.write import write_summary
from sip.store.fill import fill
from sip.store.filling import Add
from sip.store.stage import StageStore, Store
from tests.records.made_up import generation_summary

KEYS = [f"k{number}" for number in range(10)]
RECIPE = {"class": "sip.images.toy.Toy", "steps": 4, "weights": {"name": "toy"}}


def opened(
    place: str | Path, name: str = "images", recipe: Mapping[str, Any] = RECIPE
) -> StageStore:
    """Open the place of a recipe."""
    return Store(place).stage(name, "toy", recipe)


def payload(key: str) -> bytes:
    """Return the file of a row."""
    return key.encode() * 99


def made(
    stage: StageStore, keys: Sequence[str] = KEYS, failing: Sequence[str] = (), **options: Any
) -> int:
    """Fill a stage with shards of two rows; return the number of rows that were made."""

    def make(batches: Iterator[list[str]], add: Add) -> None:
        for key in (key for batch in batches for key in batch):
            row = {"key": key, "status": "ok", "payload": payload(key), "suffix": ".txt"}
            add(row | {"status": "failed", "payload": None} if key in failing else row)

    options = {"batches": 2, "shard_size": 2, "storage": "webdataset"} | options
    return fill(stage, dict(zip(keys, keys, strict=True)), make, **options).computed


def contents(stage: StageStore) -> dict[str, bytes | None]:
    """Return key -> bytes of all rows; None for a failed one."""
    rows = stage.read(stage.keys())
    return {
        key: row["file"] and read_checked(row["file"], row["file_sha256"])
        for key, row in rows.items()
    }


def finished_run(folder: Path, **recipes: Mapping[str, Any]) -> Path:
    """Write the summary of a run that generated with these recipes."""
    folder.mkdir(parents=True)
    recipe = {"dataset": {}, "offline": {**recipes, "per_sample": 1}}
    summary = generation_summary(
        recipe=recipe, fingerprint=fingerprint_of(recipe), command="python -m sip.generate seed=3"
    )
    write_summary(folder, summary)
    return folder
