"""How large the models of a stack are, and how long each learns: one preset a size.

`DIGITS` is the preset of the embedded profile. `TINY` has its sizes, eight latent channels
and finer patches, for natural images on two CPU cores; `PATCH` has a PCA of patches as autoencoder
and a larger U-Net; `SMALL` is for a GPU, 29 M parameters together. All numbers are ours; steps and
batch sizes are chosen for the times in docs/own-stack.md.
"""

from dataclasses import dataclass, replace

from sip.core.errors import UserError


@dataclass(frozen=True)
class Training:
    """How one part learns.

    Attributes:
        steps: Optimiser steps.
        batch_size: Images a step.
        lr: Peak learning rate of AdamW.
        ema_decay: Decay of the weights' moving average per step.
        weight_decay: Weight decay of matrices.
        ema_from: Share of the steps before the average begins.
    """

    steps: int
    batch_size: int
    lr: float
    ema_decay: float
    weight_decay: float = 0.01
    ema_from: float = 0.25


@dataclass(frozen=True)
class Tower:
    """A transformer.

    Attributes:
        width: Dimensions of a token; the inner layer has four times as many.
        layers: Blocks.
        heads: Heads of the attention.
    """

    width: int
    layers: int
    heads: int = 4


@dataclass(frozen=True)
class Vae:
    """The autoencoder.

    Attributes:
        widths: Channels, level by level; the last one is repeated if more levels are needed.
        layers: Residual blocks a level.
        channels: Channels of the latents.
        side: Side of the latents, whatever the size of the images.
    """

    widths: tuple[int, ...]
    layers: int
    channels: int
    side: int

    def levels(self, image_size: int) -> tuple[int, ...]:
        """Return the channels of each level for images of a size: each but the last halves it."""
        num = (image_size // self.side).bit_length()
        return (*self.widths, *[self.widths[-1]] * num)[:num]


@dataclass(frozen=True)
class Patches:
    """A PCA of patches in the autoencoder's place, see `sip.images.patches`.

    Attributes:
        channels: Components that are kept: channels of the latents.
        side: Side of the latents, whatever the size of the images.
    """

    channels: int
    side: int

    def levels(self, image_size: int) -> tuple[int, ...]:
        """Return as many entries as an autoencoder with these latents has levels."""
        return (self.channels,) * (image_size // self.side).bit_length()


@dataclass(frozen=True)
class Unet:
    """The denoiser; its text encoder is a `Tower`.

    Attributes:
        widths: Channels, level by level.
        layers: Residual blocks a level.
        groups: Groups of the group norms; divides all widths.
        prediction: "epsilon" or "v_prediction", diffusers' names.
        scale_shift: Whether the time scales and shifts the features, instead of only shifting.
        snr_shift: Shift of the log-SNR of the cosine schedule, with logit-normal times in training;
            None for Stable Diffusion's schedule with uniform times.
        prompts: Shares of the training prompts, in %: label and caption, label, caption, empty.
    """

    widths: tuple[int, ...]
    layers: int
    groups: int
    prediction: str
    scale_shift: bool = False
    snr_shift: float | None = None
    prompts: tuple[int, int, int, int] = (55, 18, 12, 15)


@dataclass(frozen=True)
class Preset:
    """A stack's sizes and budgets.

    Attributes:
        grid: Patches along a side, of the scorer, the captioner and the ViT.
        text: The diffusion model's text encoder.
        scorer: CLIP's image and text tower.
        shared: Dimensions that these two share.
        captioner: BLIP's image and text tower.
        judge: Channels of the card's independent classifier, level by level; None: lite0.
        training: Part -> how it learns.
    """

    grid: int
    vae: Vae | Patches
    unet: Unet
    text: Tower
    scorer: tuple[Tower, Tower]
    shared: int
    captioner: tuple[Tower, Tower]
    vit: Tower
    judge: tuple[int, ...] | None
    training: dict[str, Training]

    def scaled(self, share: float) -> "Preset":
        """Return the preset with a share of all steps, one at least; for trials."""
        scaled = {
            part: replace(training, steps=max(1, round(training.steps * share)))
            for part, training in self.training.items()
        }
        return replace(self, training=scaled)

    def with_lite0(self) -> "Preset":
        """Return the preset with ImageNet's EfficientNet-lite0 as judge."""
        return replace(self, judge=None, training=self.training | {"judge": LITE0_JUDGE})


LITE0_JUDGE = Training(1875, 64, 5e-4, 0.99, 0.05)  # 3 passes over 40,000 images
DIGITS = Preset(
    grid=4,
    vae=Vae((16, 32, 64), 1, channels=4, side=8),
    unet=Unet((56, 112), 1, 14, "epsilon"),
    text=Tower(96, 3),
    scorer=(Tower(96, 4), Tower(96, 3)),
    shared=64,
    captioner=(Tower(96, 4), Tower(96, 3)),
    vit=Tower(96, 4),
    judge=(32, 64, 96),
    training={
        "vae": Training(600, 48, 2e-3, 0.99),
        "diffusion": Training(4000, 64, 1e-3, 0.998),
        "scorer": Training(2800, 128, 1.5e-3, 0.995, 0.05),
        "captioner": Training(2000, 64, 1.5e-3, 0.995),
        "vit": Training(1500, 64, 1e-3, 0.99, 0.05),
        "judge": Training(540, 50, 3e-3, 0.99, 0.05),
    },
)
TINY = replace(
    DIGITS,
    grid=8,
    vae=Vae((24, 48, 64), 1, channels=8, side=8),
    unet=Unet((56, 112), 1, 14, "v_prediction"),
    judge=(48, 96, 192),
    training={
        "vae": Training(3000, 48, 2e-3, 0.998),
        "diffusion": Training(8500, 64, 1e-3, 0.999),
        "scorer": Training(3000, 128, 1.5e-3, 0.998, 0.05),
        "captioner": Training(2500, 64, 1.5e-3, 0.998),
        "vit": Training(2500, 64, 1e-3, 0.998, 0.05),
        "judge": Training(1500, 64, 3e-3, 0.99, 0.05),
    },
)
PATCH = replace(
    TINY,
    vae=Patches(channels=16, side=8),
    unet=Unet(
        (96, 176), 1, 16, "v_prediction", scale_shift=True, snr_shift=1.4, prompts=(60, 20, 10, 10)
    ),
    text=Tower(128, 3),
    training=TINY.training | {"diffusion": Training(4000, 128, 1e-3, 0.995, 0.001, ema_from=0.5)},
)
SMALL = Preset(
    grid=8,
    vae=Vae((56, 112), 2, channels=4, side=16),
    unet=Unet((80, 160), 2, 16, "v_prediction"),
    text=Tower(192, 4),
    scorer=(Tower(192, 6), Tower(192, 4)),
    shared=128,
    captioner=(Tower(192, 6), Tower(192, 4)),
    vit=Tower(192, 6),
    judge=(64, 128, 256, 512),
    training={
        "vae": Training(8000, 128, 5e-4, 0.999),
        "diffusion": Training(20000, 256, 4e-4, 0.9995),
        "scorer": Training(8000, 512, 1e-3, 0.999, 0.1),
        "captioner": Training(5000, 256, 1e-3, 0.999),
        "vit": Training(12000, 256, 1e-3, 0.999, 0.1),
        "judge": Training(5000, 256, 2e-3, 0.998, 0.05),
    },
)
PRESETS = {"tiny": TINY, "patch": PATCH, "small": SMALL}
IMAGE_SIZES = (32, 64)


def preset(size: str, strokes: bool) -> Preset:
    """Return the preset of a size.

    Args:
        size: One of `PRESETS`.
        strokes: Whether the images are the digits; their tiny one is `DIGITS`.

    Raises:
        UserError: There is no such size.
    """
    if size not in PRESETS:
        raise UserError(f"size: must be one of {', '.join(PRESETS)}, got {size!r}")
    return DIGITS if strokes and size == "tiny" else PRESETS[size]
