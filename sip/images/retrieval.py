"""A pool of real images as the module of a generator."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from sip.core.image_io import read_rgb, to_tensor
from sip.core.shapes import Size
from sip.dataset.base import Sample
from sip.device.settings import Runtime
from sip.images.base import Generator, ImageResult
from sip.images.batches import Batch
from sip.images.module import ImageModule
from sip.prompts.base import Prompt

AT_ONCE = 64  # images that are embedded together


class RetrievalPool(Protocol):
    """What can be retrieved."""

    @property
    def part(self) -> str:
        """Name of the data set's part."""

    @property
    def candidates(self) -> dict[int, list[Sample]]:
        """Label -> its images, in random order."""

    def in_order(self, prompt: Prompt) -> list[Sample]:
        """Return the candidates of a prompt in the random order, its own first one first."""


class RetrievalModule(ImageModule):
    """Returns an image of the pool for each prompt.

    Args:
        settings: The component that loaded this module.
        pool: The same, as far as it knows the pool.
        runtime: Device settings.
        scorer: Loaded, if the nearest images are asked for.
    """

    def __init__(
        self, settings: Generator, pool: RetrievalPool, runtime: Runtime, scorer: Any
    ) -> None:
        super().__init__(settings, runtime)
        self.pool, self.scorer = pool, scorer
        # Label -> the candidates that can be read, and their unit vectors (candidates, D).
        self._known: dict[int, tuple[list[Sample], Tensor]] = {}

    def rows(self, batch: Batch) -> list[ImageResult]:
        """Return the retrieved images, in the order of the prompts."""
        return [self._row(prompt) for prompt in batch.prompts]

    def _row(self, prompt: Prompt) -> ImageResult:
        begin = time.perf_counter()
        try:
            sample = self.nearest(prompt) if self.scorer else self.first(prompt)
            size = self.settings.stored_size(Size(sample.width, sample.height))
            pixels = to_tensor([read_rgb(sample.path, size or self.settings.size)])[0]
        except ValueError as error:
            seconds = time.perf_counter() - begin
            return ImageResult(
                prompt.image_id, None, 0, seconds, "failed", "unreadable", str(error)
            )
        return ImageResult(prompt.image_id, pixels, 0, time.perf_counter() - begin)

    def first(self, prompt: Prompt) -> Sample:
        """Return the image that the random order gives a prompt.

        Raises:
            ValueError: The pool has none of its class.
        """
        candidates = self.pool.in_order(prompt)
        if not candidates:
            raise ValueError(f"no image of class {prompt.class_name} in {self.pool.part}")
        return candidates[0]

    def nearest(self, prompt: Prompt) -> Sample:
        """Return the image that is as near to the original as its variant says; 0 is the nearest.

        Raises:
            ValueError: The pool has too few of its class, or the original cannot be read.
        """
        if prompt.label not in self._known:
            self._known[prompt.label] = self._embedded(self.pool.candidates.get(prompt.label, []))
        candidates, vectors = self._known[prompt.label]
        others = [n for n, s in enumerate(candidates) if s.sample_id != prompt.sample_id]
        if prompt.variant >= len(others):
            raise ValueError(f"{len(others)} images of class {prompt.class_name} in the pool")
        cosines = vectors[others] @ self._unit([read_rgb(prompt.source, None)])[0]
        order = torch.argsort(cosines, descending=True, stable=True)
        return candidates[others[int(order[prompt.variant])]]

    def _embedded(self, samples: Sequence[Sample]) -> tuple[list[Sample], Tensor]:
        """Return the samples that can be read, and their unit vectors."""
        readable: list[Sample] = []
        parts = [torch.empty(0, 0)]
        for start in range(0, len(samples), AT_ONCE):
            images = []
            for sample in samples[start : start + AT_ONCE]:
                with suppress(ValueError):  # a bad image costs only itself
                    images.append(read_rgb(sample.path, None))
                    readable.append(sample)
            if images:
                parts.append(self._unit(images))
        return readable, torch.cat(parts[1:] or parts)

    @torch.inference_mode()
    def _unit(self, images: Sequence[Image]) -> Tensor:
        """Return the unit vectors of images: (images, D), float32, on the CPU."""
        pixels = self.scorer.prepare(images).to(self.runtime.device)
        vectors: Tensor = self.scorer.unit_images(pixels).cpu()
        return vectors
