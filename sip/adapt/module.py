"""The loss of a diffusion model as a LightningModule, over what a method trains."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.optimization import get_scheduler
from diffusers.training_utils import compute_snr
from pytorch_lightning import LightningModule
from torch import Tensor

from sip.adapt.data import Spans
from sip.adapt.method import Method
from sip.adapt.trained import Trained
from sip.core.shapes import Size
from sip.images.families.sd import StableDiffusion
from sip.prompts.weighting.base import Weighting

LOG_EVERY = 10  # steps between points of the curve


class AdaptModule(LightningModule):
    """A model of which a small part is trained.

    Args:
        trained: The part that is, with the model that it is in.
        method: Loss and optimiser.
        noise: The model's own noise schedule.
        prompts: All prompts; a batch has their numbers.
        weighting: Turns them into embeddings, as in the generation.
        samples: Whether latents are distributions.
        size: Width and height of the images.
    """

    def __init__(
        self,
        trained: Trained,
        method: Method,
        noise: DDPMScheduler,
        prompts: Sequence[Spans],
        weighting: Weighting,
        samples: bool,
        size: Size,
    ) -> None:
        super().__init__()
        self.family: StableDiffusion = trained.family
        self.trained, self.method, self.noise = trained, method, noise
        self.prompts, self.weighting, self.samples = prompts, weighting, samples
        self.size = size
        self.strict_loading = False  # a checkpoint holds what is trained, and nothing else
        self._embedded: Tensor | None = None
        if method.gradient_checkpointing:
            self.family.denoiser.enable_gradient_checkpointing()

    def on_fit_start(self) -> None:
        """Embed the prompts, once if they stay as they are and are not too many to be held."""
        with torch.no_grad():
            self.family.forget()
            self.family.unconditional(self.weighting)  # kept, and then no part of any gradient
        is_held = len(self.prompts) <= self.family.texts_kept
        if is_held and not self.trained.changes_texts:
            self._embedded = self._fixed(self.prompts).cpu()

    def training_step(self, batch: dict[str, Tensor], batch_number: int) -> Tensor:
        """Return the loss of a batch, per image of the data set in it."""
        latents = batch["latents"]
        if self.samples:
            posterior = DiagonalGaussianDistribution(latents)
            latents = posterior.mean + posterior.std * batch["sampling"]
        latents = self.family.scaled(latents)
        times = batch["time"]
        noisy = self.noise.add_noise(latents, batch["noise"], times)
        texts = self._texts(batch["text"])
        conditioning = self.family.conditioning(texts, texts.new_ones(len(texts)), self.size)
        inputs = noisy.to(self.family.denoiser.dtype)
        prediction = self.family.predict(inputs, times, conditioning).float()
        errors = F.mse_loss(prediction, self._target(latents, batch), reduction="none")
        losses = errors.mean((1, 2, 3)) * self._weights(times) * batch["weight"]
        loss = losses.sum() / self.method.batch_size
        self._log(loss)
        return loss

    def _texts(self, numbers: Tensor) -> Tensor:
        if self._embedded is not None:
            return self._embedded[numbers.cpu()].to(self.device)
        prompts = [self.prompts[number] for number in numbers.tolist()]
        if self.trained.changes_texts:
            return self.family.encode_texts(self.weighting, prompts)
        return self._fixed(prompts)

    def _fixed(self, prompts: Sequence[Spans]) -> Tensor:
        """Return embeddings that no training changes: the same numbers whenever it is called."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            rows = [self.family.encode_texts(self.weighting, [one]) for one in prompts]
        return torch.cat(rows)

    def _target(self, latents: Tensor, batch: dict[str, Tensor]) -> Tensor:
        if self.noise.config.prediction_type == "v_prediction":
            velocity: Tensor = self.noise.get_velocity(latents, batch["noise"], batch["time"])
            return velocity
        return batch["noise"]

    def _weights(self, times: Tensor) -> Tensor:
        """Return what the error at each timestep counts, (B,)."""
        most = self.method.min_snr
        if most is None:
            return torch.ones_like(times, dtype=torch.float32)
        snr = compute_snr(self.noise, times)
        if self.noise.config.prediction_type == "v_prediction":
            return snr.clamp(max=most) / (snr + 1)
        return (most / snr).clamp(max=1)  # at pure noise, 1

    def _log(self, loss: Tensor) -> None:
        if (self.global_step + 1) % LOG_EVERY == 0 and self.trainer.loggers:
            self.log("train/loss", loss)
            self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]

    def configure_optimizers(self) -> Any:
        """Return AdamW and the schedule, by steps."""
        method = self.method
        optimizer = torch.optim.AdamW(
            list(self.trained.parameters()), lr=method.lr, weight_decay=method.weight_decay
        )
        schedule = get_scheduler(
            method.schedule,
            optimizer,
            num_warmup_steps=method.warmup_steps,
            num_training_steps=method.steps,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained: all else is the model's own."""
        names = {name for name, weight in self.named_parameters() if weight.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: state[name] for name in state if name in names}
