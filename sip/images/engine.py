"""The drawing engine: Stable Diffusion over a drawing list, in batches of unlike rows.

Equal, row by row, to diffusers' own pipelines called for one picture at a time (tests hold it to
1e-4), at the cost of full batches: guidance scales are a tensor, rows are grouped by the steps
that they run, texts are embedded and originals encoded once. Ours: noise, latents and the guidance
formula are float32 whatever the models' dtype, so a picture's noise is the same in every dtype.

Shapes: B pictures; latents (B, 4, h, w); text embeddings (B, L, D); guidance scales (B, 1, 1, 1).
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from pytorch_lightning import LightningModule
from torch import Tensor

from sip.common.errors import UserError
from sip.common.weights import require, weights_folder, weights_recipe
from sip.images.base import Drawn, Sink
from sip.images.batches import Batch, BatchReader, batches, is_guided
from sip.images.recent import Recent
from sip.images.schedulers import scheduler_class
from sip.images.trainer import predict, quiet, trainer_device
from sip.prompts.base import Prompt, Span
from sip.prompts.weighting.base import Weighting
from sip.prompts.weighting.tokens import tokenize

log = logging.getLogger(__name__)

# At Stable Diffusion v1.5's size a text embedding takes 0.24 MB and a latent posterior 0.13 MB.
NUM_RECENT = 512
DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}


class Engine(LightningModule, ABC):
    """What img2img and txt2img share: all but where the latents come from.

    Args:
        model: Folder or hub name of a StableDiffusionPipeline, safetensors.
        revision: Of the hub model; None for folders.
        dtype: "float32", "bfloat16" or "float16", of U-Net, VAE and text encoder.
        scheduler: Name in `sip.images.schedulers`.
        num_steps: Of the full schedule.
        size: Height and width of the pictures, in px.
        weighting: Turns weighted spans into text embeddings.
        per_sample: Pictures drawn from each original.
    """

    reads_source: bool

    def __init__(
        self,
        model: str,
        revision: str | None,
        dtype: str,
        scheduler: str,
        num_steps: int,
        size: int,
        weighting: Weighting,
        per_sample: int,
    ) -> None:
        super().__init__()
        if dtype not in DTYPES:
            raise UserError(f"images.dtype: expected one of {', '.join(DTYPES)}, came {dtype!r}")
        for name, value in (("num_steps", num_steps), ("size", size), ("per_sample", per_sample)):
            if value < 1:
                raise UserError(f"images.{name}: expected a number >= 1, came {value!r}")
        self.model = model
        self.revision = revision
        self.weights_dtype = dtype  # `dtype` is Lightning's
        self.scheduler_name = scheduler
        self.scheduler_class = scheduler_class(scheduler)
        self.num_steps = num_steps
        self.size = size
        self.weighting = weighting
        self.per_sample = per_sample
        self.trainer_kwargs: dict[str, Any] = {}
        self.embeddings: Recent[tuple[Span, ...]] = Recent(NUM_RECENT)
        self.loaded_on: torch.device | None = None

    def recipe(self) -> dict:
        """Return everything but the prompt that decides the pixels."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "version": 1,
            "weights": weights_recipe(self.model, self.revision),
            "dtype": self.weights_dtype,
            "scheduler": self.scheduler_name,
            "num_steps": self.num_steps,
            "size": self.size,
            "weighting": self.weighting.recipe(),
        }

    @abstractmethod
    def first_step(self, prompt: Prompt) -> int:
        """Return the index of the first scheduler step that this picture runs."""

    @abstractmethod
    def start(self, batch: Batch, generators: list[torch.Generator], timestep: Tensor) -> Tensor:
        """Return the latents (B, 4, h, w), float32, that enter the first step at `timestep`."""

    def num_evaluations(self, prompt: Prompt) -> int:
        """Return what this picture costs, in forward passes of the U-Net."""
        return (self.num_steps - self.first_step(prompt)) * (2 if is_guided(prompt) else 1)

    def require(self) -> None:
        """Check, without loading, that the weights are on this disk.

        Raises:
            UserError: They are not; says what is missing and how to get it.
        """
        require(self.model, self.revision)

    def load(self, device: str) -> None:
        """Load the weights, once, and say on which device `draw` runs.

        Raises:
            UserError: They are not on this disk, or `size` does not fit them.
        """
        if self.loaded_on is None:
            self._load_models()
        elif self.loaded_on != torch.device(device):
            self.clear()
        self.to(device)
        self.loaded_on = torch.device(device)

    def clear(self) -> None:
        """Forget the embeddings that are kept; they lie on the device."""
        self.embeddings.clear()

    def _load_models(self) -> None:
        with quiet():
            pipeline = StableDiffusionPipeline.from_pretrained(
                weights_folder(self.model, self.revision),
                dtype=DTYPES[self.weights_dtype],
                use_safetensors=True,
                safety_checker=None,
                requires_safety_checker=False,
                feature_extractor=None,
            )
        log.info("images: the safety checker is off, drawn pictures are not screened")
        if self.size % pipeline.vae_scale_factor:
            raise UserError(
                f"images.size: expected a multiple of {pipeline.vae_scale_factor} px for this "
                f"model, came {self.size}"
            )
        self.latent_size = self.size // pipeline.vae_scale_factor
        self.tokenizer = pipeline.tokenizer
        self.text_encoder = pipeline.text_encoder
        self.vae = pipeline.vae
        self.unet = pipeline.unet
        self.scheduler = self.scheduler_class.from_config(pipeline.scheduler.config)
        self.requires_grad_(False)
        self.eval()

    def draw(self, prompts: Sequence[Prompt], batch_size: int, sink: Sink) -> None:
        """Hand one `Drawn` a prompt to `sink`, batch by batch as they are done.

        Raises:
            UserError: A prompt cannot be drawn with these settings; before any work.
        """
        planned = batches(prompts, batch_size, self.first_step)
        if not planned:
            return
        if self.loaded_on is None:
            self.load("cpu")
        reader = BatchReader(planned, self.size if self.reads_source else None)
        predict(self, reader, sink, {**trainer_device(self.loaded_on), **self.trainer_kwargs})

    def predict_step(self, batch: Batch) -> list[Drawn]:
        """Draw one batch; Lightning's hook."""
        begin = time.perf_counter()
        failed = [
            Drawn(row.image_id, None, 0, 0.0, "failed", batch.unreadable[row.source_sha256])
            for row in batch.prompts
            if row.source_sha256 in batch.unreadable
        ]
        rows = [row for row in batch.prompts if row.source_sha256 not in batch.unreadable]
        if not rows:
            return failed
        pixels = self.paint(replace(batch, prompts=rows)).cpu()
        seconds = (time.perf_counter() - begin) / len(rows)
        return failed + [
            self._drawn(row, picture, seconds) for row, picture in zip(rows, pixels, strict=True)
        ]

    def paint(self, batch: Batch) -> Tensor:
        """Return pictures (B, 3, H, W), float32, in [0, 1] or not finite."""
        # Set anew for each batch: a multistep scheduler carries state from one step to the next.
        self.scheduler.set_timesteps(self.num_steps)
        first = batch.first_step * self.scheduler.order
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(first)
        timesteps = self.scheduler.timesteps[first:]  # on the CPU: no step waits for the device
        generators = [torch.Generator("cpu").manual_seed(row.seed) for row in batch.prompts]
        latents = self.denoise(self.start(batch, generators, timesteps[:1]), batch, timesteps)
        latents = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        pixels = self.vae.decode(latents, return_dict=False)[0].float() * 0.5 + 0.5
        return torch.where(pixels.isfinite(), pixels.clamp(0, 1), pixels)

    def denoise(self, latents: Tensor, batch: Batch, timesteps: Tensor) -> Tensor:
        """Run the U-Net over `timesteps`, each row with its own text and guidance scale."""
        text = self.embed([row.spans for row in batch.prompts])
        scales = torch.tensor([row.guidance_scale for row in batch.prompts], device=latents.device)
        scales = scales.view(-1, 1, 1, 1)
        if batch.guided:
            negative = [plain(row.negative_prompt) for row in batch.prompts]
            text = torch.cat([self.embed(negative), text])
        for timestep in timesteps:
            noisy = torch.cat([latents, latents]) if batch.guided else latents
            noisy = self.scheduler.scale_model_input(noisy, timestep).to(self.unet.dtype)
            noise = self.unet(noisy, timestep, encoder_hidden_states=text, return_dict=False)[0]
            noise = noise.float()
            if batch.guided:
                without, with_text = noise.chunk(2)
                noise = without + scales * (with_text - without)
            latents = self.scheduler.step(noise, timestep, latents, return_dict=False)[0]
        return latents

    def embed(self, prompts: list[tuple[Span, ...]]) -> Tensor:
        """Return the weighted text embeddings (B, L, D); each distinct prompt's is made once."""

        def make(missing: list[tuple[Span, ...]]) -> Tensor:
            return self.weighting(self._encode, tokenize(self.tokenizer, missing))

        return self.embeddings.get(prompts, make).to(self.device, self.unet.dtype)

    def noise(self, generators: list[torch.Generator]) -> Tensor:
        """Draw standard normal latents (B, 4, h, w), float32, each row from its own generator."""
        shape = (len(generators), self.unet.config.in_channels, self.latent_size, self.latent_size)
        return randn_tensor(shape, generator=generators, device=self.device, dtype=torch.float32)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Leave the batch where it is; `start` moves the sources that it needs."""
        return batch

    def _encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        encoded = self.text_encoder(ids.to(self.device), attention_mask=mask.to(self.device))
        return encoded.last_hidden_state

    def _drawn(self, row: Prompt, pixels: Tensor, seconds: float) -> Drawn:
        evaluations = self.num_evaluations(row)
        if pixels.isfinite().all():
            return Drawn(row.image_id, pixels, evaluations, seconds)
        reason = "the picture has pixels that are not finite numbers"
        return Drawn(row.image_id, None, evaluations, seconds, "failed", reason)


def plain(text: str) -> tuple[Span, ...]:
    """Return a text without weights as spans."""
    return (Span(text, 1.0),) if text else ()
