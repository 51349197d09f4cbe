"""Short measurements before the work: the batch size that a device likes, and how fast it draws."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.dataset.base import Sample
from sip.device.batch_size import auto_batch_size, is_out_of_memory
from sip.pipeline.makers import reader
from sip.prompts.base import Prompt

if TYPE_CHECKING:
    from sip.pipeline.offline import Offline

Row = TypeVar("Row")
RATES = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)  # noise rates; the smallest ones are quickest
CPU_ROWS = 4  # a CPU is as fast, row by row, with few rows as with many


@dataclass(frozen=True)
class Speed:
    """Seconds that the work takes on this device.

    Attributes:
        caption, score: For one picture; 0 where there is nothing to do.
        evaluation: For one forward pass of the U-Net for one picture.
        picture: For the rest of one picture: text, autoencoder, file.
    """

    caption: float
    score: float
    evaluation: float
    picture: float


def auto_size(offline: "Offline", name: str, rows: Any) -> int:
    """Return the batch size of a room for this device, by trial or from memory."""
    if name == "images":
        reads = offline.generator.reads_source
        first = _readable(rows, lambda row: row.source) if reads else next(iter(rows))
        trial = _images_trial(offline, first)[0]
    else:
        trial = _trial(offline, name, _readable(rows, lambda row: row.path))
    recipe = offline.implementation(name).recipe()
    known = digest(recipe, asdict(replace(offline.runtime, device="")))[:10]
    model = f"{name} {recipe['class'].rpartition('.')[2]} {known}"
    file = offline.store.root / "batch_sizes.json"
    return auto_batch_size(file, model, offline.runtime.device, trial)


def measure(offline: "Offline", samples: Sequence[Sample], rooms: set[str]) -> Speed:
    """Run a few rows of those rooms ("captions", "scores", "images") and return the speed.

    Raises:
        UserError: None of the first pictures can be read.
    """
    sample = _readable(samples, lambda row: row.path)
    caption = score = evaluation = picture = 0.0
    if "captions" in rooms:
        caption = _per_row(offline, _trial(offline, "captions", sample), "captions", [sample])
    if "scores" in rooms:
        score = _per_row(offline, _trial(offline, "scores", sample), "scores", [sample])
    if "images" in rooms:
        evaluation, picture = _per_evaluation(offline, sample)
    return Speed(caption, score, evaluation, picture)


def _per_evaluation(offline: "Offline", sample: Sample) -> tuple[float, float]:
    """Return s an evaluation, and s for the rest of a picture, from a short and a longer run."""
    thing = replace(sample, class_name="thing")  # whose name is in no caption
    prompt = offline.write([thing], [["a picture, with a frame"]], [[0.3]])[0]
    short, few = _images_trial(offline, prompt)
    num = _fitting(short, _num_rows(offline, "images", [prompt]))
    quick = _seconds(offline, lambda: short(num)) / num
    for factor in (2, 3, 4, 8):
        try:
            longer, many = _images_trial(offline, prompt, factor)
        except UserError:
            continue
        if many > few:
            slow = _seconds(offline, partial(longer, num)) / num
            evaluation = max(slow - quick, 0.0) / (many - few)
            return evaluation, max(quick - few * evaluation, 0.0)
    return quick / few, 0.0  # every picture costs the same


def _images_trial(
    offline: "Offline", prompt: Prompt, factor: int = 1
) -> tuple[Callable[[int], None], int]:
    """Return a function that draws some rows with few steps, and the evaluations of one row.

    Raises:
        UserError: No noise rate fits.
    """
    import torch

    from sip.images.batches import read_batch

    generator, module = offline.generator, offline.module()
    quick = _quick(offline, prompt, factor)
    size = generator.size if generator.reads_source else None
    source = read_batch([quick], size)

    def trial(num: int) -> None:
        rows = [replace(quick, seed=row) for row in range(num)]
        with torch.inference_mode():
            module.predict_step(replace(source, prompts=rows))

    return trial, generator.num_evaluations(quick)


def _quick(offline: "Offline", prompt: Prompt, factor: int) -> Prompt:
    for rate in RATES:
        changed = replace(prompt, noise_rate=rate)
        try:
            offline.generator.check([changed])
        except UserError:
            continue
        more = replace(prompt, noise_rate=min(1.0, rate * factor))
        offline.generator.check([more])
        return more
    raise UserError(f"images: no noise rate of {', '.join(map(str, RATES))} can be drawn")


def _trial(offline: "Offline", name: str, sample: Sample) -> Callable[[int], None]:
    """Return a function that captions, scores or embeds one picture some times over."""
    room = offline.implementation(name)
    room.load(offline.runtime.device)

    def trial(num: int) -> None:
        read = reader(lambda one: one, room.prepare)([sample] * num)
        assert read.pixels is not None
        if name == "captions":
            room.caption(read.good, read.pixels)
        elif name == "embeddings":
            room.embed(read.pixels)
        else:
            said = [["a picture of something", "another picture"]] * num
            room.score(read.good, said, read.pixels)

    return trial


def _per_row(
    offline: "Offline", trial: Callable[[int], None], name: str, rows: Sequence[Any]
) -> float:
    num = _fitting(trial, _num_rows(offline, name, rows))
    return _seconds(offline, lambda: trial(num)) / num


def _num_rows(offline: "Offline", name: str, rows: Sequence[Any]) -> int:
    size = offline.size_of_batch(name, rows)
    return min(size, CPU_ROWS) if offline.runtime.device == "cpu" else size


def _fitting(trial: Callable[[int], None], num: int) -> int:
    """Run `num` rows, or as many as fit into memory; return their number.

    Raises:
        RuntimeError: Not even one row fits.
    """
    while True:
        try:
            trial(num)
            return num
        except RuntimeError as error:
            if num == 1 or not is_out_of_memory(error):
                raise
            num //= 2


def _seconds(offline: "Offline", work: Callable[[], None]) -> float:
    import torch

    started = time.perf_counter()
    work()
    if offline.runtime.device.startswith("cuda"):
        torch.cuda.synchronize(offline.runtime.device)
    return time.perf_counter() - started


def _readable(rows: Iterable[Row], path: Callable[[Row], str]) -> Row:
    """Return the first row whose picture can be read.

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
    raise UserError(f"dataset: expected readable pictures, none of the {num} can be read")
