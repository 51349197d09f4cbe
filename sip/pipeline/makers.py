"""The work of each offline room: batches of inputs in, rows for the store out.

Each function returns what `Room.fill` takes as `make`. Pictures are read and prepared in
background threads, a few batches ahead of the model.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sip.captions.base import Captioner
from sip.core.image_io import SUFFIXES, Format, encode, file_sha256, read_rgb
from sip.core.progress import say
from sip.core.threads import prefetch
from sip.dataset.base import Sample
from sip.device.batch_size import Pieces
from sip.device.settings import Runtime
from sip.images.base import GeneratedImage, Generator, LoadedGenerator
from sip.prompts.base import Prompt
from sip.scores.base import Scorer
from sip.store.fill import Add, Filled, Make
from sip.store.room import Room

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Item = TypeVar("Item")
ToScore = tuple[str, Sample, list[str]]  # key, sample, its captions
AHEAD = 2  # batches of pictures that are read and wait


class HasPath(Protocol):
    """What lies in a picture file; a `Sample` is one."""

    @property
    def path(self) -> str:
        """Of the picture file."""


@dataclass(frozen=True, slots=True)
class ToEmbed:
    """A picture, real or drawn, by the hash of its content.

    Attributes:
        file_sha256: Of the file, of a drawn one.
    """

    sha256: str
    path: str
    file_sha256: str | None = None


@dataclass
class Stages:
    """What each stage found and made, and how long it took; also printed as it happens."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage; the caller fills in what was `found` and `made`."""
        row: dict[str, Any] = {"stage": name, "found": 0, "made": 0}
        started = time.monotonic()
        yield row
        row["seconds"] = round(time.monotonic() - started, 2)
        self.rows.append(row)
        did = f"found {row['found']}, made {row['made']}"
        if "kept" in row:
            did = f"kept {row['kept']}, rejected {row['rejected']}"
        say(name, f"{did}, {row['seconds']:.1f} s")

    def filled(self, name: str, work: Callable[[], Filled]) -> Filled:
        """Run a stage that fills rows of the store."""
        with self.stage(name) as row:
            filled = work()
            row.update(found=filled.found + filled.waited, made=filled.made)
        return filled


@dataclass(frozen=True)
class Read(Generic[Item]):
    """A batch whose pictures were read.

    Attributes:
        good: The items with a readable picture.
        pixels: What the model takes for them; None if there are none.
        errors: The other items, with the reason.
    """

    good: list[Item]
    pixels: "Tensor | None"
    errors: list[tuple[Item, str]]


Reader = Callable[[Sequence[Item]], Read[Item]]


def reader(
    sample_of: Callable[[Item], HasPath], prepare: Callable[[list["Image"]], "Tensor"]
) -> Reader[Item]:
    """Return a function that reads the pictures of a batch and prepares them for a model."""

    def read(items: Sequence[Item]) -> Read[Item]:
        good, pictures, errors = [], [], []
        for item in items:
            try:
                sample = sample_of(item)
                pictures.append(read_rgb(sample.path, None, file_sha256(sample)))
                good.append(item)
            except ValueError as error:
                errors.append((item, str(error)))
        return Read(good, prepare(pictures) if good else None, errors)

    return read


def captions_maker(captioner: Captioner, runtime: Runtime) -> Make[Sample]:
    """Return what makes rows of captions; a picture that cannot be read fails alone."""

    def make(batches: Iterator[list[Sample]], add: Add) -> None:
        captioner.load(runtime.device)
        pieces = Pieces("captions", "captions.dtype=bfloat16 or another model")
        read: Reader[Sample] = reader(lambda one: one, captioner.prepare)
        with prefetch(batches, read, runtime.num_workers, AHEAD) as ready:
            for _, batch in ready:
                for sample, error in batch.errors:
                    add(_caption_row(captioner.key(sample), sample, [], error))
                if batch.pixels is not None:
                    captions = pieces(partial(_captions, captioner, batch), len(batch.good))
                    for sample, said in zip(batch.good, captions, strict=True):
                        add(_caption_row(captioner.key(sample), sample, said, None))

    return make


def scores_maker(scorer: Scorer, runtime: Runtime) -> Make[ToScore]:
    """Return what makes rows of scores; a picture that cannot be read fails alone."""

    def sample_of(item: ToScore) -> Sample:
        return item[1]

    def make(batches: Iterator[list[ToScore]], add: Add) -> None:
        scorer.load(runtime.device)
        pieces = Pieces("scores", "scores.dtype=bfloat16 or another model")
        read = reader(sample_of, scorer.prepare)
        with prefetch(batches, read, runtime.num_workers, AHEAD) as ready:
            for _, batch in ready:
                for item, error in batch.errors:
                    add(_score_row(item, [], error))
                if batch.pixels is not None:
                    cosines = pieces(partial(_cosines, scorer, batch), len(batch.good))
                    for item, found in zip(batch.good, cosines, strict=True):
                        add(_score_row(item, found, None))

    return make


