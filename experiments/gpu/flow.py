"""Class-conditional flow matching on latents: network, loss, training by the clock, sampler.

Times t in (0, 1): x_t = (1 - t) x_0 + t e with standard normal e; the network predicts e - x_0.
Source: Lipman et al., Flow matching for generative modeling, ICLR 2023; logit-normal times: Esser
et al., Scaling rectified flow transformers, ICML 2024.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor

NUM_CLASSES = 10
NO_CLASS = NUM_CLASSES  # the label that stands for "no class"
NO_CLASS_SHARE = 0.1  # of the training images
CLIP = 1.0  # L2 norm of the gradients
WARM_UP = 100  # steps
LAST = 0.02  # of the learning rate, at the end of the time
LOG_EVERY = 50  # steps


def make_unet(widths: tuple[int, ...], layers: int, channels: int, size: int) -> UNet2DModel:
    """Return the network for latents (B, channels, size, size)."""
    levels = len(widths)
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        layers_per_block=layers,
        down_block_types=("AttnDownBlock2D",) * levels,
        up_block_types=("AttnUpBlock2D",) * levels,
        num_class_embeds=NUM_CLASSES + 1,
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=32,
        norm_num_groups=16,
    )


@dataclass
class Progress:
    """How far the training is, over all runs.

    Attributes:
        images: Seen.
        runs: Begun.
        loss: (images, mean training loss since the entry before).
    """

    images: int = 0
    runs: int = 0
    loss: list[tuple[int, float]] = field(default_factory=list)


class Trainer:
    """Trains a network and its moving average.

    Args:
        network: On its device.
        latents: (N, C, h, w), float32, on the device.
        flipped: The same of the mirrored images.
        labels: (N,), int64, on the device.
        lr: Highest learning rate.
        batch_size: Images a step.
    """

    def __init__(
        self,
        network: UNet2DModel,
        latents: Tensor,
        flipped: Tensor,
        labels: Tensor,
        lr: float,
        batch_size: int,
    ) -> None:
        is_cuda = latents.device.type == "cuda"
        self.layout = torch.channels_last if is_cuda else torch.contiguous_format
        self.network = network.train().to(memory_format=self.layout)
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.latents, self.flipped, self.labels = latents, flipped, labels
        self.lr, self.batch_size = lr, batch_size
        self.device = latents.device
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr,
            betas=(0.9, 0.99),
            weight_decay=1e-3,
            fused=is_cuda,
        )
        self.steps = 0
        self._sum = torch.zeros((), device=self.device)  # of the losses since the last entry
        self._count = 0

    def loss(self, x0: Tensor, labels: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Return the mean squared error of the network's prediction."""
        t = times[:, None, None, None]
        noised = ((1 - t) * x0 + t * noise).contiguous(memory_format=self.layout)
        with autocast(self.device):
            predicted = self.network(noised, times * 1000, class_labels=labels).sample
        return F.mse_loss(predicted.float(), noise - x0)

    def step(self, part: float) -> None:
        """Take one step.

        Args:
            part: Of the time, that is over; in [0, 1].
        """
        batch = self.batch_size
        chosen = torch.randint(len(self.latents), (batch,), device=self.device)
        mirrored = torch.rand(batch, device=self.device) < 0.5
        x0 = torch.where(mirrored[:, None, None, None], self.flipped[chosen], self.latents[chosen])
        without = torch.rand(batch, device=self.device) < NO_CLASS_SHARE
        labels = torch.where(without, NO_CLASS, self.labels[chosen])
        times = torch.randn(batch, device=self.device).sigmoid()
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * min(1, (self.steps + 1) / WARM_UP) * max(cosine, LAST)
        loss = self.loss(x0, labels, times, torch.randn_like(x0))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.steps += 1
        self._sum += loss.detach()
        self._count += 1
        with torch.no_grad():
            weight = 1 - min(0.9997, (self.steps + 1) / (self.steps + 20))
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.network.parameters()), weight
            )

    def run(
        self,
        seconds: float,
        part: Callable[[], float],
        progress: Progress,
        every: Callable[[], Any],
    ) -> float:
        """Take steps for a given time; return images/s.

        Args:
            part: Returns the part of the whole training's time that is over.
            progress: Brought up to date every `LOG_EVERY` steps.
            every: Called then.
        """
        began, taken = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            self.step(part())
            taken += 1
            progress.images += self.batch_size
            if self._count >= LOG_EVERY:
                self.note(progress)
                every()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return taken * self.batch_size / (time.perf_counter() - began)

    def note(self, progress: Progress) -> None:
        """Add the mean loss since the entry before, if a step was taken; waits for the device."""
        if self._count:
            progress.loss.append((progress.images, round(float(self._sum) / self._count, 5)))
            self._sum.zero_()
            self._count = 0


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Compute in bfloat16 on a GPU."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


@torch.inference_mode()
def sample(
    network: UNet2DModel, x: Tensor, labels: Tensor, begin: Tensor, scales: Tensor, steps: int
) -> Tensor:
    """Follow the flow to time 0 with Euler's method, each row from its own time.

    Args:
        x: (B, C, h, w), latents at the times `begin`; standard normal noise at 1.
        labels: (B,), classes.
        begin: (B,), in (0, 1].
        scales: (B,), guidance scales; 1 is without guidance.
        steps: Of every row.
    """
    scales, twice = (
        scales[:, None, None, None],
        torch.cat([labels, torch.full_like(labels, NO_CLASS)]),
    )
    for number in range(steps):
        t = begin * (1 - number / steps)
        with autocast(x.device):
            both = network(torch.cat([x, x]), torch.cat([t, t]) * 1000, class_labels=twice).sample
        with_class, without = both.float().chunk(2)
        x = x - (begin / steps)[:, None, None, None] * torch.lerp(without, with_class, scales)
    return x
