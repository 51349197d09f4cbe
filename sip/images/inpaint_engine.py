"""The engine of `images=inpaint`: masks, and what they do around each step."""

from functools import partial

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor
from torch.nn.functional import interpolate

from sip.core.shapes import Size
from sip.device.settings import Runtime
from sip.images.batches import Batch
from sip.images.engine import NUM_POSTERIORS, Around, Engine
from sip.images.inpaint_settings import InpaintSettings
from sip.images.recent import Recent
from sip.images.samplers import Sampler
from sip.prompts.base import Prompt

# Content hash of an original, key of its mask, and what both are scaled to.
Masked = tuple[str, str, int | Size]


class Kept(Around):
    """Sets the latents of what stays after each step, for denoisers that read no mask.

    Args:
        sampler: At its first step.
        originals: Latents (B, C, h, w) of the originals.
        noise: (B, C, h, w), of the first step.
        changed: (B, 1, h, w), 1 where the image may change, else 0.
    """

    def __init__(self, sampler: Sampler, originals: Tensor, noise: Tensor, changed: Tensor) -> None:
        self.sampler = sampler
        self.originals = originals
        self.noise = noise
        self.changed = changed

    def stepped(self, latents: Tensor) -> Tensor:
        """Return the latents (B, C, h, w), float32, with those of what stays."""
        kept = self.sampler.noised_again(self.originals, self.noise)
        return (1 - self.changed) * kept + self.changed * latents


class Read(Around):
    """Gives the denoiser the mask and the latents of what stays.

    Args:
        changed: (B, 1, h, w), 1 where the image may change, else 0.
        kept: Latents (B, C, h, w) of the originals without what may change.
    """

    def __init__(self, changed: Tensor, kept: Tensor) -> None:
        self.read = torch.cat([changed, kept], dim=1)

    def inputs(self, latents: Tensor) -> Tensor:
        """Return the denoiser's inputs (B, 2 C + 1, h, w), float32."""
        return torch.cat([latents, self.read], dim=1)


class InpaintEngine(Engine):
    """The engine with masks.

    Args:
        settings: What is generated and how.
        runtime: Device settings.
    """

    settings: InpaintSettings

    def __init__(self, settings: InpaintSettings, runtime: Runtime) -> None:
        super().__init__(settings, runtime)
        self.segmenter = settings.masks.load(runtime)
        # Marked pixels (1, H, W), and the latent distributions (2 C, h, w) of what stays.
        self.found: Recent[Masked] = self.recent(NUM_POSTERIORS)
        self.kept: Recent[Masked] = self.recent(NUM_POSTERIORS)

    def generate(self, batch: Batch) -> Tensor:
        """Return images (B, 3, H, W), float32, in [0, 1] or not finite."""
        pixels = super().generate(batch)
        if not self.settings.paste:
            return pixels
        sources = [batch.sources[row.source_sha256].to(pixels) for row in batch.prompts]
        return torch.where(self.changed(batch) == 1, pixels, torch.stack(sources))

    def changed(self, batch: Batch) -> Tensor:
        """Return masks (B, 1, H, W), float32: 1 where the image may change, else 0."""
        marked = torch.stack([self._marked(batch, row) for row in batch.prompts])
        return 1 - marked if self.settings.masks.kept == "white" else marked

    def around(self, batch: Batch, noise: Tensor, sampler: Sampler) -> Around:
        """Return what is done before and after each step."""
        settings, changed = self.settings, self.changed(batch)
        small = interpolate(changed, self.models.shape_of_latents(self.size(batch))[1:])
        if not settings.reads_mask:
            originals = self.sample_originals(batch, noise[0])
            return Kept(sampler, originals, settings.noise_of_step(noise), small)
        keys = [self._key(row) for row in batch.prompts]
        rows = dict(zip(keys, zip(batch.prompts, changed, strict=True), strict=True))
        parameters = self.kept.get(keys, lambda key: self._encode_kept(batch, *rows[key]))
        posterior = DiagonalGaussianDistribution(parameters)
        return Read(small, self.models.scaled(posterior.mean + posterior.std * noise[-1]))

    def _encode_kept(self, batch: Batch, row: Prompt, changed: Tensor) -> Tensor:
        """Return the latent distribution (2 C, h, w) of an original, grey where it may change."""
        pixels = batch.sources[row.source_sha256].to(self.device)
        return self.models.encode(torch.where(changed == 1, 0.5, pixels)[None])[0]

    def _marked(self, batch: Batch, row: Prompt) -> Tensor:
        """Return what is white in a row's mask (1, H, W)."""
        assert row.mask is not None, "generators with masks get their prompts from `Offline.write`"
        if row.mask.path is not None:
            return batch.masks[row.mask.key].to(self.device)
        return self.found.get([self._key(row)], partial(self._find, batch, row))[0]

    def _find(self, batch: Batch, row: Prompt, key: Masked) -> Tensor:
        assert self.segmenter is not None and row.mask is not None
        assert row.mask.text is not None
        pixels = batch.sources[row.source_sha256]
        return self.segmenter.mask(pixels, row.mask.text).to(self.device)

    def _key(self, row: Prompt) -> Masked:
        assert row.mask is not None
        return row.source_sha256, row.mask.key, self.settings.size_of(row)
