"""The drawing engine: diffusion over a drawing list, in batches of unlike rows.

Equal, row by row, to diffusers' own pipelines called for one picture at a time (tests hold it to
1e-4), at the cost of full batches: guidance scales are a tensor, rows that run the same steps
share a batch, texts are embedded and originals encoded once. Ours: noise, latents and the guidance
formula are float32 whatever the models' dtype, so a picture's noise is the same in every dtype; and
the guidance interval (Kynkäänniemi et al., NeurIPS 2024), outside which the unconditional half of
the work is left out.

Shapes: B pictures; latents (B, C, h, w); text embeddings (B, F); guidance scales (B, 1, 1, 1).
"""

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sip.device.settings import Runtime
from sip.images.acceleration import accelerate, attention
from sip.images.base import Drawn
from sip.images.batches import Batch
from sip.images.families import Family
from sip.images.families.base import Conditioning
from sip.images.loading import load_pipeline
from sip.images.safety import ERRORS, SafetyChecker, judge
from sip.images.samplers import Sampler, steps_of
from sip.images.schedulers import Schedule
from sip.images.settings import Settings
from sip.images.texts import Texts
from sip.prompts.base import Prompt


class Engine(Settings):
    """What img2img and txt2img share: all but where the latents come from."""

    reads_source: bool
    num_draws: int  # noises of a picture before its first step

    @abstractmethod
    def start(self, batch: Batch, noise: Tensor, schedule: Schedule, first: int) -> Tensor:
        """Return the latents (B, C, h, w), float32, that enter the first step.

        Args:
            batch: The rows.
            noise: (num_draws, B, C, h, w), float32, standard normal.
            schedule: All steps.
            first: The first of them that is run.
        """

    def load(self, runtime: Runtime) -> None:
        """Load the weights, once, and get ready for these device settings.

        Raises:
            UserError: As `require`.
        """
        if self.family is None:
            self._load_models()
        if runtime == self.runtime:
            return
        if self.runtime is not None:
            self.clear()
        self.to(runtime.device)
        accelerate(self.models, runtime)
        self.runtime = runtime

    @property
    def models(self) -> Family:
        """The loaded models."""
        if self.family is None:
            raise RuntimeError("the engine is not loaded; call load first")
        return self.family

    def clear(self) -> None:
        """Forget the embeddings that are kept; they lie on the device."""
        if self.family is not None:
            self.texts.clear()

    def _load_models(self) -> None:
        self.require()
        pipeline = load_pipeline(
            self.layout,
            self.family_class,
            getattr(torch, self.weights_dtype),
            self.variant,
            self.lora,
            self.safety_checker,
        )
        if self.vae_tiling:
            pipeline.vae.enable_tiling()
        self.family = self.family_class(pipeline, self.size)
        if self.safety_checker:
            self.checker = SafetyChecker(pipeline.safety_checker, pipeline.feature_extractor)
        self.texts = Texts(self.family, self.weighting)
        self.requires_grad_(False)
        self.eval()

    def predict_step(self, batch: Batch) -> list[Drawn]:
        """Draw one batch, rows of one group; Lightning's hook."""
        begin = time.perf_counter()
        rows = [row for row in batch.prompts if row.source_sha256 not in batch.unreadable]
        pixels: list[Tensor] = []
        reasons: Sequence[str | None] = []
        if rows:
            painted = self.paint(replace(batch, prompts=rows))
            reasons = judge(painted, self.checker)
            pixels = list(_on_host(self.finish(rows, batch.sources, painted)))
        self.drop(batch)
        seconds = (time.perf_counter() - begin) / max(len(rows), 1)
        drawn = {
            row.image_id: self._drawn(row, picture, reason, seconds)
            for row, picture, reason in zip(rows, pixels, reasons, strict=True)
        }
        return [drawn.get(row.image_id) or _unreadable(row, batch) for row in batch.prompts]

    def drop(self, batch: Batch) -> None:
        """Forget what no later batch needs."""

    def finish(
        self, rows: Sequence[Prompt], sources: Mapping[str, Tensor], pixels: Tensor
    ) -> Tensor:
        """Return the pictures that are handed out, of drawn ones (B, 3, H, W) that were judged.

        Args:
            rows: Their prompts.
            sources: As in `Batch`.
            pixels: In [0, 1], or not finite in a row that fails.
        """
        return pixels

    def paint(self, batch: Batch) -> Tensor:
        """Return pictures (B, 3, H, W), float32, in [0, 1] or not finite."""
        assert self.runtime is not None
        rows, is_guided = batch.prompts, self.group(batch.prompts[0])[1]
        if self.runtime.compile:  # a short batch would be compiled anew: its last row fills it up
            missing = self.shapes.full(is_guided, len(rows)) - len(rows)
            batch = replace(batch, prompts=[*rows, *[rows[-1]] * missing])
        with attention(self.runtime.attention):
            pixels = self.models.decode(self.denoise(batch))
        for kind in {is_guided, False}:  # what fits with guidance fits without
            self.shapes.ran(kind, len(batch.prompts))
        return pixels[: len(rows)]

    def denoise(self, batch: Batch) -> Tensor:
        """Return the finished latents (B, C, h, w), each row with its own text and guidance."""
        rows, family = batch.prompts, self.models
        first, guided = self.first_step(rows[0]), self.guided_steps(rows[0])
        steps = steps_of(self.schedule, first)
        fresh = sum(step.noise != 0 for step in steps)
        noise = self.noise([row.seed for row in rows], self.num_draws + fresh)
        latents = self.start(batch, noise, self.schedule, first)
        # One copy to the device for all steps: none of them waits for it.
        timesteps = self.schedule.timesteps[first:].to(self.device).unbind()
        scales = torch.tensor([row.guidance_scale for row in rows], device=self.device)
        texts = self.texts.positive(rows)
        alone = family.conditioning(texts, scales)
        both: Conditioning = {}
        if any(guided):
            doubled = torch.cat([self.texts.negative(rows), texts])
            both = family.conditioning(doubled, scales.repeat(2))
        scales = scales.view(-1, 1, 1, 1)
        sampler = Sampler(steps, iter(noise[self.num_draws :]))
        dtype = family.denoiser.dtype
        for timestep, is_guided in zip(timesteps, guided, strict=True):
            inputs = latents.to(dtype)
            if is_guided:
                twice = family.predict(torch.cat([inputs, inputs]), timestep, both).float()
                without, with_text = twice.chunk(2)
                prediction = torch.lerp(without, with_text, scales)
            else:
                prediction = family.predict(inputs, timestep, alone).float()
            latents = sampler.step(latents, prediction)
        return latents

    def noise(self, seeds: Sequence[int], num: int) -> Tensor:
        """Return standard normal noise (num, B, C, h, w), float32, each row from its own seed."""
        shape = (num, len(seeds), *self.models.latent_shape)
        noise = torch.empty(shape, pin_memory=self.device.type == "cuda")
        for row, seed in enumerate(seeds):
            generator = torch.Generator("cpu").manual_seed(seed)
            for draw in noise[:, row]:
                torch.randn(shape[2:], generator=generator, out=draw)
        return noise.to(self.device, non_blocking=True)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Leave the batch where it is; `start` moves the sources that it needs."""
        return batch

    def _drawn(self, row: Prompt, pixels: Tensor, reason: str | None, seconds: float) -> Drawn:
        evaluations = self.num_evaluations(row)
        if reason is None:
            return Drawn(row.image_id, pixels, evaluations, seconds)
        error = ERRORS[reason]
        return Drawn(row.image_id, None, evaluations, seconds, "failed", reason, error)


def _on_host(pixels: Tensor) -> Tensor:
    if pixels.device.type != "cuda":
        return pixels.cpu()
    host = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)  # as fast as the bus
    host.copy_(pixels, non_blocking=True)
    torch.cuda.current_stream(pixels.device).synchronize()
    return host


def _unreadable(row: Prompt, batch: Batch) -> Drawn:
    error = batch.unreadable[row.source_sha256]
    return Drawn(row.image_id, None, 0, 0.0, "failed", "unreadable", error)
