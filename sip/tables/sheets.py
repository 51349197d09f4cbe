"""Contact sheets of an experiment: the same originals across a grid of two settings.

There is a row per original, a group of columns per value of one key, and a column within it per
value of the other. Small images are enlarged by a whole factor without interpolation, so that
nothing looks better than it is; large ones are scaled down.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig
from PIL import Image

from sip.core.errors import DamagedError, UserError
from sip.core.spread import spread
from sip.core.uri import place_of
from sip.records.files import ListedImage, listed_image
from sip.records.read import TrainingRun
from sip.records.varied import plain
from sip.tables.layout import checked, completed, where_of
from sip.tables.query import require_keys

Setting = tuple[str, str]  # value of the outer key, of the inner one


@dataclass(frozen=True)
class Sheet:
    """What a contact sheet shows.

    Attributes:
        title: In one line.
        outer: Key; a group of columns for each value.
        inner: Key; a column for each value within a group. None: one column.
        outer_label, inner_label: Stand in front of the values.
        originals: Rows, at most.
        variant: Which of the images of an original.
        seed: Seed of the runs; None for the lowest there is.
        cell: Longer side of an image on the sheet, px.
        store: The store; None for the one in each run's configuration.
        where: Key -> value: only such runs.
    """

    title: str
    outer: str
    inner: str | None
    outer_label: str
    inner_label: str
    originals: int
    variant: int
    seed: int | None
    cell: int
    store: str | None
    where: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, low in (("originals", 1), ("variant", 0), ("cell", 16)):
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise UserError(f"figure.{name}: must be a whole number >= {low}, got {value!r}")

    @classmethod
    def of(cls, node: DictConfig) -> "Sheet":
        """Return the sheet that a configuration's `figure` describes."""
        values = completed(node, "figure", "sheet")
        values.pop("kind")
        values["where"] = where_of(values["where"], "figure")
        return checked(cls, values, "figure")

    def setting_of(self, run: TrainingRun) -> Setting:
        """Return the place of a run's images on the sheet."""
        inner = _setting(run, self.inner) if self.inner else ""
        if outer := _setting(run, self.outer):
            return f"{self.outer_label} {outer}", inner
        return str(run.value("augmentation")), inner


@dataclass(frozen=True)
class SheetCell:
    """An image on the sheet.

    Attributes:
        image: The image; None if its generation failed.
        note: Why it was not trained on: the status; "" if it was.
        scale: Its guidance scale.
    """

    image: ListedImage | None
    note: str
    scale: float | None = None


@dataclass(frozen=True)
class SheetGrid:
    """The images of a sheet.

    Attributes:
        settings: The columns, by rising values: the outer one in words, the inner one.
        names: Class names, a row each.
        originals: A row each.
        cells: Row by row, a cell for each of `settings`.
    """

    settings: list[Setting]
    names: list[str]
    originals: list[ListedImage]
    cells: list[list[SheetCell]]

    def scales(self, column: int) -> str:
        """Return the guidance scales of a column's images, such as "4.1 to 6"."""
        scales = [row[column].scale for row in self.cells]
        known = [scale for scale in scales if scale is not None]
        if not known:
            return ""
        low, high = f"{min(known):.3g}", f"{max(known):.3g}"
        return low if low == high else f"{low} to {high}"


def _setting(run: TrainingRun, key: str) -> str:
    """Return the value of a key; of a setting that the chosen rule lacks, the rule's name.

    "" if it plays no part in the run's images.
    """
    if run.is_unread(key):
        return ""
    value = run.value(key)
    return plain(run.value(key.rpartition(".")[0].replace(".", "/")) if value is None else value)


