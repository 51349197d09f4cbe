"""The loop around a generator: sources are read ahead of it, images stored behind it.

The device waits only for itself: files are read and decoded in background threads, generated images
are encoded and stored in others, and the queues between them are bounded.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.threads import Behind, prefetch
from sip.device.batch_size import is_out_of_memory
from sip.images.base import GeneratedImage, Generator, LoadedGenerator, Sink
from sip.images.batches import Batch, read_batch
from sip.prompts.base import Prompt

AHEAD = 2  # batches that are read and wait
BEHIND = 2  # batches that are generated and wait to be stored


def generate(
    generator: Generator,
    module: LoadedGenerator,
    batches: Iterator[list[Prompt]],
    sink: Sink,
    last_use: "LastUse | None" = None,
) -> None:
    """Generate one batch after the other; `sink` gets the rows, from another thread, in order.

    Ends after the current batch if a stop was requested.

    Args:
        generator: What generates.
        module: The same, loaded.
        batches: Rows of one group each; pulled in another thread.
        sink: Takes the rows of a batch.
        last_use: Of all the rows, so that what no row needs any more is dropped.

    Raises:
        UserError: A single image does not fit into the device's memory.
        Exception: What reading, generating or `sink` raises.
    """
    size = generator.size if generator.reads_source else None
    fit = Fit(module)

    def read(rows: list[Prompt]) -> Batch:
        return read_batch(rows, size)

    with (
        torch.inference_mode(),
        prefetch(batches, read, module.runtime.num_workers, AHEAD) as ready,
        Behind(sink, BEHIND) as behind,
    ):
        for _, batch in ready:
            marked = last_use.mark(batch) if last_use else batch
            for images in fit.generate(marked):
                behind.put(images)


class LastUse:
    """Knows when an original is needed for the last time, so that its latents can go.

    Args:
        prompts: All rows that are to be generated.
    """

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        seen: set[str] = set()
        # Of those with several rows: how many are still to come. Usually none.
        self._rows: Counter[str] = Counter()
        for prompt in prompts:
            if prompt.source_sha256 in seen:
                self._rows[prompt.source_sha256] += 1
            seen.add(prompt.source_sha256)

    def mark(self, batch: Batch) -> Batch:
        """Return the batch with its `last_sources`."""
        last = set()
        for row in batch.prompts:
            if self._rows[row.source_sha256] > 0:
                self._rows[row.source_sha256] -= 1
            else:
                del self._rows[row.source_sha256]
                last.add(row.source_sha256)
        return replace(batch, last_sources=frozenset(last))


class Fit:
    """Generates batches in pieces that fit into the device's memory; it learns their size."""

    def __init__(self, module: LoadedGenerator) -> None:
        self.module = module
        self.limit: int | None = None  # rows; None until a batch did not fit

    def generate(self, batch: Batch) -> Iterator[list[GeneratedImage]]:
        """Yield the rows of the batch, at once or piece by piece.

        Raises:
            UserError: A single row does not fit.
        """
        rows = batch.prompts
        while rows:
            piece = replace(batch, prompts=rows[: self.limit])
            if len(piece.prompts) < len(rows):  # other rows of this batch may need its originals
                piece = replace(piece, last_sources=frozenset())
            images = self._try(piece)
            if images is not None:
                yield images
                rows = rows[len(piece.prompts) :]

    def _try(self, piece: Batch) -> list[GeneratedImage] | None:
        """Generate a piece; None if it does not fit, and then the limit is half of it."""
        try:
            return self.module.predict_step(piece)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not is_out_of_memory(error):
                raise
            num = len(piece.prompts)
            if num == 1:
                raise UserError(
                    "images: a single image does not fit into the device's memory; use a "
                    "smaller images.size, images.dtype=bfloat16 or images.vae_tiling=true"
                ) from None
        self.limit = num // 2
        say("images", f"{num} images at once do not fit into memory, going on with {num // 2}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
