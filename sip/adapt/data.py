"""What is learnt from: latents and texts, encoded once, in a stream without an end.

The image at a position of the stream, its mirroring, text, noise and timestep depend on the seed
and the position only. So a training that was killed sees the same numbers as an unbroken one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sip.core.hashing import digest, seed_of
from sip.core.image_io import read_rgb, to_tensor
from sip.core.progress import progress
from sip.prompts.base import Span, span_pairs

if TYPE_CHECKING:
    from sip.images.families.sd import StableDiffusion

Spans = tuple[Span, ...]


@dataclass(frozen=True)
class Learnt:
    """An image that the model learns.

    Attributes:
        path, sha256: Its file and the hash of its content.
        class_name: Its class, in words.
        texts: Prompts, of which it gets one at random each time.
        is_prior: Whether the model itself generated it, to be kept as it is.
    """

    path: str
    sha256: str
    class_name: str
    texts: tuple[Spans, ...]
    is_prior: bool = False

    def key(self) -> list[object]:
        """Return what decides its part of the training."""
        texts = [span_pairs(spans) for spans in self.texts]
        return [self.sha256, self.class_name, texts, self.is_prior]


def rows_key(rows: Sequence[Learnt]) -> str:
    """Return the key of the images that a model learns."""
    return digest([row.key() for row in rows])[:24]


class Example(NamedTuple):
    """An image with its noise, as the loss takes it; tensors are float32.

    Attributes:
        latents: (2 C, h, w), mean and log variance, or (C, h, w).
        sampling: (C, h, w), chooses from the latent distribution.
        noise: (C, h, w), standard normal.
        time: Timestep.
        text: Number of the prompt.
        weight: What the loss counts.
    """

    latents: Tensor
    sampling: Tensor
    noise: Tensor
    time: Tensor
    text: Tensor
    weight: Tensor


class ExampleStream(Dataset[list[Example]]):
    """The images of a whole training, pass after pass, each in a random order.

    Args:
        rows: Images of the data set, and those of the model itself.
        latents: (rows, 2, ...): of each as it is, and mirrored.
        texts: Prompts of each row, of which it gets one at random each time.
        prompts: All prompts; an example has the number of one.
        length: Images of the data set in all steps.
        flip_prob: Probability that an image is mirrored.
        prior_weight: What the loss of the model's own images counts.
        num_times: Timesteps of the noise schedule.
        num_channels: C.
        seed: Decides everything random.
    """

    def __init__(
        self,
        rows: Sequence[Learnt],
        latents: Tensor,
        texts: Sequence[Sequence[Spans]],
        prompts: Sequence[Spans],
        *,
        length: int,
        flip_prob: float,
        prior_weight: float,
        num_times: int,
        num_channels: int,
        seed: int,
    ) -> None:
        self.rows, self.latents, self.length = rows, latents, length
        self.flip_prob, self.prior_weight = flip_prob, prior_weight
        self.num_times, self.seed = num_times, seed
        self.shape = (num_channels, *latents.shape[-2:])
        numbers = {spans: number for number, spans in enumerate(prompts)}
        self.texts = [[numbers[spans] for spans in of_row] for of_row in texts]
        self.own = [number for number, row in enumerate(rows) if not row.is_prior]
        self.prior: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            if row.is_prior:
                self.prior.setdefault(row.class_name, []).append(number)
        self._pass: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        """Return the number of images that all steps take."""
        return self.length

    def __getitem__(self, position: int) -> list[Example]:
        """Return the image at a position, and one that the model generated of its class, if any."""
        number = self._order(position // len(self.own))[position % len(self.own)]
        random = torch.Generator().manual_seed(seed_of(self.seed, "adapt", position))
        examples = [self._example(number, random, 1.0)]
        if prior := self.prior.get(self.rows[number].class_name):
            chosen = prior[int(torch.randint(len(prior), (), generator=random))]
            examples.append(self._example(chosen, random, self.prior_weight))
        return examples

    def _order(self, number: int) -> list[int]:
        """Return the order of a pass over the images of the data set."""
        if self._pass[0] != number:
            random = torch.Generator().manual_seed(seed_of(self.seed, "pass", number))
            order = torch.randperm(len(self.own), generator=random).tolist()
            self._pass = number, [self.own[place] for place in order]
        return self._pass[1]

    def _example(self, number: int, random: torch.Generator, weight: float) -> Example:
        is_flipped = int(torch.rand((), generator=random) < self.flip_prob)
        texts = self.texts[number]
        text = texts[int(torch.randint(len(texts), (), generator=random))]
        return Example(
            latents=self.latents[number, is_flipped],
            sampling=torch.randn(self.shape, generator=random),
            noise=torch.randn(self.shape, generator=random),
            time=torch.randint(self.num_times, (), generator=random),
            text=torch.tensor(text),
            weight=torch.tensor(weight),
        )


def collate(items: Sequence[Sequence[Example]]) -> dict[str, Tensor]:
    """Return the examples of a batch, one row each."""
    examples = [example for item in items for example in item]
    return {
        name: torch.stack([getattr(example, name) for example in examples])
        for name in Example._fields
    }


@torch.no_grad()
def encode_images(
    family: "StableDiffusion", rows: Sequence[Learnt], size: int, flips: bool
) -> Tensor:
    """Return the latents (rows, 2, C', h, w), float32, on the CPU: of the images, and mirrored.

    Args:
        family: The model, on its device.
        rows: The images.
        size: In px, of the square that an image is cut to.
        flips: Whether mirrored ones are needed; else they are the images again.
    """
    device = next(family.vae.parameters()).device
    latents = torch.empty(0)
    with progress("latents", len(rows), "image", delay=5) as bar:
        for number, row in enumerate(rows):
            pixels = to_tensor([read_rgb(row.path, size)])
            views = [pixels, pixels.flip(-1)] if flips else [pixels]
            encoded = torch.cat([family.encode(view.to(device)) for view in views])
            if not number:  # once: a list of all, to be joined, would be as large again
                latents = torch.empty(len(rows), *encoded.shape)
            latents[number] = encoded
            bar.update(1)
    return latents if flips else latents.expand(-1, 2, -1, -1, -1)
