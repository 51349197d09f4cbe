"""The engine of `images=controlnet`: conditions, and what the ControlNet adds at each step."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from sip.core.shapes import Size
from sip.device.settings import Runtime
from sip.images.batches import Batch
from sip.images.control_settings import ControlSettings
from sip.images.engine import Around, Engine
from sip.images.families.base import Conditioning
from sip.images.loading import load_controlnet
from sip.images.recent import Recent
from sip.images.samplers import Sampler

NUM_CONDITIONS = (
    32  # at SDXL's size one takes 4 MB; the images of an original are generated together
)


class Controlled(Around):
    """Adds a ControlNet's features to the denoiser's.

    Args:
        network: The ControlNet.
        conditions: (B, 3, H, W), in [0, 1].
        scale: Weight of the features.
        acts: Whether it acts in each step that is run.
    """

    def __init__(self, network: Any, conditions: Tensor, scale: float, acts: list[bool]) -> None:
        self.network = network
        self.conditions = conditions.to(network.dtype)
        self.scale = scale
        self.acts = acts
        self.step = 0

    def conditioning(self, inputs: Tensor, timestep: Tensor, texts: Conditioning) -> Conditioning:
        """Return what the denoiser is called with, with the features if the ControlNet acts."""
        if not self.acts[self.step]:
            return texts
        times = len(inputs) // len(self.conditions)  # 2 with an unconditional half
        down, middle = self.network(
            inputs,
            timestep,
            controlnet_cond=self.conditions.repeat(times, 1, 1, 1),
            conditioning_scale=self.scale,
            return_dict=False,
            **texts,
        )
        return {
            **texts,
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": middle,
        }

    def stepped(self, latents: Tensor) -> Tensor:
        """Return the latents unchanged, and count the step."""
        self.step += 1
        return latents


class ControlEngine(Engine):
    """The engine with a ControlNet.

    Args:
        settings: What is generated and how.
        runtime: Device settings.
    """

    settings: ControlSettings

    def __init__(self, settings: ControlSettings, runtime: Runtime) -> None:
        super().__init__(settings, runtime)
        self.control = load_controlnet(settings.control, settings.dtype)
        self.control.requires_grad_(False).eval().to(self.device)
        if runtime.channels_last:
            self.control.to(memory_format=torch.channels_last)
        if runtime.compile:
            self.control.compile(dynamic=False)
        self.condition = settings.condition.load(runtime)
        # By content hash and size of the original as it is read.
        self.conditions: Recent[tuple[str, int | Size]] = Recent(NUM_CONDITIONS)

    def clear(self) -> None:
        """Free the memory of embeddings, latents and conditions."""
        super().clear()
        self.conditions.clear()

    def around(self, batch: Batch, noise: Tensor, sampler: Sampler) -> Around:
        """Return what is done around each step."""
        settings, num = self.settings, len(sampler.timesteps)
        begin, end = settings.control_interval
        # As diffusers decides it.
        acts = [not (step / num < begin or (step + 1) / num > end) for step in range(num)]
        keys = [(row.source_sha256, settings.size_of(row)) for row in batch.prompts]
        conditions = self.conditions.get(keys, partial(self._make, batch))
        return Controlled(self.control, conditions, settings.conditioning_scale, acts)

    def _make(self, batch: Batch, key: tuple[str, int | Size]) -> Tensor:
        return self.condition(batch.sources[key[0]].to(self.device))