def grid(runs: Iterable[TrainingRun], sheet: Sheet) -> SheetGrid:
    """Find the images of a sheet.

    Raises:
        UserError: No run generates, a key or seed is in none, two runs have unlike images at one
            place, or no original is in all columns.
    """
    runs = [run for run in runs if run.summary.num_generated]
    if not runs:
        raise UserError("figure=sheet: no run generates images")
    require_keys(runs, [key for key in (sheet.outer, sheet.inner) if key])
    seeds = sorted({run.summary.seed for run in runs})
    seed = seeds[0] if sheet.seed is None else sheet.seed
    runs = [run for run in runs if run.summary.seed == seed]
    if not runs:
        raise UserError(f"figure.seed: must be one of {seeds}, got {seed}")
    columns: dict[Setting, tuple[TrainingRun, dict[str, dict[str, Any]]]] = {}
    originals: dict[str, dict[str, Any]] = {}
    for run in runs:
        setting, (generated, real) = sheet.setting_of(run), _images(run, sheet)
        other, there = columns.setdefault(setting, (run, generated))
        if _ids(there) != _ids(generated):  # several backbones share one set
            raise UserError(
                f"figure=sheet: two runs of {', '.join(filter(None, setting))}, seed {seed}, "
                f"have different images ({other.summary.fingerprint}, {run.summary.fingerprint}); "
                "keep one with +figure.where.KEY="
            )
        originals |= real
    shared = set(originals).intersection(*(generated for _, generated in columns.values()))
    if not shared:
        raise UserError(
            f"figure=sheet: expected originals that all {len(columns)} columns have, got "
            f"none (variant {sheet.variant}, seed {seed}); narrow it with +figure.where.KEY="
        )
    rows = _spread([originals[name] for name in shared], sheet.originals)
    settings = sorted(columns, key=lambda one: [_by_number(value) for value in one])
    return SheetGrid(
        settings,
        [str(row["class_name"]) for row in rows],
        [row["image"] for row in rows],
        [[_cell(columns[s][1][row["id"]]) for s in settings] for row in rows],
    )


def _images(
    run: TrainingRun, sheet: Sheet
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return original id -> generated image, and the originals; each with its "image"."""
    names = ["kind", "id", "sample_id", "label", "class_name", "sha256", "file"]
    names += ["status", "variant", "guidance_scale"]
    rows = run.images(columns=names, filters=[("split", "=", "train")])
    store = place_of(sheet.store or run.store, "figure.store")
    for row in rows:
        row["image"] = listed_image(store, row)
    generated = {
        row["sample_id"]: row
        for row in rows
        if row["kind"] != "real" and row["variant"] == sheet.variant
    }
    return generated, {row["id"]: row for row in rows if row["kind"] == "real"}


def _ids(generated: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {row["id"] for row in generated.values()}


def _cell(row: Mapping[str, Any]) -> SheetCell:
    note = "" if row["status"] == "ok" else str(row["status"])
    return SheetCell(row["image"], note, row["guidance_scale"])


def _spread(rows: Sequence[dict[str, Any]], at_most: int) -> list[dict[str, Any]]:
    """Return one original of each class, then a second of each, ...; by class in the end."""
    piles: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["id"]):
        piles[row["label"]].append(row)
    turns = [(turn, label) for label, pile in piles.items() for turn in range(len(pile))]
    first = turns if len(turns) <= at_most else sorted(turns)[:at_most]
    if len(piles) > at_most:  # classes from all over, in place of the first ones
        first = [(0, label) for label in spread(sorted(piles), at_most)]
    return [piles[label][turn] for turn, label in sorted(first, key=lambda one: one[::-1])]


def _by_number(value: str) -> tuple[bool, float, str]:
    """Sort by the number at the end of a setting, then what has none."""
    try:
        return False, float(value.rpartition(" ")[2]), value
    except ValueError:
        return True, 0.0, value


def enlarged(listed: ListedImage, cell: int) -> Image.Image:
    """Return an RGB image of `cell` px at most: by a whole factor, or scaled down.

    Raises:
        UserError: It cannot be read.
    """
    try:
        image = listed.rgb()
    except DamagedError as error:
        raise UserError(
            f"figure=sheet: {error}; say where the store is with figure.store="
        ) from error
    longer = max(image.size)
    if longer > cell:
        image.thumbnail((cell, cell), Image.Resampling.LANCZOS)
        return image
    factor = cell // longer
    size = image.width * factor, image.height * factor
    return image.resize(size, Image.Resampling.NEAREST)
