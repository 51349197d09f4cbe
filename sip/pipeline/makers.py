"""The making of images: batches of prompts in, rows for the store out."""

from collections.abc import Iterator, Mapping
from typing import Any

from sip.core.image_io import SUFFIXES, Format, encode
from sip.images.base import Generator, ImageResult, ImageRow
from sip.pipeline.models import Models
from sip.prompts.base import Prompt
from sip.store.filling import Add, Make
from sip.store.stage import StageStore


def images_maker(
    models: Models, wanted: Mapping[str, Prompt], stage: StageStore, num_full: int
) -> Make[Prompt]:
    """Return what generates images; they are encoded and stored in the background.

    Args:
        models: The loaded models, the generator among them.
        wanted: Key -> prompt.
        stage: The stage in the store.
        num_full: Rows of a full batch.
    """
    generator = models.components.generator

    def make(batches: Iterator[list[Prompt]], add: Add) -> None:
        from sip.images.batches import LastUse

        last_use = LastUse(p for key, p in wanted.items() if stage.lacks(key, retry_failed=True))
        marked = ((prompts, last_use.sources(prompts)) for prompts in batches)

        def to_dict(image: ImageResult) -> dict[str, Any]:
            return stored_row(image, wanted[image.image_id], generator.format)

        def read(marked_prompts: tuple[list[Prompt], frozenset[str]]) -> Any:
            return read_prompts(generator, *marked_prompts, num_full)

        models.predict("images", marked, read, to_dict, add)

    return make


def read_prompts(
    generator: Generator, prompts: list[Prompt], last: frozenset[str], num_full: int
) -> Any:
    """Return what the generator takes: the prompts of a batch, with their source images.

    Args:
        generator: The component.
        prompts: The batch.
        last, num_full: As those of `sip.images.batches.read_batch`.
    """
    from sip.images.batches import read_batch

    size = generator.size_of(prompts[0]) if generator.reads_source else None
    return read_batch(prompts, size, last, num_full)


def stored_row(image: ImageResult, prompt: Prompt, file_format: Format) -> dict[str, Any]:
    """Return the row of a generated image as the store takes it, with the bytes of its file."""
    payload, width, height = None, None, None
    if image.pixels is not None:
        width, height = image.size or reversed(image.pixels.shape[1:])
        payload = encode(image.pixels, file_format, image.size)
    row = ImageRow(
        key=image.image_id,
        sample_id=prompt.sample_id,
        label=prompt.label,
        width=width,
        height=height,
        unet_evaluations=image.unet_evaluations,
        seconds=round(image.seconds, 4),
        status=image.status,
        reason=image.reason,
        error=image.error,
    )
    return row.to_dict() | {"payload": payload, "suffix": SUFFIXES[file_format]}
