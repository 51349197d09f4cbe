"""What a store holds, stage by stage; nothing is read but names, sizes and counts."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sip.core.errors import UserError
from sip.core.files import files_below
from sip.core.text import join_first
from sip.store.bucket import UNSENT
from sip.store.place import DAMAGED, SHARDS, StagePlace
from sip.store.stage import Store

PARTS = (SHARDS, DAMAGED, "tmp", UNSENT)  # whose bytes are counted apart


@dataclass(frozen=True)
class StageCensus:
    """What the rows of one recipe take.

    Attributes:
        place: Where they lie.
        recipe: How they are made; empty if its file cannot be read.
        rows, failed: Rows, and those of them that failed. A row that was made again counts twice.
        shards: Shards.
        unreadable: Shards whose rows cannot be counted.
        bytes: Part of the stage ("shards", "damaged", "tmp", "unsent", "other") -> bytes.
        newest: When the newest row was made, s since 1970; None without rows.
    """

    place: StagePlace[Any]
    recipe: Mapping[str, Any]
    rows: int
    failed: int
    shards: int
    unreadable: int
    bytes: Mapping[str, int]
    newest: float | None

    @property
    def stage(self) -> str:
        """Name of the stage, such as "captions"."""
        return self.place.stage

    @property
    def name(self) -> str:
        """Choice and fingerprint, such as "blip-0123456789"."""
        return str(self.place.root.name)

    @property
    def path(self) -> str:
        """Path below the store's root."""
        return self.place.path

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the recipe."""
        return fingerprint(self.name)


def chosen(store: Store, stages: Sequence[str] = ()) -> list[StagePlace[Any]]:
    """Return the places of stages in a store.

    Args:
        store: The store.
        stages: Names such as "images", or of one recipe "images/img2img-0123456789"; () for all.

    Raises:
        UserError: The store has no such stage.
    """
    places = store.places()
    known = {name for place in places for name in (place.stage, place.path)}
    for name in stages:
        if name not in known:
            there = join_first(sorted(known), 6) or "none"
            raise UserError(
                f"stages: must be stages of {store.root}, got {name!r}; there are {there}"
            )
    return [place for place in places if not stages or {place.stage, place.path} & set(stages)]


def census(place: StagePlace[Any], count: bool = True) -> StageCensus:
    """Count what lies in a place.

    Args:
        place: Place of a stage.
        count: Whether rows are counted; else only shards and bytes.
    """
    shards = sorted(place.names())
    counts = place.counts(shards) if count else []
    known = [count for count in counts if count is not None]
    sizes: Counter[str] = Counter()
    for name, size in place.files():
        part = name.partition("/")[0]
        sizes[part if part in PARTS else "other"] += size
    return StageCensus(
        place=place,
        recipe=_recipe(place),
        rows=sum(count.rows for count in known),
        failed=sum(count.failed for count in known),
        shards=len(shards),
        unreadable=len(counts) - len(known),
        bytes=dict(sizes),
        newest=max(filter(None, map(made_at, shards)), default=None),
    )


def fingerprint(name: str) -> str:
    """Return the fingerprint in a recipe's name, such as "blip-0123456789"."""
    return name.rpartition("-")[2]


def made_at(shard: str) -> float | None:
    """Return when a shard was begun, s since 1970, as its name says; None if it says nothing."""
    time = shard.partition("-")[0]
    return int(time) / 1e9 if time.isdecimal() else None


def not_of_stages(store: Store) -> Iterator[tuple[str, int]]:
    """Yield what lies on this machine in the store and is of no stage: name, and bytes."""
    of_stages = {place.stage for place in store.places()}
    sizes: Counter[str] = Counter()
    for file, size in files_below(store.work):
        sizes[file.partition("/")[0]] += size
    yield from (
        (name, size) for name, size in sorted(sizes.items()) if size and name not in of_stages
    )


def differences(recipes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, of each recipe, what tells it from the other ones: key -> value.

    Recipes of other components are not compared: their class says enough.
    """
    flat = [dict(_leaves(recipe, "")) for recipe in recipes]
    found = []
    for own in flat:
        siblings = [other for other in flat if other.get("class") == own.get("class")]
        keys = [key for key in own if any(other.get(key) != own[key] for other in siblings)]
        found.append({key: own[key] for key in keys})
    return found


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _recipe(place: StagePlace[Any]) -> dict[str, Any]:
    try:
        found = json.loads(place.read_recipe())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