def embeddings_maker(scorer: Scorer, runtime: Runtime) -> Make[ToEmbed]:
    """Return what makes rows of unit vectors; a picture that cannot be read fails alone."""

    def make(batches: Iterator[list[ToEmbed]], add: Add) -> None:
        scorer.load(runtime.device)
        pieces = Pieces("embeddings", "scores.dtype=bfloat16 or another model")
        read: Reader[ToEmbed] = reader(lambda one: one, scorer.prepare)
        with prefetch(batches, read, runtime.num_workers, AHEAD) as ready:
            for _, batch in ready:
                for item, error in batch.errors:
                    add(_embedding_row(item, None, error))
                if batch.pixels is not None:
                    vectors = pieces(partial(_vectors, scorer, batch), len(batch.good))
                    for item, vector in zip(batch.good, vectors, strict=True):
                        add(_embedding_row(item, vector, None))

    return make


def _captions(captioner: Captioner, batch: Read[Sample], rows: slice) -> list[list[str]]:
    assert batch.pixels is not None
    return captioner.caption(batch.good[rows], batch.pixels[rows])


def _cosines(scorer: Scorer, batch: Read[ToScore], rows: slice) -> list[list[float]]:
    assert batch.pixels is not None
    samples, captions = [i[1] for i in batch.good[rows]], [i[2] for i in batch.good[rows]]
    return scorer.score(samples, captions, batch.pixels[rows])


def _vectors(scorer: Scorer, batch: Read[ToEmbed], rows: slice) -> "Tensor":
    assert batch.pixels is not None
    return scorer.embed(batch.pixels[rows])


def images_maker(
    generator: Generator,
    load: Callable[[], LoadedGenerator],
    wanted: Mapping[str, Prompt],
    room: Room,
) -> Make[Prompt]:
    """Return what generates images; they are encoded and stored in the background.

    Args:
        generator: What generates.
        load: Returns it loaded; called when there is something to generate.
        wanted: Key -> prompt.
        room: Of the store.
    """

    def make(batches: Iterator[list[Prompt]], add: Add) -> None:
        from sip.images.drawing import LastUse, generate

        module = load()
        missing = (prompt for key, prompt in wanted.items() if room.index.get(key, -1) < 0)
        last_use = LastUse(missing)
        with ThreadPoolExecutor(module.runtime.num_workers, "encode") as pool:

            def row(one: GeneratedImage) -> dict[str, Any]:
                return image_row(one, wanted[one.image_id], generator.format)

            def sink(images: list[GeneratedImage]) -> None:
                for finished in pool.map(row, images):
                    add(finished)

            generate(generator, module, batches, sink, last_use)

    return make


def image_row(image: GeneratedImage, prompt: Prompt, file_format: Format) -> dict[str, Any]:
    """Return the store's row of a generated image."""
    row: dict[str, Any] = {
        "key": image.image_id,
        "sample_id": prompt.sample_id,
        "label": prompt.label,
        "width": None,
        "height": None,
        "unet_evaluations": image.unet_evaluations,
        "seconds": round(image.seconds, 4),
        "status": image.status,
        "reason": image.reason,
        "error": image.error,
        "payload": None,
        "suffix": SUFFIXES[file_format],
    }
    if image.pixels is not None:
        height, width = image.pixels.shape[1:]
        row.update(width=width, height=height, payload=encode(image.pixels, file_format))
    return row


def _caption_row(
    key: str, sample: Sample, captions: list[str], error: str | None
) -> dict[str, Any]:
    return {
        "key": key,
        "sample_id": sample.sample_id,
        "captions": captions,
        "status": "failed" if error else "ok",
        "error": error,
    }


def _score_row(item: ToScore, cosines: list[float], error: str | None) -> dict[str, Any]:
    key, sample, captions = item
    return {
        "key": key,
        "sample_id": sample.sample_id,
        "captions": captions,
        "similarities": cosines,
        "status": "failed" if error else "ok",
        "error": error,
    }


def _embedding_row(item: ToEmbed, vector: "Tensor | None", error: str | None) -> dict[str, Any]:
    return {
        "key": item.sha256,
        "embedding": None if vector is None else vector.numpy(),
        "status": "failed" if error else "ok",
        "error": error,
    }
