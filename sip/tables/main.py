"""Runs in, the table of arms out: mean, interval and n over seeds, for each backbone."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.tables.statistics import Difference, Estimate, estimate, paired_difference

CONTROL = "none"


@dataclass(frozen=True)
class Arm:
    """One line of the table.

    Attributes:
        accuracy: Test top-1 over seeds, in %.
        difference: To the control with the same backbone over the seeds both have, in points;
            None for the control itself.
    """

    backbone: str
    augmentation: str
    accuracy: Estimate
    difference: Difference | None
    seeds: tuple[int, ...]
    num_train: int
    steps: int
    unet_evaluations: int
    seconds: float


def arms(summaries: Iterable[dict[str, Any]]) -> list[Arm]:
    """Group runs by backbone and augmentation.

    Raises:
        ValueError: Two runs are of one arm and seed, but were not made alike.
    """
    groups: dict[tuple[str, str], dict[int, dict]] = defaultdict(dict)
    for summary in summaries:
        group = groups[summary["backbone"], summary["augmentation"]]
        if summary["seed"] in group:
            raise ValueError(
                f"two runs of {summary['backbone']} + {summary['augmentation']}, seed "
                f"{summary['seed']}, differ in their recipes; name a folder with one of them"
            )
        group[summary["seed"]] = summary
    result = []
    for (backbone, augmentation), runs in sorted(groups.items(), key=_order):
        control = groups.get((backbone, CONTROL), {})
        result.append(_arm(backbone, augmentation, runs, control))
    return result


def _order(group: tuple[tuple[str, str], Any]) -> tuple[str, bool, int, str]:
    """Sort by backbone; the control first, then single methods, then combinations."""
    backbone, augmentation = group[0]
    return backbone, augmentation != CONTROL, augmentation.count("_"), augmentation


def _arm(backbone: str, augmentation: str, runs: dict[int, dict], control: dict[int, dict]) -> Arm:
    seeds = tuple(sorted(runs))
    shared = [seed for seed in seeds if seed in control]
    difference = None
    if augmentation != CONTROL and shared:
        difference = paired_difference(
            [100 * runs[seed]["test_accuracy"] for seed in shared],
            [100 * control[seed]["test_accuracy"] for seed in shared],
        )
    first = runs[seeds[0]]
    return Arm(
        backbone,
        augmentation,
        estimate([100 * runs[seed]["test_accuracy"] for seed in seeds]),
        difference,
        seeds,
        first["num_real"] + first["num_drawn"],
        first["steps"],
        first["unet_evaluations"],
        sum(_classifier_seconds(runs[seed]) for seed in seeds) / len(seeds),
    )


def _classifier_seconds(summary: dict) -> float:
    return sum(row["seconds"] for row in summary["stages"] if row["stage"] == "classifier")


HEADER = (
    "backbone", "augmentation", "test top-1, % (95 % t interval)", "n",
    "against none, points (95 % interval; paired t-test p)", "training images", "steps",
    "U-Net evaluations", "training seconds",
)  # fmt: skip


def cells(arm: Arm) -> list[str]:
    """Return an arm's cells, in the header's order."""
    return [
        arm.backbone,
        arm.augmentation,
        _number(arm.accuracy),
        str(arm.accuracy.num),
        _difference(arm.difference),
        str(arm.num_train),
        str(arm.steps),
        f"{arm.unet_evaluations:,}",
        f"{arm.seconds:.0f}",
    ]


def _number(value: Estimate, sign: str = "") -> str:
    text = f"{value.mean:{sign}.2f}"
    return text if value.half_width is None else f"{text} ± {value.half_width:.2f}"


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return "-"
    text = _number(difference.estimate, "+")
    if difference.p_value is None:
        return text
    half = difference.estimate.half_width
    assert half is not None
    text = f"{text} (p = {difference.p_value:.3f})"
    return f"**{text}**" if abs(difference.estimate.mean) > half else text


def markdown(rows: list[Arm], footer: str) -> str:
    """Return the table in Markdown; differences whose interval leaves out 0 are bold."""
    lines = [" | ".join(HEADER), " | ".join("---" for _ in HEADER)]
    lines += [" | ".join(cells(arm)) for arm in rows]
    return "\n".join([*(f"| {line} |" for line in lines), "", footer, ""])


def write(rows: list[Arm], footer: str, path: Path) -> None:
    """Write `<path>.md` and `<path>.csv`."""
    import csv

    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(markdown(rows, footer))
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([cell.strip("*") for cell in cells(arm)] for arm in rows)
