"""The samplers' updates as numbers that are known before the first step.

Every sampler here is linear in latents, predictions and noise, so all that a step needs is a few
floats: no device waits for a schedule, and the loop over the steps does nothing but tensor work.
All latents are x = alpha x0 + sigma noise, also those of Euler's sampler, whose own are x / alpha.

Sources, each as diffusers 0.42 (Apache 2.0) has it, and equal to it (tests, to 1e-4):
DDIM: Song et al., ICLR 2021, eq. 12 with eta = 0. Euler: Karras et al., NeurIPS 2022, algorithm 1.
DPM-Solver++ 2M: Lu et al., arXiv 2211.01095, algorithm 2. UniPC: Zhao et al., NeurIPS 2023, B2(h),
order 2. LCM: Luo et al., arXiv 2310.04378, section 4. Flow matching: Esser et al., ICML 2024.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from sip.images.schedulers import Level, NoiseSchedule

SIGMA_DATA = 0.5  # LCM's


@dataclass(frozen=True)
class Update:
    """One update.

    With d the estimates of x0, newest first, and y the latents x or their correction:

    d[0] = x0[0] x + x0[1] prediction
    y    = corrector[0] y_before + sum(corrector[i + 1] d[i]),  or x without a corrector
    x    = keep y + sum(weights[i] d[i]) + noise * fresh noise
    """

    x0: tuple[float, float]
    keep: float
    weights: tuple[float, ...]
    corrector: tuple[float, ...] = ()
    noise: float = 0.0


def steps_of(schedule: NoiseSchedule, first: int) -> list[Update]:
    """Return the updates from step `first` on; multistep rules start there in first order."""
    rules = {"dpmpp_2m": _dpmpp_2m, "unipc": _unipc, "lcm": _lcm}
    rule = rules.get(schedule.rule, _first_order)
    return [rule(schedule, index, first) for index in range(first, len(schedule.starts))]


class Sampler:
    """The state of one batch on its way through the steps.

    Args:
        steps: The updates.
        noises: Fresh noise for each step that asks for it, shaped as the latents.
    """

    def __init__(self, steps: Sequence[Update], noises: Iterator[Tensor]) -> None:
        self._steps = iter(steps)
        self._noises = noises
        self._denoised: list[Tensor] = []
        self._before: Tensor | None = None

    def step(self, latents: Tensor, prediction: Tensor) -> Tensor:
        """Return the latents after the next step.

        Args:
            latents: (B, C, h, w), float32.
            prediction: What the denoiser returned for them, float32.
        """
        step = next(self._steps)
        now = _mix(step.x0, (latents, prediction))
        denoised = [now, *self._denoised]
        if step.corrector:
            assert self._before is not None
            latents = _mix(step.corrector, (self._before, *denoised))
        parts = [latents, *denoised[: len(step.weights)]]
        factors = [step.keep, *step.weights]
        if step.noise:
            parts.append(next(self._noises))
            factors.append(step.noise)
        self._denoised = denoised[:2]
        self._before = latents
        return _mix(factors, parts)


def _mix(factors: Sequence[float], parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of factor * part; parts whose factor is 0 are not read."""
    mixed: Tensor | None = None
    for factor, part in zip(factors, parts, strict=False):
        if factor:
            mixed = part * factor if mixed is None else mixed.add_(part, alpha=factor)
    assert mixed is not None
    return mixed


def _x0(prediction: str, level: Level) -> tuple[float, float]:
    alpha, sigma = level
    if prediction == "epsilon":
        return 1 / alpha, -sigma / alpha
    if prediction == "v_prediction":
        return alpha, -sigma
    return (1.0, -sigma) if prediction == "flow" else (0.0, 1.0)


def _first_order(schedule: NoiseSchedule, index: int, first: int) -> Update:
    (alpha, sigma), (alpha_end, sigma_end) = schedule.starts[index], schedule.ends[index]
    keep = sigma_end / sigma
    x0 = _x0(schedule.prediction, schedule.starts[index])
    return Update(x0, keep, (alpha_end - alpha * keep,))


def _dpmpp_2m(schedule: NoiseSchedule, index: int, first: int) -> Update:
    step = _first_order(schedule, index, first)
    is_last = index == len(schedule.starts) - 1
    if index == first or (is_last and schedule.ends_first_order):
        return step
    start = _log_snr(schedule.starts[index])
    h = _log_snr(schedule.ends[index]) - start
    ratio = (start - _log_snr(schedule.starts[index - 1])) / h
    whole = step.weights[0]
    return Update(step.x0, step.keep, (whole + 0.5 * whole / ratio, -0.5 * whole / ratio))


def _lcm(schedule: NoiseSchedule, index: int, first: int) -> Update:
    scaled = float(schedule.timesteps[index]) * schedule.timestep_scaling
    skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
    out = scaled / (scaled**2 + SIGMA_DATA**2) ** 0.5
    x0 = _x0(schedule.prediction, schedule.starts[index])
    if index == len(schedule.starts) - 1:
        return Update(x0, skip, (out,))
    alpha, sigma = schedule.ends[index]
    return Update(x0, alpha * skip, (alpha * out,), noise=sigma)


def _unipc(schedule: NoiseSchedule, index: int, first: int) -> Update:
    """UniP of order 2 after UniC; the first step and the last are of order 1."""
    step = _first_order(schedule, index, first)
    corrector = _unic(schedule, index, first) if index > first else ()
    if index == first or index == len(schedule.starts) - 1:
        return Update(step.x0, step.keep, step.weights, corrector)
    start = _log_snr(schedule.starts[index])
    h = _log_snr(schedule.ends[index]) - start
    ratio = (_log_snr(schedule.starts[index - 1]) - start) / h
    share = -schedule.ends[index][0] * math.expm1(-h) * 0.5 / ratio
    return Update(step.x0, step.keep, (step.weights[0] - share, share), corrector)


def _unic(schedule: NoiseSchedule, index: int, first: int) -> tuple[float, ...]:
    """Return the corrector's factors of (y before, d now, d before, d before that)."""
    step = _first_order(schedule, index - 1, first)
    alpha = schedule.ends[index - 1][0]
    before = _log_snr(schedule.starts[index - 1])
    h = _log_snr(schedule.ends[index - 1]) - before
    scale = -alpha * math.expm1(-h)
    if index - 1 == first:
        return step.keep, 0.5 * scale, step.weights[0] - 0.5 * scale
    ratio = (_log_snr(schedule.starts[index - 2]) - before) / h
    # Two equations: rho_old + rho_new = b_1, ratio rho_old + rho_new = b_2.
    phi_2 = math.expm1(-h) / -h - 1
    phi_3 = phi_2 / -h - 0.5
    b_1, b_2 = phi_2 / math.expm1(-h), 2 * phi_3 / math.expm1(-h)
    rho_old = (b_1 - b_2) / (1 - ratio)
    rho_new = b_1 - rho_old
    old = scale * rho_old / ratio
    return step.keep, scale * rho_new, step.weights[0] - old - scale * rho_new, old


def _log_snr(level: Level) -> float:
    alpha, sigma = level
    return math.log(alpha / sigma) if sigma else math.inf
