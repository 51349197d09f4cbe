"""Memory of a generation against its number of rows, with a generator that returns its sources.

    python -m experiments.speed.memory

Results: `memory.md`. Everything but the models is real: the list of prompts, the batches, reading
ahead, encoding and storing in the background, the store with its shards and claims. Each number of
rows runs in a fresh process.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from sip.core.component import component
from sip.core.image_io import encode
from sip.device.settings import Devices, Runtime
from sip.images.base import Generator, ImageResult
from sip.images.batches import Batch, group_rows
from sip.images.module import ImageModule
from sip.pipeline.makers import images_maker
from sip.pipeline.models import Models
from sip.prompts.base import Prompt, Span
from sip.store.fill import fill
from sip.store.stage import Store

ROWS = (1_000, 100_000)
BATCH_SIZE = 25
SIZE = 32  # px


@component
class Passing(Generator):
    """Returns each source as the generated image."""

    reads_source: ClassVar[bool] = True

    def load(self, runtime: Runtime) -> "PassingModule":
        """Return a module without weights."""
        return PassingModule(self, runtime)

    def group(self, prompt: Prompt) -> Hashable:
        """Return one of three groups."""
        return prompt.noise_rate


class OnlyGenerator:
    """What the pipeline asks for, with a generator only."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def of_stage(self, name: str) -> Generator:
        """Return the generator."""
        return self.generator


class PassingModule(ImageModule):
    """The same, loaded."""

    def rows(self, batch: Batch) -> list[ImageResult]:
        """Return the sources."""
        return [
            ImageResult(row.image_id, batch.sources[row.source_sha256], 0, 0.0)
            for row in batch.prompts
        ]


def main(numbers: Sequence[int] = ROWS) -> None:
    """Print the growth for each row."""
    figures = [measure(num) for num in numbers]
    (few, before, _), (many, after, seconds) = figures
    growth = (after - before) / (many - few)
    lines = [
        "| rows | peak memory, MB |",
        "|---:|---:|",
        *(f"| {num:,} | {peak / 1e6:.1f} |" for num, peak, _ in figures),
        "",
        f"Growth: {growth:.0f} bytes an image, of which the list of prompts itself "
        f"{_list_bytes():.0f}. {many / seconds:.0f} rows/s.",
    ]
    print("\n".join(lines))


def measure(num: int) -> tuple[int, int, float]:
    """Return rows, peak resident bytes and seconds of a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments.speed.memory", str(num), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, seconds = json.loads(done.stdout)
    return num, peak, seconds


def _prompts(num: int, source: str) -> Iterator[Prompt]:
    """Yield a list of prompts as SIP's own, with texts and names of usual length."""
    before, label, between = Span("a photo of a ", 1.0), Span("class name", 1.5), Span(", ", 1.0)
    for number in range(num):
        caption = f"an image of thing number {number} that stands in front of something"
        yield Prompt(
            sample_id=f"train/class_name/image_{number:08d}",
            source=source,
            source_sha256=f"{number:064x}",
            label=number % 100,
            class_name="class name",
            variant=0,
            spans=(before, label, between, Span(caption, 0.9)),
            negative_prompt="",
            guidance_scale=2 + (number % 997) / 200,
            noise_rate=(0.3, 0.5, 0.7)[number % 3],
            seed=(number * 2654435761) % 2**63,
            caption=caption,
            similarity=(number % 1000) / 1000,
        )


def _list_bytes(num: int = 10_000) -> float:
    """Return bytes a row of the list of prompts in memory."""
    import tracemalloc

    tracemalloc.start()
    kept = list(_prompts(num, "source.png"))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / len(kept)


def generate(num: int, folder: Path) -> None:
    """Generate `num` rows; print the peak memory in bytes and the seconds."""
    source = folder / "source.png"
    source.write_bytes(encode(torch.rand(3, SIZE, SIZE), "png"))
    started = time.perf_counter()
    generator = Passing(size=SIZE, per_sample=1, max_failed=0.0, format="png", storage="webdataset")
    prompts = list(_prompts(num, str(source)))
    wanted = {prompt.image_id: prompt for prompt in prompts}
    stage = Store(folder).stage("images", "passing", {"version": 1})
    batches = [
        [prompt.image_id for prompt in batch]
        for batch in group_rows(prompts, BATCH_SIZE, generator.group)
    ]
    models = Models(OnlyGenerator(generator), Runtime.cpu(), Devices())  # type: ignore[arg-type]
    make = images_maker(models, wanted, stage, BATCH_SIZE)
    filled = fill(stage, wanted, make, batches, shard_size=1000, storage=generator.storage)
    assert filled.computed == num
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([peak, time.perf_counter() - started]))


if __name__ == "__main__":
    generate(int(sys.argv[1]), Path(sys.argv[2])) if len(sys.argv) > 1 else main()
