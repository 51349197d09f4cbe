"""A list of prompts as batches: rows that run the same U-Net calls, with their source images."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from sip.core.image_io import read_rgb, to_tensor
from sip.core.shapes import Size
from sip.core.spill import KeyNumbers
from sip.images.masks.files import read_mask
from sip.prompts.base import Prompt


@dataclass(frozen=True)
class Batch:
    """Rows that are generated together.

    Attributes:
        prompts: The rows, of one group; their guidance scales, texts and seeds differ freely.
        sources: Content hash -> (3, H, W), float32, in [0, 1]; empty if no source is read.
        unreadable: Content hash -> reason.
        last_sources: Content hashes that no later batch needs.
        num_full: Rows of a full batch of the job; compiled models run short batches at this size.
        masks: Key of a mask that is a file -> (1, H, W), float32, 1 where it is white, else 0.
        conditions: Key of a condition that is a file -> (3, H, W), float32, in [0, 1].
    """

    prompts: Sequence[Prompt]
    sources: dict[str, Tensor] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    last_sources: frozenset[str] = frozenset()
    num_full: int = 0
    masks: dict[str, Tensor] = field(default_factory=dict)
    conditions: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, rows: slice) -> "Batch":
        """Return some of the rows as a batch of their own; others may need the same originals."""
        is_last = rows.stop >= len(self)
        last = self.last_sources if is_last else frozenset[str]()
        return replace(self, prompts=self.prompts[rows], last_sources=last)


class LastUse:
    """Knows when an original is needed for the last time, so that its latents can go.

    Args:
        prompts: All rows that are to be generated.
    """

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        self._rows = KeyNumbers()  # content hash -> rows that are still to come
        for prompt in prompts:
            key = prompt.source_sha256
            self._rows[key] = self._rows.get(key, 0) + 1

    def sources(self, prompts: Iterable[Prompt]) -> frozenset[str]:
        """Return the originals that no batch after these prompts needs."""
        last = set()
        for row in prompts:
            left = self._rows[row.source_sha256] = self._rows.get(row.source_sha256, 0) - 1
            if left <= 0:
                last.add(row.source_sha256)
        return frozenset(last)


def group_rows(
    prompts: Iterable[Prompt], batch_size: int, group: Callable[[Prompt], Hashable]
) -> Iterator[list[Prompt]]:
    """Yield batches of one group each, all full but the last of each group.

    A batch is closed as soon as it is full, so the variants of one original, which follow each
    other in the list, are generated close to each other although their noise rates differ.
    """
    open_batches: dict[Hashable, list[Prompt]] = {}
    for prompt in prompts:
        rows = open_batches.setdefault(key := group(prompt), [])
        rows.append(prompt)
        if len(rows) == batch_size:
            yield open_batches.pop(key)
    yield from open_batches.values()


def read_batch(
    prompts: Sequence[Prompt],
    size: int | Size | None,
    last: frozenset[str] = frozenset(),
    num_full: int = 0,
) -> Batch:
    """Return the rows with their source images.

    Args:
        prompts: The rows.
        size: What a source is scaled to, as `Generator.size_of`; None reads no sources.
        last: The batch's `last_sources`.
        num_full: The batch's `num_full`.
    """
    batch = Batch(list(prompts), last_sources=last, num_full=num_full)
    if size is None:
        return batch
    for key, path in {row.source_sha256: row.source for row in prompts}.items():
        try:
            batch.sources[key] = _pixels(path, size)
        except ValueError as error:  # a bad image costs its own rows and not the run
            batch.unreadable[key] = str(error)
    for row in prompts:
        for companion, known, read in (
            (row.mask, batch.masks, read_mask),
            (row.condition, batch.conditions, _pixels),
        ):
            if companion is None or companion.path is None or companion.key in known:
                continue
            try:
                known[companion.key] = read(companion.path, size)
            except ValueError as error:
                batch.unreadable[row.source_sha256] = str(error)
    return batch


def _pixels(path: str, size: int | Size) -> Tensor:
    """Return an image (3, H, W), float32, in [0, 1]; raises as `read_rgb`."""
    return to_tensor([read_rgb(path, size)])[0]
