"""Samplers on a device without data: whatever would wait for a real one is refused."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch.utils._python_dispatch import TorchDispatchMode

from sip.images.samplers import Sampler
from sip.images.schedulers import SCHEDULERS, flow_schedule, noise_schedule
from tests.images import models

SHAPE = (2, 4, 8, 8)
# What reads numbers back from a device; an item of a tensor without data fails by itself.
READING = ("_local_scalar_dense", "_linalg_check_errors", "nonzero", "equal")


class NoWaiting(TorchDispatchMode):
    """Refuses copies between host and device, and what reads from the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        tensors = [value for value in (*args, output) if isinstance(value, torch.Tensor)]
        on_device = any(tensor.is_meta for tensor in tensors)
        name = func.overloadpacket.__name__
        if on_device and name in READING:
            raise AssertionError(f"{name} waits for the device")
        if name in ("_to_copy", "copy_") and len({tensor.device for tensor in tensors}) > 1:
            raise AssertionError("a copy between host and device waits for it")
        return output


def schedules():
    config = dict(models.scheduler().config)
    for name in SCHEDULERS:
        yield pytest.param(lambda name=name: noise_schedule(name, config, 5), id=name)
    flow = dict(FlowMatchEulerDiscreteScheduler(shift=3.0).config)
    yield pytest.param(lambda: flow_schedule("euler", flow, 5, 16), id="flow")


@pytest.mark.parametrize("make", list(schedules()))
@pytest.mark.parametrize("first", [0, 2])
def test_no_step_waits_for_the_device(make, first):
    schedule = make()
    noise = torch.empty(schedule.num_noises(first), *SHAPE, device="meta")
    sampler = Sampler(schedule, first, noise)
    latents = prediction = torch.empty(SHAPE, device="meta")
    if first:
        latents = sampler.noised(latents, torch.empty(SHAPE, device="meta"))
    for _ in range(len(sampler.timesteps)):
        with NoWaiting():
            sampler.inputs(latents)
            latents = sampler.step(latents, prediction)
    assert latents.is_meta and latents.shape == SHAPE


def test_waiting_is_noticed():
    """The check itself: diffusers' own UniPC and LCM do wait."""
    config = dict(models.scheduler().config)
    for name in ("unipc", "lcm"):
        stock = noise_schedule(name, config, 5).stock
        stock.set_begin_index(0)
        latents = torch.empty(SHAPE, device="meta")
        generators = {"generator": torch.Generator()} if name == "lcm" else {}
        with pytest.raises((AssertionError, NotImplementedError)), NoWaiting():
            for timestep in stock.timesteps:
                latents = stock.step(latents, timestep, latents, **generators).prev_sample
