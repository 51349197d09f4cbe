"""What the training benchmark prints: a Markdown table a model, with how it was measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from sip.benchmark.report import Turn, command, device_name, spread

if TYPE_CHECKING:
    import torch

    from sip.benchmark.training_loops import Case

THREE = ("bound", "ours", "timm")
HEADER = (
    "arm",
    "pictures",
    "workers",
    "(a) bound, images/s",
    "(b) ours, images/s",
    "(c) timm, images/s",
    "b/a",
    "b/c",
)
LEGEND = """\
Medians over {repeats}, taken by turns (a, b, c of a row, then of the next) in one process; in
brackets the smallest and the largest. Ratios are taken turn by turn. (a) Forward, backward and step
on one batch that lies on the device. (b) The framework's own training from files, with its loggers
and callbacks; pictures that are kept were decoded once, before the clock started. (c) timm's data
loader, RandAugment and CutMix in a plain loop, with as many workers; it decodes at each use. The
same network, optimiser, precision and batch in all three. Not timed: the steps of the warm-up, the
start of the workers, validation."""


@dataclass
class Row:
    """One model with one arm and one memory bound.

    Attributes:
        case: The model and its files.
        arm: Its name.
        num_workers: Processes that read, in (b) and (c).
        kept: (b) kept the decoded pictures in memory.
        turns: Of "bound", "ours" and "timm", in the order in which they were run.
    """

    case: "Case"
    arm: str
    num_workers: int = 0
    kept: bool = False
    turns: dict[str, list[Turn]] = field(default_factory=lambda: {key: [] for key in THREE})

    def ratios(self, to: str) -> list[float]:
        """Return our images/s by those of another of the three, turn by turn."""
        pairs = zip(self.turns["ours"], self.turns[to], strict=True)
        return [one.rate / other.rate for one, other in pairs]

    def line(self) -> str:
        """Return the row of the table."""
        cells = (
            self.arm,
            "kept" if self.kept else "read at each use",
            str(self.num_workers),
            *(spread([turn.rate for turn in self.turns[key]], 4) for key in THREE),
            *(spread(self.ratios(to), 3) for to in ("bound", "timm")),
        )
        return f"| {' | '.join(cells)} |"


def lines(rows: Sequence[Row]) -> list[str]:
    """Return the table of one model as Markdown."""
    case = rows[0].case
    recipe = case.recipe
    timed = recipe.steps - recipe.warmup_steps
    facts = {
        "files": f"{len(case.rows)}, and {len(case.drawn)} in place of drawn ones for sip_cutmix",
        "batch": f"{recipe.batch_size} images, {timed} steps timed after {recipe.warmup_steps}",
        "model": f"{recipe.precision}, {recipe.optimizer}"
        + (", channels_last" if case.device.type == "cuda" else ""),
        "CPU time of the process, s an image, (a) / (b) / (c)": "; ".join(
            f"{row.arm}, {'kept' if row.kept else 'read'}: "
            + " / ".join(
                f"{median(turn.cpu_seconds / turn.images for turn in row.turns[key]):.4g}"
                for key in THREE
            )
            for row in rows
        ),
    }
    return [
        f"## {case.name}",
        "",
        " | ".join(HEADER).join(("| ", " |")),
        "|---|---|" + "---:|" * (len(HEADER) - 2),
        *(row.line() for row in rows),
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
    ]


def write(
    rows: Sequence[Row], device: "torch.device", num_repeats: int, output: str | None
) -> None:
    """Print the tables, and write them to a file where one is named."""
    import torch

    legend = LEGEND.format(repeats="1 repeat" if num_repeats == 1 else f"{num_repeats} repeats")
    parts = ["# The speed of training", "", f"**Command.** `{command('training')}`", "", legend, ""]
    for _, group in groupby(rows, key=lambda row: row.case.name):
        parts += [*lines(list(group)), ""]
    packages = ("torch", "torchvision", "timm", "pytorch-lightning", "pillow")
    parts += [
        f"Device: {device_name(device)}; {torch.get_num_threads()} threads of torch. Versions: "
        + ", ".join(f"{name} {version(name)}" for name in packages)
        + ".",
        "",
    ]
    text = "\n".join(parts)
    print(text)
    if output:
        Path(output).write_text(text)
