"""Operations and GPU-hours of the paper at full size: `python experiments/paper/cost.py`.

Operations are counted by torch on the models' own forward passes, with weights that take no memory
(`meta`), so that it needs neither a GPU nor a download. Hours follow from a sustained rate that is
an assumption, TFLOPS, until it is measured: `python -m sip.benchmark` on the GPU.
"""

from collections.abc import Callable

import timm
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from sip.benchmark.full_size import UNET, VAE

TFLOPS = 250.0  # sustained in bfloat16: a quarter of an H200's 989 dense
LATENTS = (1, 4, 64, 64)  # of 512 px
STEPS, GUIDANCE = 50, 2  # scheduler steps; forward passes a step with guidance
TRAINING = 3  # forward, and backward at twice its operations
SEEDS = 5
ARMS = 8  # none, RandAugment, CutMix, MoEx, SIP, and SIP with each of the three
RATES = (0.3, 0.5, 0.7)
WAYS = 2  # of sampling captions
TRAIN = {  # official training images; Caltech101: ours
    "cifar10": 50_000,
    "cifar100": 50_000,
    "caltech101": 3_000,
    "stanford_cars": 8_144,
    "flowers102": 1_020,
    "oxford_pets": 3_680,
    "dtd": 3_760,
}
STEPS_OF_64 = {"resnet50": 20_000, "vit": 4_000, "clip_vit": 4_000}  # profile=paper
NAMES = {
    "resnet50": "resnet50",
    "vit": "vit_base_patch16_224",
    "clip_vit": "vit_base_patch32_clip_224",
}


def operations(call: Callable[[], object]) -> float:
    """Return the floating-point operations of a call, in units of 10^12."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() / 1e12


def main() -> None:
    """Count and print."""
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
        text = torch.zeros(1, 77, 768)
        step = operations(lambda: unet(torch.zeros(LATENTS), torch.zeros(()), text))
        image = torch.zeros(1, 3, 512, 512)
        ends = operations(lambda: vae.decode(vae.encode(image).latent_dist.mode()))
        nets = {
            name: operations(
                lambda name=name: timm.create_model(NAMES[name])(image[..., :224, :224])
            )
            for name in NAMES
        }
    print(f"one U-Net pass {step:.3f}, autoencoder there and back {ends:.2f} TFLOP")
    images = sum(TRAIN.values())
    hours = 1 / (TFLOPS * 3600)
    total = 0.0
    for rate in RATES:
        each = STEPS * rate * GUIDANCE * step + ends
        spent = images * WAYS * each * hours
        total += spent
        print(
            f"generation at noise rate {rate}, both ways of sampling: {each:.1f} TFLOP an image, "
            f"{images * WAYS:,} images, {spent:.0f} GPU-h"
        )
    for name, forward in nets.items():
        runs = len(TRAIN) * ARMS * SEEDS
        seen = STEPS_OF_64[name] * 64
        spent = runs * seen * forward * TRAINING * hours
        total += spent
        print(
            f"training {name}: {forward * 1000:.1f} GFLOP a forward pass, {runs} runs of {seen:,} "
            f"images, {spent:.0f} GPU-h"
        )
    print(f"together about {total:.0f} GPU-h at {TFLOPS:g} TFLOP/s")


if __name__ == "__main__":
    main()
