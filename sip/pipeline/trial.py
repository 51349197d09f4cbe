"""Short measurements before the work: the best batch size of a device, and its speed."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.shapes import Size
from sip.dataset.base import Sample
from sip.device.batch_size import Halving, auto_batch_size, synchronize
from sip.pipeline.components import StageName, trial_prompt
from sip.pipeline.models import Models
from sip.pipeline.planned import alike
from sip.prompts.base import Prompt
from sip.scores.base import ToEmbed, ToScore

Row = TypeVar("Row")
Trial = Callable[[int], Sequence[Any]]  # number of rows -> the rows
RATES = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)  # noise rates; the smallest ones are quickest
NUM_SIZES = 4  # of images that keep their aspect ratio, whose speed is measured
CPU_ROWS = 4  # a CPU is as fast, row by row, with few rows as with many
LOCAL = ("device", "batch_size", "shard_size")  # settings that do not matter for the best size
MEASURED: dict[str, tuple[float, float]] = {}  # by this process; the jobs of a sweep share them


@dataclass(frozen=True)
class Speed:
    """Seconds that the work takes on this device.

    Attributes:
        caption, score: For one image; 0 if there is nothing to do.
        images: Size in words, as of `Generator.size_name` -> seconds of a forward pass of the U-Net
            for one image, and of the rest of one image: text, autoencoder, file.
    """

    caption: float
    score: float
    images: Mapping[str, tuple[float, float]]


class Trials:
    """Runs a few rows of the stages.

    Args:
        models: What to run.
        file: JSON in which batch sizes are remembered.
    """

    def __init__(self, models: Models, file: Path) -> None:
        self.models = models
        self.file = file
        self.generator = models.components.generator

    def batch_size(self, name: StageName, rows: Iterable[Any]) -> int:
        """Return `runtime.batch_size` of a stage; "auto" is found by trial on one of the rows.

        Raises:
            UserError: None of the images can be read.
        """
        sizes = self.models.runtime.batch_size
        size = {"captions": sizes.captions, "images": sizes.images}.get(name, sizes.scores)
        if size != "auto":
            return size
        recipe = self.models.components.of_stage(name).recipe()
        settings = {k: v for k, v in asdict(self.models.runtime).items() if k not in LOCAL}
        known = digest(recipe, settings)[:10]
        model = f"{name} {recipe['class'].rpartition('.')[2]} {known}"
        trial = self._trial(name, rows)
        return auto_batch_size(self.file, model, self.models.runtime.device, trial)

    def speed(self, samples: Sequence[Sample], stages: set[str], sizes: Mapping[str, int]) -> Speed:
        """Run a few rows and return the speed.

        Args:
            samples: The originals.
            stages: Those that are run, of "captions", "scores" and "images".
            sizes: Size in words -> number of images that are to be generated at it. The most
                frequent ones are measured; the others count as the nearest of these.

        Raises:
            UserError: None of the images can be read.
        """
        sample = _readable(samples, lambda row: row.path)
        caption = score = 0.0
        if "captions" in stages:
            caption = self._per_row("captions", sample)
        if "scores" in stages:
            score = self._per_row("scores", sample)
        images = self._of_sizes(samples, sizes) if "images" in stages else {}
        return Speed(caption, score, images)

    def _of_sizes(
        self, samples: Sequence[Sample], sizes: Mapping[str, int]
    ) -> dict[str, tuple[float, float]]:
        """Return what `Speed.images` holds, for each size."""
        name_of = self.generator.size_name
        of_size = alike(samples, lambda sample: name_of(Size(sample.width, sample.height)))
        measured: dict[str, tuple[float, float]] = {}
        for name in sorted(sizes, key=lambda name: -sizes[name]):
            if len(measured) < NUM_SIZES:
                with suppress(UserError):  # its images cannot be read: they fail, in no time
                    sample = _readable(of_size[name], lambda row: row.path)
                    measured[name] = self._per_evaluation(sample)
        if not measured:
            measured[""] = self._per_evaluation(_readable(samples, lambda row: row.path))
            return dict.fromkeys(sizes, measured[""])
        pixels = {name: self._pixels(of_size[name][0]) for name in sizes}

        def nearest(name: str) -> str:
            return min(measured, key=lambda other: abs(pixels[other] - pixels[name]))

        return {name: measured[nearest(name)] for name in sizes}

    def _pixels(self, sample: Sample) -> int:
        """Return the pixels of an image that is generated from an original."""
        prompt = replace(trial_prompt(1.0), source_size=Size(sample.width, sample.height))
        return Size.of(self.generator.size_of(prompt)).area

    def _trial(self, name: StageName, rows: Iterable[Any]) -> Trial:
        if name == "scores":
            rows = (row.sample for row in rows)
        if name != "images":
            return self._reading_trial(name, _readable(rows, lambda row: row.path))
        if self.generator.reads_source:
            return self._images_trial(_readable(rows, lambda row: row.source))[0]
        return self._images_trial(next(iter(rows)))[0]

    def _reading_trial(self, name: StageName, sample: Any) -> Trial:
        """Return a function that captions, scores or embeds one image some times over."""
        items: dict[str, Any] = {
            "captions": sample,
            "scores": ToScore("", sample, ["an image of something", "another image"]),
            "embeddings": ToEmbed("", sample.path),
        }
        read = self.models.image_reader(name)
        return lambda num: self._run(name, read([items[name]] * num))

    def _run(self, name: StageName, batch: Any) -> Any:
        """Predict one batch, without halving."""
        import torch

        module = self.models.module(name)
        with torch.inference_mode():
            return module.rows(module.transfer_batch_to_device(batch, module.device, 0))

    def _once(
        self, name: StageName, size: str, measure: Callable[[], tuple[float, float]]
    ) -> tuple[float, float]:
        """Return what was measured for this model, device and size, now or by an earlier job."""
        recipe = self.models.components.of_stage(name).recipe()
        key = digest(recipe, repr(self.models.runtime), size)
        if key not in MEASURED:
            MEASURED[key] = measure()
        return MEASURED[key]

    def _per_row(self, name: StageName, sample: Sample) -> float:
        """Return s for a row of captions or scores."""

        def measure() -> tuple[float, float]:
            trial = self._reading_trial(name, sample)
            num = self._fitting(trial, name, [sample])
            return self._seconds(trial, num) / num, 0.0

        return self._once(name, "", measure)[0]

    def _per_evaluation(self, sample: Sample) -> tuple[float, float]:
        """Return s for an evaluation, and s for the rest of an image."""
        size = self.generator.size_name(Size(sample.width, sample.height))
        return self._once("images", size, lambda: self._two_runs(sample))

    def _two_runs(self, sample: Sample) -> tuple[float, float]:
        components = self.models.components
        thing = replace(sample, class_name="thing")  # whose name is in no caption
        captions, scores = [["an image, with a frame"]], [[0.3]]
        prompt = components.writer.write([thing], captions, scores, self.generator.per_sample)[0]
        (prompt,) = self.generator.completed([prompt], [sample])
        short, few = self._images_trial(prompt)
        num = self._fitting(short, "images", [prompt])
        quick = self._seconds(short, num) / num
        for factor in (2, 3, 4, 8):
            try:
                longer, many = self._images_trial(prompt, factor)
            except UserError:
                continue
            if many > few:
                slow = self._seconds(longer, num) / num
                evaluation = max(slow - quick, 0.0) / (many - few)
                return evaluation, max(quick - few * evaluation, 0.0)
        if not few:  # nothing is generated
            return 0.0, quick
        return quick / few, 0.0  # every image costs the same

    def _images_trial(self, prompt: Prompt, factor: int = 1) -> tuple[Trial, int]:
        """Return a function that generates rows with few steps, and the evaluations of a row.

        Raises:
            UserError: No noise rate fits.
        """
        from sip.images.batches import read_batch

        quick = self._quick(prompt, factor)
        size = self.generator.size_of(quick) if self.generator.reads_source else None
        source = read_batch([quick], size)

        def trial(num: int) -> Any:
            rows = [replace(quick, seed=row) for row in range(num)]
            return self._run("images", replace(source, prompts=rows))

        return trial, self.generator.num_evaluations(quick)

    def _quick(self, prompt: Prompt, factor: int) -> Prompt:
        for rate in RATES:
            changed = replace(prompt, noise_rate=rate)
            try:
                self.generator.check([changed])
            except UserError:
                continue
            more = replace(prompt, noise_rate=min(1.0, rate * factor))
            self.generator.check([more])
            return more
        raise UserError(f"images: no noise rate of {', '.join(map(str, RATES))} can be generated")

    def _fitting(self, trial: Trial, name: StageName, rows: Sequence[Any]) -> int:
        """Run a batch, in parts that fit into memory; return the size of a part."""
        num = self.batch_size(name, rows)
        num = min(num, CPU_ROWS) if self.models.runtime.device == "cpu" else num
        halving = Halving(name, "another model")
        halving(lambda part: trial(part.stop - part.start), num)
        return min(halving.limit or num, num)

    def _seconds(self, trial: Trial, num: int) -> float:
        started = time.perf_counter()
        trial(num)
        synchronize(self.models.runtime.device)
        return time.perf_counter() - started


def _readable(rows: Iterable[Row], path: Callable[[Row], str]) -> Row:
    """Return the first row whose image can be read.

    Raises:
        UserError: There is none.
    """
    from sip.core.image_io import read_rgb

    num = 0
    for row in rows:
        try:
            read_rgb(path(row), None)
        except ValueError:
            num += 1
            continue
        return row
    raise UserError(f"dataset: must hold readable images, none of the {num} can be read")
