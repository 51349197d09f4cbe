"""The samplers, by the name that the configuration uses, and their schedules.

diffusers' own classes say which timesteps are run and how noisy they are. The updates themselves
are in `sip.images.samplers`. A level of noise is a pair (alpha, sigma): x = alpha x0 + sigma noise.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sip.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SchedulerName = Literal["ddim", "euler", "dpmpp_2m", "unipc", "lcm"]
Level = tuple[float, float]

# Name -> diffusers' class, and what the name says whatever the model's own configuration holds.
SCHEDULERS: dict[SchedulerName, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "dpmpp_2m": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"},
    ),
    "unipc": (
        "UniPCMultistepScheduler",
        {"solver_order": 2, "solver_type": "bh2", "predict_x0": True, "lower_order_final": True},
    ),
    "lcm": ("LCMScheduler", {}),
}


@dataclass(frozen=True)
class NoiseSchedule:
    """The steps of one trajectory, from noise to image.

    Attributes:
        rule: Name of the update in `sip.images.samplers`.
        prediction: What the denoiser returns: "epsilon", "v_prediction", "sample" or "flow".
        timesteps: (n,), on the CPU, as the denoiser takes them.
        parts: The same as parts of the trajectory, in [0, 1]; 1 is pure noise.
        starts, ends: Level before and after each step.
        initial: Times this, noise alone is what the first step starts from.
        ends_first_order: Whether a second-order rule takes its last step in first order.
        timestep_scaling: LCM's.
    """

    rule: str
    prediction: str
    timesteps: "Tensor"
    parts: list[float]
    starts: list[Level]
    ends: list[Level]
    initial: float = 1.0
    ends_first_order: bool = True
    timestep_scaling: float = 10.0


def stock_scheduler(name: SchedulerName, config: Mapping[str, Any]) -> Any:
    """Return diffusers' scheduler of this name, with the model's own configuration."""
    import diffusers

    class_name, fixed = SCHEDULERS[name]
    return getattr(diffusers, class_name).from_config(dict(config), **fixed)


def schedule(name: SchedulerName, config: Mapping[str, Any], num_steps: int) -> NoiseSchedule:
    """Return the schedule of a noise-predicting model.

    Args:
        name: Of the scheduler.
        config: The model's own scheduler configuration, of whatever class. One that says nothing
            of `clip_sample` clips nothing, although diffusers' DDIM then would: latents are wider.
        num_steps: Of the full schedule.

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
        reason = " ".join(str(error).split())
        raise UserError(f"images.num_steps: {num_steps} with scheduler {name}: {reason}") from error
    levels = _by_alphas(name, stock) if name in ("ddim", "lcm") else _by_sigmas(stock)
    is_relative = name == "euler" and stock.config.timestep_spacing in ("linspace", "trailing")
    num_train = stock.config.num_train_timesteps
    return NoiseSchedule(
        rule=name,
        prediction=stock.config.prediction_type,
        timesteps=stock.timesteps,
        parts=[float(timestep) / num_train for timestep in stock.timesteps],
        starts=levels[0],
        ends=levels[1],
        # In `euler`, noise starts at sqrt(1 + s^2), that is at 1 here, or at s.
        initial=levels[0][0][1] if is_relative else 1.0,
        ends_first_order=_ends_first_order(stock) if name == "dpmpp_2m" else True,
        timestep_scaling=getattr(stock.config, "timestep_scaling", 10.0),
    )


def flow_schedule(
    name: SchedulerName, config: Mapping[str, Any], num_steps: int, num_tokens: int
) -> NoiseSchedule:
    """Return the schedule of a flow-matching model, whose one sampler is Euler's.

    Args:
        name: Of the scheduler.
        config: The model's own scheduler configuration.
        num_steps: Of the full schedule.
        num_tokens: Patches of a picture; some models shift their schedule with it.

    Raises:
        UserError: Another scheduler is asked for.
    """
    if name != "euler":
        raise UserError(
            "images.scheduler: must be euler for a flow-matching model such as Stable "
            f"Diffusion 3, got {name!r}"
        )
    from diffusers import FlowMatchEulerDiscreteScheduler

    stock = FlowMatchEulerDiscreteScheduler.from_config(dict(config))
    shift = {}
    if stock.config.use_dynamic_shifting:
        c = stock.config
        slope = (c.max_shift - c.base_shift) / (c.max_image_seq_len - c.base_image_seq_len)
        shift["mu"] = c.base_shift + slope * (num_tokens - c.base_image_seq_len)
    stock.set_timesteps(num_steps, **shift)
    sigmas = stock.sigmas.tolist()
    levels = [(1 - sigma, sigma) for sigma in sigmas]
    num_train = stock.config.num_train_timesteps
    return NoiseSchedule(
        rule="euler",
        prediction="flow",
        timesteps=stock.timesteps,
        parts=[float(timestep) / num_train for timestep in stock.timesteps],
        starts=levels[:-1],
        ends=levels[1:],
    )


def _by_alphas(name: str, stock: Any) -> tuple[list[Level], list[Level]]:
    """Return the levels of a scheduler that looks them up by timestep."""
    timesteps = stock.timesteps.tolist()
    if name == "ddim":
        stride = stock.config.num_train_timesteps // stock.num_inference_steps
        after = [timestep - stride for timestep in timesteps]
    else:
        after = [*timesteps[1:], timesteps[-1]]

    def level(timestep: int) -> Level:
        squared = stock.alphas_cumprod[timestep] if timestep >= 0 else stock.final_alpha_cumprod
        return float(squared) ** 0.5, (1 - float(squared)) ** 0.5

    return [level(t) for t in timesteps], [level(t) for t in after]


def _by_sigmas(stock: Any) -> tuple[list[Level], list[Level]]:
    """Return the levels of a scheduler that lists sigma / alpha."""
    relative = [float(sigma) for sigma in stock.sigmas]
    levels = [(1 / (1 + s**2) ** 0.5, s / (1 + s**2) ** 0.5) for s in relative]
    return levels[:-1], levels[1:]


def _ends_first_order(stock: Any) -> bool:
    config = stock.config
    is_short = config.lower_order_final and len(stock.timesteps) < 15
    return bool(config.euler_at_final or is_short or config.final_sigmas_type == "zero")
