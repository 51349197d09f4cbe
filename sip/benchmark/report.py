"""What the generation benchmark prints: a Markdown table a model, with how it was measured."""

import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from sip.config.provenance import command
from sip.core.files import write_atomically
from sip.core.machine import processor
from sip.core.text import counted

if TYPE_CHECKING:
    import torch

    from sip.device.settings import Runtime
    from sip.images.engine import Engine

LABELS = {
    "floor": "(a) floor: the bare forwards",
    "engine": "(b) engine: files to files",
    "stock": "(c) stock pipeline, one by one",
}
HEADER = ("", "images/s", "U-Net evaluations/s", "s an image", "device-s an image", "images")
LEGEND = """\
Medians over {repeats}, taken by turns (a, b, c, a, b, c, ...) in one process; in brackets the
smallest and the largest. (a) Only the U-Net and VAE forwards, in the engine's batches, on data that
lies on the device. (b) The whole way from image files to committed shards, texts included; the
weights are loaded before. (c) diffusers' image-to-image pipeline, called for one image at a time,
PNG at Pillow's default level; its rows cost as much on average as the list's. An evaluation is one
row of one U-Net forward, so guidance counts twice. Device-seconds: of a GPU, the time that it is
held; of a CPU, the time of all cores together.
"""


@dataclass(frozen=True)
class Turn:
    """One run of one of the three.

    Attributes:
        images: Generated.
        seconds: Wall-clock time.
        cpu_seconds: CPU time of all cores.
    """

    images: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


@dataclass
class Report:
    """What was measured with one model; "floor", "engine" and "stock" name the three.

    Attributes:
        name: Name of the model.
        settings: What else decides the figures, name -> value.
        evaluations: U-Net evaluations of one turn, in rows of forwards.
        num_failed: Rows of the engine that failed.
        batch_sizes: Sizes of the engine's batches.
        flops: An image, of the floor.
        memory: Peak bytes: "process" (resident), and "GPU" if there is one.
        turns: Turns in the order in which they ran.
    """

    name: str
    settings: dict[str, str]
    evaluations: dict[str, int]
    num_failed: int
    batch_sizes: list[int]
    flops: float
    memory: dict[str, int]
    turns: dict[str, list[Turn]] = field(default_factory=lambda: {key: [] for key in LABELS})

    def ratios(self, of: str, to: str) -> list[float]:
        """Return the ratio of their images/s, turn by turn."""
        pairs = zip(self.turns[of], self.turns[to], strict=True)
        return [first.rate / second.rate for first, second in pairs]

    def lines(self) -> list[str]:
        """Return the report as Markdown."""
        evaluated = self.evaluations["engine"] / self.turns["engine"][0].images
        short = sum(size for size in self.batch_sizes if size < max(self.batch_sizes))
        facts = {
            **self.settings,
            "images": f"{sum(self.batch_sizes)}, of which {short} in batches that are not full",
            "U-Net evaluations an image": f"{evaluated:g}",
            "FLOPs an image": f"{self.flops:.4g}",
            "peak memory": ", ".join(
                f"{kind} {size / 1e6:,.0f} MB" for kind, size in self.memory.items()
            ),
        }
        if self.num_failed:
            facts["failed"] = counted(self.num_failed, "image")
        if self.evaluations["floor"] != self.evaluations["engine"]:
            more = self.evaluations["floor"] / self.evaluations["engine"] - 1
            facts["filled up"] = f"{more:.1%} more U-Net rows, for compiled shapes, in (a) and (b)"
        return [
            f"## {self.name}",
            "",
            " | ".join(HEADER).join(("| ", " |")),
            "|---|" + "---:|" * (len(HEADER) - 1),
            *(self._row(key) for key in LABELS),
            "",
            f"**b/a {spread(self.ratios('engine', 'floor'), 3)}, "
            f"b/c {spread(self.ratios('engine', 'stock'), 2)}** (ratios of images/s).",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
        ]

    def _row(self, key: str) -> str:
        turns = self.turns[key]
        # Rows of the floor that only fill up a batch are not images.
        per_image = self.evaluations["stock" if key == "stock" else "engine"] / turns[0].images
        is_cpu = "GPU" not in self.memory
        held = [(turn.cpu_seconds if is_cpu else turn.seconds) / turn.images for turn in turns]
        cells = (
            LABELS[key],
            spread([turn.rate for turn in turns], 4),
            f"{median(turn.rate for turn in turns) * per_image:,.1f}",
            f"{median(1 / turn.rate for turn in turns):.4g}",
            f"{median(held):.4g}",
            str(turns[0].images),
        )
        return f"| {' | '.join(cells)} |"


def settings(engine: "Engine", runtime: "Runtime", batch_size: int) -> dict[str, str]:
    """Return what decides the figures, apart from the model."""
    import torch

    images = engine.settings
    flags = ("channels_last", "compile", "tf32", "vae_slicing")
    chosen = [flag for flag in flags if getattr(runtime, flag)]
    return {
        "device": device_name(engine.device),
        "threads": f"{torch.get_num_threads()} of torch, {runtime.num_workers} next to it",
        "versions": f"torch {torch.__version__}, diffusers {version('diffusers')}",
        "model": f"{images.dtype}, {images.size} px, {images.scheduler}, "
        f"{images.num_steps} steps of which the noise rates 0.3, 0.5 and 0.7 are run",
        "runtime": f"batch size {batch_size}, attention {runtime.attention}, "
        + (", ".join(chosen) or "all else off"),
        "files": f"{images.format}, storage {images.storage}",
    }


def device_name(device: "torch.device") -> str:
    """Return the name of the chip."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {processor()}"


def reset_peak_memory(device: "torch.device") -> None:
    """Forget what a GPU held before; a process cannot forget."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: "torch.device") -> dict[str, int]:
    """Return the most bytes that were in use, by kind."""
    import torch

    peaks = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device.type == "cuda":
        peaks["GPU"] = torch.cuda.max_memory_allocated(device)
    return peaks


def write(reports: Sequence[Report], output: str | None) -> None:
    """Print the reports, and write them to a file if one is named."""
    repeats = len(reports[0].turns["floor"])
    legend = LEGEND.format(repeats="1 repeat" if repeats == 1 else f"{repeats} repeats")
    made_by = command("benchmark") or "python -m sip.benchmark"
    lines = ["# The speed of generation", "", f"**Command.** `{made_by}`", "", legend]
    text = "\n".join([*lines, *("\n".join([*report.lines(), ""]) for report in reports)])
    print(text)
    if output:
        write_atomically(Path(output), text)


def spread(values: Sequence[float], digits: int) -> str:
    """Return median, smallest and largest."""
    low, middle, high = (
        f"{value:#.{digits}g}" for value in (min(values), median(values), max(values))
    )
    return f"{middle} [{low}, {high}]"
