"""One trajectory from noise to images, for a batch whose rows run the same steps.

The updates are those of diffusers' schedulers, called as its pipelines call them. Texts and
guidance are per row already, and no scheduler mixes rows. The numbers of a schedule stay on the
CPU and reach a device as arguments of kernels, so that no step waits for it, with two exceptions:
UniPC's corrector, and LCM, whose noise is generated on the CPU.
"""

import copy
import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from sip.images.schedulers import NoiseSchedule


class Sampler:
    """The state of one batch; multistep rules begin in first order with each batch.

    Args:
        schedule: All steps.
        first: The first step that is run.
        generators: Of the rows, for rules that add noise at each step.
    """

    def __init__(
        self, schedule: NoiseSchedule, first: int, generators: Sequence[torch.Generator]
    ) -> None:
        self.scheduler = copy.deepcopy(schedule.stock)
        self.timesteps = schedule.timesteps[first:]
        self._num_done = 0
        takes_noise = "generator" in inspect.signature(self.scheduler.step).parameters
        self._noise = {"generator": list(generators)} if takes_noise else {}
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(first)

    def noised(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Return latents (B, C, h, w) with the noise of the first step added."""
        scheduler, timestep = self.scheduler, self.timesteps[:1]
        if hasattr(scheduler, "scale_noise"):  # flow matching
            noised: Tensor = scheduler.scale_noise(latents, timestep, noise)
        else:
            noised = scheduler.add_noise(latents, noise, timestep)
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
        stepped: Tensor = self.scheduler.step(
            prediction, timestep, latents, return_dict=False, **self._noise
        )[0]
        return stepped
