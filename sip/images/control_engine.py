"""The engine of `images=controlnet`: conditions, and what the ControlNet adds at each step."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from sip.device.settings import Runtime
from sip.images.batches import Batch
from sip.images.conditions.base import Conditioner
from sip.images.control_settings import ControlSettings
from sip.images.engine import Around, Engine, Source
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
        self.conditions: Recent[Source] = self.recent(NUM_CONDITIONS)

    def around(self, batch: Batch, noise: Tensor, sampler: Sampler) -> Around:
        """Return what is done around each step."""
        acts = self.settings.acts(len(sampler.timesteps))
        scale = self.settings.conditioning_scale
        return Controlled(self.control, self._conditions(batch), scale, acts)

    def _conditions(self, batch: Batch) -> Tensor:
        """Return the rows' conditions (B, 3, H, W), in [0, 1], on the device."""
        if self.condition is None:
            keys = [row.condition.key for row in batch.prompts if row.condition is not None]
            return torch.stack([batch.conditions[key] for key in keys]).to(self.device)
        sources = [(row.source_sha256, self.settings.size_of(row)) for row in batch.prompts]
        return self.conditions.get(sources, partial(self._make, self.condition, batch))

    def _make(self, condition: Conditioner, batch: Batch, source: Source) -> Tensor:
        return condition(batch.sources[source[0]].to(self.device))
