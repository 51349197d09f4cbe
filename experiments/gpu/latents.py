"""Latents without training: the principal components of 4x4 patches, 32 px to 8x8x16.

Orthonormal, with one common scale: isotropic noise on the latents is isotropic in the pixels too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 4  # px
CHANNELS = 16  # of 48
SCALE = 1.5  # of the latents, for images in [-1, 1]
NUM_FIT = 4000  # images
CHUNK = 2000  # images encoded at a time


class PatchPCA:
    """The encoder and decoder.

    Args:
        mean: (48,), of patches.
        basis: (16, 48), rows orthonormal.
    """

    def __init__(self, mean: Tensor, basis: Tensor) -> None:
        self.mean = mean
        self.basis = basis

    @classmethod
    def fit(cls, images: Tensor) -> "PatchPCA":
        """Return the components of images (N, 3, 32, 32), uint8."""
        patches = _patches(to_float(images[:NUM_FIT]))
        mean = patches.mean((0, 2, 3))
        flat = (patches - mean[:, None, None]).transpose(0, 1).flatten(1)
        _, vectors = torch.linalg.eigh(flat @ flat.T)  # ascending
        return cls(mean, vectors.T.flip(0)[:CHANNELS].contiguous())

    def to(self, device: torch.device) -> "PatchPCA":
        """Return the same on another device."""
        return PatchPCA(self.mean.to(device), self.basis.to(device))

    def encode(self, images: Tensor) -> Tensor:
        """Return latents (N, 16, 8, 8), float32, of images (N, 3, 32, 32), uint8."""
        done = []
        for part in images.split(CHUNK):
            patches = _patches(to_float(part)) - self.mean[:, None, None]
            done.append(torch.einsum("cp,nphw->nchw", self.basis, patches) * SCALE)
        return torch.cat(done)

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, 32, 32), float32, in [-1, 1], of latents (N, 16, 8, 8)."""
        patches = torch.einsum("cp,nchw->nphw", self.basis, latents.float() / SCALE)
        return F.pixel_shuffle(patches + self.mean[:, None, None], PATCH).clamp(-1, 1)

    def psnr(self, images: Tensor) -> float:
        """Return the PSNR in dB of images there and back, from their mean squared error."""
        error = (self.decode(self.encode(images)) - to_float(images)).square().mean()
        return float(10 * torch.log10(4 / error))


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def _patches(images: Tensor) -> Tensor:
    return F.pixel_unshuffle(images, PATCH)
