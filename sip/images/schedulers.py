"""Samplers by the name that the configuration uses: diffusers' schedulers.

Sources: DDIM: Song et al., ICLR 2021. Euler: Karras et al., NeurIPS 2022, algorithm 1. DPM-Solver++
2M: Lu et al., arXiv 2211.01095. UniPC: Zhao et al., NeurIPS 2023. LCM: Luo et al., arXiv
2310.04378. Flow matching: Esser et al., ICML 2024.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from sip.core.errors import UserError
from sip.core.text import reason_of

if TYPE_CHECKING:
    from torch import Tensor

SchedulerName = Literal["ddim", "euler", "dpmpp_2m", "unipc", "lcm"]
Spacing = Literal["leading", "linspace", "trailing"]

# Name -> diffusers' class, and what the name says whatever the model's own configuration holds.
SCHEDULERS: dict[SchedulerName, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "dpmpp_2m": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"},
    ),
    "unipc": (
        "UniPCMultistepScheduler",
        {"solver_order": 2, "solver_type": "bh2", "predict_x0": True, "lower_order_final": True},
    ),
    "lcm": ("LCMScheduler", {"clip_sample": False}),
}
# Stable Diffusion 1.5's: stands in for the configuration of a model that is not on this disk.
ASSUMED = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


@dataclass(frozen=True)
class NoiseSchedule:
    """The steps of a trajectory, from noise to image.

    Attributes:
        stock: diffusers' scheduler with its timesteps set; it is copied, and never stepped itself.
    """

    stock: Any

    def num_noises(self, first: int) -> int:
        """Return how many times noise is added, after all steps from `first` on but the last."""
        return len(self.timesteps) - first - 1 if self._class == "LCMScheduler" else 0

    @property
    def reads_sigmas_on_device(self) -> bool:
        """Whether a step copies the noise levels to the device; then they are copied before."""
        return self._class == "UniPCMultistepScheduler"

    @property
    def reads_spacing(self) -> bool:
        """Whether the timesteps depend on `timestep_spacing`."""
        return self._class not in ("LCMScheduler", "FlowMatchEulerDiscreteScheduler")

    @property
    def _class(self) -> str:
        return type(self.stock).__name__

    @property
    def timesteps(self) -> "Tensor":
        """(n,), on the CPU, as the denoiser takes them."""
        timesteps: Tensor = self.stock.timesteps
        return timesteps

    @cached_property
    def parts(self) -> list[float]:
        """The timesteps as parts of the trajectory, in [0, 1]; 1 is pure noise."""
        return [float(time) / self.stock.config.num_train_timesteps for time in self.timesteps]


def stock_scheduler(name: SchedulerName, config: Mapping[str, Any]) -> Any:
    """Return diffusers' scheduler of this name, with the model's own configuration."""
    import diffusers

    class_name, fixed = SCHEDULERS[name]
    return getattr(diffusers, class_name).from_config(dict(config), **fixed)


def assumed_parts(name: SchedulerName, num_steps: int, spacing: Mapping[str, Any]) -> list[float]:
    """Return `NoiseSchedule.parts` of a model whose own configuration is not known."""
    return noise_schedule(name, {**ASSUMED, **spacing}, num_steps).parts


def noise_schedule(name: SchedulerName, config: Mapping[str, Any], num_steps: int) -> NoiseSchedule:
    """Return the schedule of a model that predicts noise.

    Args:
        name: Name of the scheduler.
        config: The model's own scheduler configuration, of whatever class. One that says nothing
            of `clip_sample` clips nothing, although diffusers' DDIM then would: latents are wider.
        num_steps: Number of steps of the full schedule.

    Raises:
        UserError: The model is not meant for that scheduler or that number of steps.
    """
    for key in ("clip_sample", "thresholding"):
        if config.get(key):
            raise UserError(
                f"images.model: must have {key}: false in scheduler/scheduler_config.json, got "
                "true; it is for pixels, and these are latents"
            )
    stock = stock_scheduler(name, config)
    try:
        with warnings.catch_warnings():  # of numpy 2, about how diffusers makes arrays of tensors
            warnings.simplefilter("ignore", DeprecationWarning)
            stock.set_timesteps(num_steps)
    except ValueError as error:
        reason = reason_of(error)
        raise UserError(f"images.num_steps: {num_steps} with scheduler {name}: {reason}") from error
    return NoiseSchedule(stock)


def flow_schedule(
    name: SchedulerName,
    config: Mapping[str, Any],
    num_steps: int,
    num_tokens: int,
    is_linear: bool = False,
) -> NoiseSchedule:
    """Return the schedule of a flow-matching model, whose one sampler is Euler's.

    Args:
        name: Name of the scheduler.
        config: The model's own scheduler configuration.
        num_steps: Number of steps of the full schedule.
        num_tokens: Patches of an image; some models shift their schedule with it.
        is_linear: Start from the noise levels 1, ..., 1 / num_steps, in place of diffusers' own.

    Raises:
        UserError: Another scheduler is asked for.
    """
    if name != "euler":
        raise UserError(
            "images.scheduler: must be euler for a model with flow matching (Stable Diffusion 3, "
            f"FLUX, Z-Image), got {name!r}"
        )
    from diffusers import FlowMatchEulerDiscreteScheduler

    stock = FlowMatchEulerDiscreteScheduler.from_config(dict(config))
    shift = {}
    if stock.config.use_dynamic_shifting:
        c = stock.config
        slope = (c.max_shift - c.base_shift) / (c.max_image_seq_len - c.base_image_seq_len)
        shift["mu"] = c.base_shift + slope * (num_tokens - c.base_image_seq_len)
    if is_linear:
        levels = [1 - step / num_steps for step in range(num_steps)]
        stock.set_timesteps(sigmas=levels, **shift)
    else:
        stock.set_timesteps(num_steps, **shift)
    return NoiseSchedule(stock)
