"""The parts of a stack: how each is trained and where it is saved, in the hub's layouts, fp16."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sip.stack.pool import Pool
from sip.stack.sizes import Preset
from sip.stack.work import Work

Report = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What all parts of a stack are trained on."""

    pool: Pool
    preset: Preset
    seed: int
    work: Work


def make_vae(task: Task) -> Report:
    """Train the autoencoder and save it in the diffusion folder."""
    from sip.stack.vae import train_vae

    model, report = train_vae(task.pool, task.preset, task.seed, task.work)
    model.cpu().half().save_pretrained(task.work.folder / "diffusion" / "vae")
    return report


def make_diffusion(task: Task) -> Report:
    """Train text encoder and U-Net and save the whole pipeline."""
    from sip.images.loading import quiet
    from sip.stack.diffusion import train_diffusion
    from sip.stack.vae import LATENTS, load_vae

    folder = task.work.folder / "diffusion"
    vae = load_vae(folder / "vae")
    pipeline, report = train_diffusion(vae, task.pool, task.preset, task.seed, task.work)
    with quiet():  # float16 is for the disk: nothing is run in it here
        pipeline.to("cpu", torch.float16)
    pipeline.save_pretrained(folder)
    (task.work.folder / LATENTS).unlink(missing_ok=True)
    return report


def make_scorer(task: Task) -> Report:
    """Train the scorer; save it, and its image tower as a backbone."""
    import timm

    from sip.stack.scorer import train_scorer
    from sip.stack.vit import image_tower, vit_args

    preset, folder = task.preset, task.work.folder
    model, processor, report = train_scorer(task.pool, preset, task.seed, task.work)
    model.cpu().half().save_pretrained(folder / "scorer")
    processor.save_pretrained(folder / "scorer")
    timm.models.save_for_hf(
        image_tower(model.float(), preset).half(),
        folder / "clip_vit",
        model_args=vit_args(preset.scorer[0], preset, task.pool.side),
        safe_serialization=True,
    )
    return report


def make_captioner(task: Task) -> Report:
    """Train the captioner and save it."""
    from sip.stack.captioner import train_captioner

    model, processor, report = train_captioner(task.pool, task.preset, task.seed, task.work)
    model.cpu().half().save_pretrained(task.work.folder / "captioner")
    processor.save_pretrained(task.work.folder / "captioner")
    return report


def make_vit(task: Task) -> Report:
    """Train the ViT and save it."""
    import timm

    from sip.stack.vit import train_vit, vit_args

    model, report = train_vit(task.pool, task.preset, task.seed, task.work)
    timm.models.save_for_hf(
        model.cpu().half(),
        task.work.folder / "vit",
        model_args=vit_args(task.preset.vit, task.preset, task.pool.side),
        safe_serialization=True,
    )
    return report


def make_judge(task: Task) -> Report:
    """Train the card's judge and save it."""
    from sip.stack.judge import save_judge, train_judge

    model, report = train_judge(task.pool, task.preset, task.seed, task.work)
    save_judge(model.cpu(), task.work.folder)
    return report


MAKERS: dict[str, Callable[[Task], Report]] = {
    "vae": make_vae,
    "diffusion": make_diffusion,
    "scorer": make_scorer,
    "captioner": make_captioner,
    "vit": make_vit,
    "judge": make_judge,
}
CHAINS = (("vae", "diffusion"), ("scorer", "captioner", "vit", "judge"))  # side by side on a CPU
LABELLED = ("vit", "judge")  # trained only if the pool's classes are known
NOT_OF_THE_STACK = ("judge",)
