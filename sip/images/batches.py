"""The drawing list as batches: rows that run the same U-Net steps, with their source pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor
from torch.utils.data import Dataset

from sip.common.images import read_rgb, to_tensor
from sip.prompts.base import Prompt


@dataclass(frozen=True)
class Batch:
    """Rows that are drawn together.

    Attributes:
        prompts: The rows; their guidance scales, texts and seeds differ freely.
        first_step: Index of the first scheduler step that they run.
        guided: Whether they run the unconditional half.
        sources: Content hash -> (3, H, W), float32, in [0, 1]; empty if no source is read.
        unreadable: Content hash -> reason.
    """

    prompts: list[Prompt]
    first_step: int
    guided: bool
    sources: dict[str, Tensor] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


def is_guided(prompt: Prompt) -> bool:
    """Return whether classifier-free guidance changes this picture, as diffusers decides it."""
    return prompt.guidance_scale > 1


def batches(
    prompts: Sequence[Prompt], batch_size: int, first_step: Callable[[Prompt], int]
) -> list[Batch]:
    """Group the rows by first step and guidance, and cut each group into batches.

    Only the last batch of a group is short. Rows keep their order, so that the variants of one
    original, which follow each other in the drawing list, mostly share a batch.
    """
    groups: dict[tuple[int, bool], list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault((first_step(prompt), is_guided(prompt)), []).append(prompt)
    return [
        Batch(rows[start : start + batch_size], step, guided)
        for (step, guided), rows in groups.items()
        for start in range(0, len(rows), batch_size)
    ]


class BatchReader(Dataset):
    """Reads the source pictures of each batch.

    Args:
        planned: Batches without sources.
        size: In px, of the square that a source is cut to; None reads no sources.
    """

    def __init__(self, planned: Sequence[Batch], size: int | None) -> None:
        self.planned = planned
        self.size = size

    def __len__(self) -> int:
        return len(self.planned)

    def __getitem__(self, index: int) -> Batch:
        batch = self.planned[index]
        if self.size is None:
            return batch
        sources: dict[str, Tensor] = {}
        unreadable: dict[str, str] = {}
        for key, path in {row.source_sha256: row.source for row in batch.prompts}.items():
            try:
                sources[key] = to_tensor([read_rgb(path, self.size)])[0]
            except ValueError as error:  # a bad picture costs its own rows and not the run
                unreadable[key] = str(error)
        return replace(batch, sources=sources, unreadable=unreadable)
