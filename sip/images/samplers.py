"""One trajectory from noise to images, for a batch whose rows run the same steps.

The updates are those of diffusers' schedulers, called as its pipelines call them. Texts and
guidance are per row already, and no scheduler mixes rows. No step waits for the device: the numbers
of a schedule are arguments of kernels or already on the device, and all noise is sampled before the
first step.
"""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sip.images.schedulers import NoiseSchedule


class Sampler:
    """The state of one batch; multistep rules begin in first order with each batch.

    Args:
        schedule: All steps.
        first: The first step that is run.
        noise: (`schedule.num_noises(first)`, B, C, h, w), float32, standard normal, on the device;
            added after each step but the last by rules that do so.
    """

    def __init__(self, schedule: NoiseSchedule, first: int, noise: Tensor) -> None:
        self.scheduler = copy.deepcopy(schedule.stock)
        self.timesteps = schedule.timesteps[first:]
        self.noise = noise
        self._num_done = 0
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(first)
        if schedule.reads_sigmas_on_device:
            self.scheduler.sigmas = self.scheduler.sigmas.to(noise.device)

    def noised(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Return latents (B, C, h, w) with the noise of the first step added."""
        scheduler, timestep = self.scheduler, self.timesteps[:1]
        if hasattr(scheduler, "scale_noise"):  # flow matching
            noised: Tensor = scheduler.scale_noise(latents, timestep, noise)
        else:
            noised = scheduler.add_noise(latents, noise, timestep)
        return noised

    def noised_again(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Return latents (B, C, h, w) with the noise that the steps run so far have left."""
        if self._num_done == len(self.timesteps):
            return latents
        timestep = self.timesteps[self._num_done : self._num_done + 1]
        noised: Tensor = self.scheduler.add_noise(latents, noise, timestep)
        return noised

    def initial(self, noise: Tensor) -> Tensor:
        """Return what a trajectory from pure noise (B, C, h, w) starts with."""
        return noise * getattr(self.scheduler, "init_noise_sigma", 1.0)

    def inputs(self, latents: Tensor) -> Tensor:
        """Return what the denoiser sees of the latents (B, C, h, w) in the next step."""
        if not hasattr(self.scheduler, "scale_model_input"):  # flow matching
            return latents
        timestep = self.timesteps[self._num_done]
        scaled: Tensor = self.scheduler.scale_model_input(latents, timestep)
        return scaled

    def step(self, latents: Tensor, prediction: Tensor) -> Tensor:
        """Return the latents (B, C, h, w), float32, after the next step.

        Args:
            latents: Before it, float32.
            prediction: What the denoiser returned for `inputs`, float32.
        """
        timestep = self.timesteps[self._num_done]
        self._num_done += 1
        if len(self.noise):  # else the scheduler would sample it on the CPU, in each step
            self.scheduler.num_inference_steps = self.scheduler.begin_index + self._num_done
        with Unchecked():
            stepped: Tensor
            stepped, *_ = self.scheduler.step(prediction, timestep, latents, return_dict=False)
        if self._num_done <= len(self.noise):
            alpha = self.scheduler.alphas_cumprod[self.timesteps[self._num_done]]
            noise = self.noise[self._num_done - 1]
            stepped = alpha.sqrt() * stepped + (1 - alpha).sqrt() * noise
        return stepped


class Unchecked(TorchFunctionMode):
    """Solves linear systems without reading back whether they can be solved, as UniPC's can."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch."""
        if func is torch.linalg.solve:
            func = lambda *of: torch.linalg.solve_ex(*of)[0]  # noqa: E731
        return func(*args, **(kwargs or {}))
