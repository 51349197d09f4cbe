"""Licences of the models behind an export, as far as they are known here; for the data card."""

from collections.abc import Iterator, Mapping
from typing import Any

from sip.core.text import escape_markdown

UNKNOWN = "unknown"
MODELS = {  # field `license` of the model card
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
}
TEXT = """\
Before passing this folder on, see what the source data set allows for images derived from it (real
images, where `kind` is `real`, are the data set's own), and what the models' licences ask for. Then
replace `license: unknown`."""


def licence_text(recipe: Mapping[str, Any], dataset: str) -> str:
    """Return what is known of the licences of a run's data set and models.

    Args:
        recipe: Recipe of the run, without paths.
        dataset: Name of the run's data set.
    """
    rows = [f"| data set `{dataset}` | {UNKNOWN} |"]
    rows += [
        f"| model `{name}` | {stated or MODELS.get(name, UNKNOWN)} |"
        for name, stated in dict.fromkeys(_weights(recipe))
    ]
    return "\n".join(["| of | licence |", "|---|---|", *rows, "", TEXT])


def _weights(value: Any) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each model in a recipe, and the licence that its choice states."""
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        name = inner.get("name") if isinstance(inner, Mapping) else inner
        if key == "weights" and isinstance(name, str):
            stated = value.get("license")
            yield escape_markdown(name), stated and escape_markdown(str(stated))
        yield from _weights(inner)
