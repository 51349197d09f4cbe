"""The diffusion engine: a list of prompts in, images out, in batches of unlike rows.

Equal, row by row, to diffusers' own pipelines called for one image at a time (tests hold it to
1e-4), at the cost of full batches: guidance scales are a tensor, rows that run the same steps
share a batch, texts are embedded and originals encoded once. Ours: noise, latents and the guidance
formula are float32 whatever the models' dtype, so an image's noise is the same in every dtype; and
the guidance interval (Kynkäänniemi et al., NeurIPS 2024), outside which the unconditional half of
the work is left out.

Shapes: B images; latents (B, C, h, w); text embeddings (B, F); guidance scales (B, 1, 1, 1).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from sip.core.shapes import Size
from sip.device.settings import Runtime
from sip.images.acceleration import accelerate, attention
from sip.images.base import ImageResult
from sip.images.batches import Batch
from sip.images.families.base import Conditioning
from sip.images.loading import load_pipeline
from sip.images.module import ImageModule, unreadable
from sip.images.recent import Recent
from sip.images.safety import ERRORS, SafetyChecker, judge
from sip.images.samplers import Sampler
from sip.images.settings import DiffusionSettings
from sip.images.texts import TextEmbeddings
from sip.prompts.base import Prompt

Source = tuple[str, int | Size]  # content hash of an original, and what it is scaled to
NUM_POSTERIORS = 512  # at Stable Diffusion v1.5's size one takes 0.13 MB, at SDXL's 0.5 MB


class Around:
    """What is done to the latents of a batch around a step; here nothing."""

    def inputs(self, latents: Tensor) -> Tensor:
        """Return the denoiser's inputs (B, C', h, w), float32, for those of the sampler."""
        return latents

    def conditioning(self, inputs: Tensor, timestep: Tensor, texts: Conditioning) -> Conditioning:
        """Return what the denoiser is called with next to its inputs and the timestep.

        Args:
            inputs: (B, C', h, w), or twice as many rows with an unconditional half.
            timestep: (), on the device.
            texts: Texts and guidance scales of these rows.
        """
        return texts

    def stepped(self, latents: Tensor) -> Tensor:
        """Return the latents (B, C, h, w), float32, that a step has led to."""
        return latents


class Engine(ImageModule):
    """The loaded models with the device settings, and what is kept between batches.

    Args:
        settings: What is generated and how.
        runtime: Device settings.

    Raises:
        UserError: The weights are not on this disk, or do not fit the settings.
    """

    settings: DiffusionSettings

    def __init__(self, settings: DiffusionSettings, runtime: Runtime) -> None:
        super().__init__(settings, runtime)
        settings.require()
        pipeline = load_pipeline(settings)
        self.models = settings.family(pipeline)
        self.checker: SafetyChecker | None = None
        if settings.safety_checker:
            self.checker = SafetyChecker(pipeline.safety_checker, pipeline.feature_extractor)
        self.texts = TextEmbeddings(self.models, settings.weighting, settings.names)
        # The originals' latent distributions, (2 C, h, w): mean, log variance; (C, h, w): latents,
        # of an autoencoder without distributions.
        self._recent: list[Recent[Any]] = []
        self.posteriors: Recent[Source] = self.recent(NUM_POSTERIORS)
        self.place()
        accelerate(self.models, runtime)

    def clear(self) -> None:
        """Free the memory of what is kept between batches; the weights go with the engine."""
        self.texts.clear()
        for recent in self._recent:
            recent.clear()

    def recent(self, capacity: int) -> Recent[Any]:
        """Return a new cache of tensors, which `clear` empties."""
        self._recent.append(Recent(capacity))
        return self._recent[-1]

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Return the batch with those sources on the device that are not encoded yet."""
        size = self.settings.size_of(batch.prompts[0])
        sources = {
            key: pixels if (key, size) in self.posteriors else pixels.to(device)
            for key, pixels in batch.sources.items()
        }
        return replace(batch, sources=sources)

    def predict_step(self, batch: Batch) -> list[ImageResult]:
        """Return an image for each row.

        Compiled models get a short batch filled up to the full size, so as not to compile again.
        """
        rows = [row for row in batch.prompts if row.source_sha256 not in batch.unreadable]
        images: dict[str, ImageResult] = {}
        if rows:
            full = min(batch.num_full, self.halving.limit or batch.num_full) or 1
            more = [rows[-1]] * (-len(rows) % full if self.runtime.compile else 0)
            generated = super().predict_step(replace(batch, prompts=[*rows, *more]))
            images = {image.image_id: image for image in generated}
        return [images.get(row.image_id) or unreadable(row, batch) for row in batch.prompts]

    def rows(self, batch: Batch) -> list[ImageResult]:
        """Generate one batch that fits into memory, rows of one group."""
        begin = time.perf_counter()
        rows = batch.prompts
        generated = self.generate(batch)
        reasons = judge(generated, self.checker)
        pixels = _on_host(self.settings.finish(rows, batch.sources, generated))
        size = self.settings.size_of(rows[0])
        self.posteriors.drop([(key, size) for key in batch.last_sources])
        seconds = (time.perf_counter() - begin) / len(rows)
        return [
            self._image(row, image, reason, seconds)
            for row, image, reason in zip(rows, pixels, reasons, strict=True)
        ]

    def generate(self, batch: Batch) -> Tensor:
        """Return images (B, 3, H, W), float32, in [0, 1] or not finite."""
        with attention(self.runtime.attention):
            pixels: Tensor = self.models.decode(self.denoise(batch))
        return pixels

    def denoise(self, batch: Batch) -> Tensor:
        """Return the finished latents (B, C, h, w), each row with its own text and guidance."""
        rows, settings = batch.prompts, self.settings
        first, guided = settings.first_step(rows[0]), settings.guided_steps(rows[0])
        schedule, size = settings.schedule(settings.size_of(rows[0])), self.size(batch)
        generators = [torch.Generator("cpu").manual_seed(row.seed) for row in rows]
        num = settings.noises_before(first)
        noise = self.noise(generators, num + schedule.num_noises(first), size)
        sampler = Sampler(schedule, first, noise[num:])
        latents = settings.start(partial(self.sample_originals, batch), noise[:num], sampler)
        # One copy to the device for all steps: none of them waits for it.
        timesteps = sampler.timesteps.to(self.device).unbind()
        around = self.around(batch, noise[:num], sampler)
        predict = self._predictor(rows, any(guided), size, around)
        for timestep, is_guided in zip(timesteps, guided, strict=True):
            prediction = predict(around.inputs(sampler.inputs(latents)), timestep, is_guided)
            latents = around.stepped(sampler.step(latents, prediction))
        return latents

    def size(self, batch: Batch) -> Size:
        """Return the size of all images of a batch."""
        return Size.of(self.settings.size_of(batch.prompts[0]))

    def around(self, batch: Batch, noise: Tensor, sampler: Sampler) -> "Around":
        """Return what is done before and after each step.

        Args:
            batch: The rows.
            noise: (num_noises, B, C, h, w), float32, as `DiffusionSettings.start` gets it.
            sampler: At its first step.
        """
        return Around()

    def _predictor(
        self, rows: Sequence[Prompt], is_guided: bool, size: Size, around: "Around"
    ) -> Callable[[Tensor, Tensor, bool], Tensor]:
        """Return the denoiser with the rows' texts and guidance scales.

        It takes latents (B, C, h, w), a timestep () on the device, and whether this step is guided;
        it returns predictions (B, C, h, w), float32.
        """
        family = self.models
        scales = torch.tensor([row.guidance_scale for row in rows], device=self.device)
        texts = self.texts.positive(rows)
        unguided = family.conditioning(texts, scales, size)
        both: Conditioning = {}
        if is_guided:
            doubled = torch.cat([self.texts.negative(rows), texts])
            both = family.conditioning(doubled, scales.repeat(2), size)
        weights = scales.view(-1, 1, 1, 1)

        def call(inputs: Tensor, timestep: Tensor, texts: Conditioning) -> Tensor:
            conditioning = around.conditioning(inputs, timestep, texts)
            if self.runtime.compile == "graphs":
                torch.compiler.cudagraph_mark_step_begin()
            return family.predict(inputs, timestep, conditioning).float()

        def predict(latents: Tensor, timestep: Tensor, is_guided: bool) -> Tensor:
            inputs = latents.to(family.denoiser.dtype)
            if not is_guided:
                return call(inputs, timestep, unguided)
            without, with_text = call(torch.cat([inputs, inputs]), timestep, both).chunk(2)
            return family.guide(without, with_text, weights)

        return predict

    def noise(self, generators: Sequence[torch.Generator], num: int, size: Size) -> Tensor:
        """Return standard normal noise (num, B, C, h, w), float32, each row of its generator."""
        shape = (num, len(generators), *self.models.shape_of_latents(size))
        noise = torch.empty(shape, pin_memory=self.device.type == "cuda")
        for row, generator in enumerate(generators):
            for part in noise[:, row]:
                torch.randn(shape[2:], generator=generator, out=part)
        return noise.to(self.device, non_blocking=True)

    def sample_originals(self, batch: Batch, noise: Tensor) -> Tensor:
        """Return latents of the rows' originals, at the scale that the denoiser works at.

        Args:
            batch: The rows.
            noise: (B, C, h, w), float32, standard normal; chooses from the latent distributions.
        """
        size = self.settings.size_of(batch.prompts[0])
        keys = [(row.source_sha256, size) for row in batch.prompts]
        parameters = self.posteriors.get(keys, partial(self._encode, batch))
        if not self.settings.samples_originals:
            return self.models.scaled(parameters)
        posterior = DiagonalGaussianDistribution(parameters)
        return self.models.scaled(posterior.mean + posterior.std * noise)

    def _encode(self, batch: Batch, source: Source) -> Tensor:
        """Return what `posteriors` keeps of an original, encoded by itself."""
        return self.models.encode(batch.sources[source[0]][None].to(self.device))[0]

    def _image(
        self, row: Prompt, pixels: Tensor, reason: str | None, seconds: float
    ) -> ImageResult:
        evaluations = self.settings.num_evaluations(row)
        if reason is None:
            size = self.settings.stored_size(row.source_size)
            return ImageResult(row.image_id, pixels, evaluations, seconds, size=size)
        error = ERRORS[reason]
        return ImageResult(row.image_id, None, evaluations, seconds, "failed", reason, error)


def _on_host(pixels: Tensor) -> Tensor:
    if pixels.device.type != "cuda":
        return pixels.cpu()
    host = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)  # as fast as the bus
    host.copy_(pixels, non_blocking=True)
    torch.cuda.current_stream(pixels.device).synchronize()
    return host
