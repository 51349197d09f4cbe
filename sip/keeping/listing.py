"""What a store holds, as tables and as JSON."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sip.core.text import format_bytes
from sip.keeping.uses import Use
from sip.store.census import StageCensus, differences

MOST_SHOWN = 60  # characters of a value that tells recipes apart
HEAD = ("stage", "recipe", "rows", "failed", "shards", "bytes", "last use", "runs", "differs by")
ORDER = ("shards", "damaged", "tmp", "unsent", "other")


def listed(
    stages: Sequence[StageCensus], uses: Mapping[tuple[str, str], Sequence[Use]]
) -> list[dict[str, Any]]:
    """Return a row for each recipe, as `list` shows them.

    "last_use" is when the newest row was made, or when the newest finished run that used the recipe
    ended, whichever is later; s since 1970.
    """
    rows = []
    for stage, differs in zip(stages, _differences(stages), strict=True):
        used = uses.get((stage.stage, stage.fingerprint), [])
        times = [stage.newest, *(use.ended for use in used)]
        rows.append(
            {
                "stage": stage.stage,
                "recipe": stage.name,
                "rows": stage.rows,
                "failed": stage.failed,
                "shards": stage.shards,
                "unreadable": stage.unreadable,
                "bytes": stage.bytes.get("shards", 0),
                "last_use": max((time for time in times if time is not None), default=None),
                "runs": len(used),
                "differs_by": differs,
            }
        )
    return rows


def _differences(stages: Sequence[StageCensus]) -> list[dict[str, Any]]:
    """Return what tells each recipe from the other ones of its stage."""
    found: dict[str, dict[str, Any]] = {}
    for name in {stage.stage for stage in stages}:
        of_name = [stage for stage in stages if stage.stage == name]
        told = differences([stage.recipe for stage in of_name])
        found |= {stage.path: values for stage, values in zip(of_name, told, strict=True)}
    return [found[stage.path] for stage in stages]


def list_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `listed` as a table, with their sums."""
    lines: list[Sequence[str]] = [HEAD]
    lines += [
        (
            row["stage"],
            row["recipe"],
            f"{row['rows']:,}",
            f"{row['failed']:,}",
            f"{row['shards']:,}" + (f" ({row['unreadable']} unreadable)" * bool(row["unreadable"])),
            format_bytes(row["bytes"]),
            _when(row["last_use"]),
            f"{row['runs']:,}",
            " ".join(f"{key}={_shown(value)}" for key, value in row["differs_by"].items()),
        )
        for row in rows
    ]
    sums = {name: sum(row[name] for row in rows) for name in ("rows", "failed", "shards", "bytes")}
    numbers = [f"{sums[name]:,}" for name in ("rows", "failed", "shards")]
    lines.append(("all", "", *numbers, format_bytes(sums["bytes"]), "", "", ""))
    return columns(lines)


def sizes(
    stages: Sequence[StageCensus], rest: Sequence[tuple[str, int]]
) -> list[dict[str, str | int]]:
    """Return a row for each recipe with the bytes of its parts, as `du` shows them.

    Args:
        stages: The stages.
        rest: Name and bytes of what is of no stage.
    """
    rows: list[dict[str, str | int]] = [
        {"path": stage.path, **{part: stage.bytes.get(part, 0) for part in ORDER}}
        for stage in stages
    ]
    return rows + [{"path": name, **dict.fromkeys(ORDER, 0), "other": size} for name, size in rest]


def size_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `sizes` as a table, with sums by stage if it has several recipes."""
    sums: dict[str, dict[str, int]] = {}
    for row in rows:
        for name in (row["path"].partition("/")[0], "all"):
            known = sums.setdefault(name, dict.fromkeys(ORDER, 0))
            for part in ORDER:
                known[part] += row[part]
    sums["all"] = sums.pop("all", dict.fromkeys(ORDER, 0))
    names = [row["path"] for row in rows]
    lines = [(row["path"], row) for row in rows]
    lines += [(name, parts) for name, parts in sums.items() if name not in names]
    table = [
        (name, *(format_bytes(parts[part]) if parts[part] else "-" for part in ORDER))
        for name, parts in lines
    ]
    return columns([("bytes of", *ORDER), *table])


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as JSON, one a line."""
    return "[" + ",\n ".join(json.dumps(row) for row in rows) + "]"


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of texts as columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _when(moment: float | None) -> str:
    return "-" if moment is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."
