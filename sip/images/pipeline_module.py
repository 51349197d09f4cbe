"""A loaded pipeline of diffusers as a LightningModule."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from sip.core.errors import UserError, ValueRefusedError
from sip.core.shapes import Size
from sip.core.text import reason_of
from sip.device.precision import set_precision
from sip.device.settings import Runtime
from sip.images.acceleration import attention, compile_denoiser
from sip.images.base import ImageResult
from sip.images.batches import Batch
from sip.images.loading import load_stock
from sip.images.module import ImageModule, unreadable
from sip.images.pipelines import StockPipeline, takes
from sip.images.quiet import quiet
from sip.images.safety import ERRORS, judge
from sip.prompts.base import Prompt

DENOISERS = ("transformer", "unet", "prior")


class StockModule(ImageModule):
    """Calls a pipeline for batches of rows, or row by row if it takes one original a call.

    Args:
        settings: What is generated and how.
        runtime: Device settings.

    Raises:
        UserError: The weights are not on this disk, or do not fit the settings.
    """

    settings: StockPipeline

    def __init__(self, settings: StockPipeline, runtime: Runtime) -> None:
        super().__init__(settings, runtime)
        settings.require()
        kind = settings.pipeline_class(settings.folder)
        self.pipeline = load_stock(kind, settings.folder, settings.dtype, settings.variant)
        self.pipeline.set_progress_bar_config(disable=True)
        self._require_size()
        parts = self.pipeline.components.items()
        self.models = nn.ModuleDict({name: part for name, part in parts if _is_model(part)})
        self.batches = takes(kind, "strength")
        self.place()
        self.denoiser = next(self.models[name] for name in DENOISERS if name in self.models)
        set_precision(runtime)
        vae: Any = getattr(self.pipeline, "vae", None)  # Kandinsky: movq
        if runtime.vae_slicing and hasattr(vae, "enable_slicing"):
            vae.enable_slicing()
        if runtime.compile:
            compile_denoiser(self.denoiser, runtime)

    def _require_size(self) -> None:
        """Refuse a square that the pipeline would make smaller without a word."""
        settings, processor = self.settings, getattr(self.pipeline, "image_processor", None)
        unit = 1 if processor is None else processor.config.vae_scale_factor
        if settings.size % unit and not settings.keeps_aspect:
            rule = f"a multiple of {unit} px for {type(self.pipeline).__name__}"
            raise ValueRefusedError("images.size", rule, settings.size)

    def rows(self, batch: Batch) -> list[ImageResult]:
        """Generate one batch that fits into memory, rows of one group."""
        images: dict[str, ImageResult] = {}
        readable = [row for row in batch.prompts if row.source_sha256 not in batch.unreadable]
        calls = [readable] if self.batches else [[row] for row in readable]
        for rows in filter(None, calls):
            images |= {image.image_id: image for image in self._call(rows, batch)}
        return [images.get(row.image_id) or unreadable(row, batch) for row in batch.prompts]

    def _call(self, rows: Sequence[Prompt], batch: Batch) -> Iterator[ImageResult]:
        """Yield the images of rows of one call."""
        begin = time.perf_counter()
        with self._counted() as counts:
            pixels = self._generate(rows, batch)
        evaluations = sum(counts) // len(rows)
        seconds = (time.perf_counter() - begin) / len(rows)
        for row, image, reason in zip(rows, pixels, judge(pixels, None), strict=True):
            size = self.settings.stored_size(row.source_size)
            made = ImageResult(row.image_id, image, evaluations, seconds, size=size)
            if reason is not None:
                error = ERRORS[reason]
                made = replace(made, pixels=None, status="failed", reason=reason, error=error)
            yield made

    def _generate(self, rows: Sequence[Prompt], batch: Batch) -> Tensor:
        """Return images (B, 3, H, W), float32, on the CPU, in [0, 1] or not finite."""
        width, height = size = Size.of(self.settings.size_of(rows[0]))
        # Kontext else generates at one megapixel, and resizes the original to it.
        optional = {"height": height, "width": width, "max_area": size.area, "_auto_resize": False}
        sources = [to_pil_image(batch.sources[row.source_sha256].cpu()) for row in rows]
        with quiet(), attention(self.runtime.attention), self._plain_errors():
            images: Tensor = self.pipeline(
                image=sources if self.batches else sources[0],
                generator=[torch.Generator("cpu").manual_seed(row.seed) for row in rows],
                num_inference_steps=self.settings.num_steps,
                output_type="pt",
                **{k: v for k, v in optional.items() if takes(type(self.pipeline), k)},
                **self.settings.arguments(rows),
            ).images
        return images.float().cpu()

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # as the pipelines check what they are called with
            name = type(self.pipeline).__name__
            reason = reason_of(error)
            raise UserError(f"images: {name}: {reason}; change images.size or the model") from error

    @contextmanager
    def _counted(self) -> Iterator[list[int]]:
        """Yield a list to which each forward pass of the denoiser adds its rows."""
        counts: list[int] = []

        def count(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            counts.append(len(given[0] if given else named["hidden_states"]))

        handle = self.denoiser.register_forward_pre_hook(count, with_kwargs=True)
        try:
            yield counts
        finally:
            handle.remove()


def _is_model(part: Any) -> bool:
    return isinstance(part, nn.Module)
