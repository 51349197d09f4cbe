"""Makes the miniature models from the `pretrain` part: `python -m sip.miniature.build`.

Two chains run side by side, one processor core each: autoencoder, then diffusion; and scorer,
captioner, ViT. A part whose folder is there is found, not made again (`--again` makes it again).
At the end the models are judged on pictures that none of them saw, and the card is written.
"""

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from sip.common.checksums import NAME, checksums
from sip.miniature.pool import pretrain_pool

HERE = Path(__file__).parent
SEED = 0
NUM_COPIES = 11  # warped copies of each pretrain picture
STEPS = {"vae": 600, "diffusion": 4000, "scorer": 2800, "captioner": 2000, "vit": 1500}
CHAINS = (("vae", "diffusion"), ("scorer", "captioner", "vit"))


def make_vae(folder: Path, steps: int) -> dict:
    """Train the autoencoder and save it in the diffusion folder."""
    from sip.miniature.vae import train_vae

    vae, report = train_vae(pretrain_pool(NUM_COPIES, SEED), steps, SEED, folder / "vae.ckpt")
    vae.half().save_pretrained(folder / "diffusion" / "vae")
    return report


def make_diffusion(folder: Path, steps: int) -> dict:
    """Train text encoder and U-Net and save the whole pipeline."""
    from diffusers import AutoencoderKL

    from sip.miniature.diffusion import train_diffusion
    from sip.miniature.tokenizers import clip_tokenizer

    vae = AutoencoderKL.from_pretrained(folder / "diffusion" / "vae", dtype=torch.float32)
    vae.register_to_config(_name_or_path="")  # else the folder's path would be saved
    pool = pretrain_pool(NUM_COPIES, SEED)
    pipeline, report = train_diffusion(
        vae.eval(), clip_tokenizer(), pool, steps, SEED, folder / "diffusion.ckpt"
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder / "diffusion")
    return report


def make_scorer(folder: Path, steps: int) -> dict:
    """Train the scorer; save it, and its image tower as a backbone."""
    import timm

    from sip.miniature.scorer import train_scorer
    from sip.miniature.tokenizers import clip_tokenizer
    from sip.miniature.vit import VIT_ARGS, image_tower

    pool = pretrain_pool(NUM_COPIES, SEED)
    model, processor, report = train_scorer(
        pool, clip_tokenizer(), steps, SEED, folder / "scorer.ckpt"
    )
    model.half().save_pretrained(folder / "scorer")
    processor.save_pretrained(folder / "scorer")
    tower = image_tower(model.float()).half()
    timm.models.save_for_hf(
        tower, folder / "clip_vit", model_args=VIT_ARGS, safe_serialization=True
    )
    return report


def make_captioner(folder: Path, steps: int) -> dict:
    """Train the captioner and save it."""
    from sip.miniature.captioner import train_captioner

    model, processor, report = train_captioner(
        pretrain_pool(NUM_COPIES, SEED), steps, SEED, folder / "captioner.ckpt"
    )
    model.half().save_pretrained(folder / "captioner")
    processor.save_pretrained(folder / "captioner")
    return report


def make_vit(folder: Path, steps: int) -> dict:
    """Train the ViT and save it."""
    import timm

    from sip.miniature.vit import VIT_ARGS, train_vit

    model, report = train_vit(pretrain_pool(NUM_COPIES, SEED), steps, SEED, folder / "vit.ckpt")
    timm.models.save_for_hf(
        model.half(), folder / "vit", model_args=VIT_ARGS, safe_serialization=True
    )
    return report


def make_chain(parts: tuple[str, ...], folder: Path, scale: float, threads: int) -> dict:
    """Make the parts of one chain in turn; return part -> report."""
    torch.set_num_threads(threads)
    makers = {
        "vae": make_vae, "diffusion": make_diffusion, "scorer": make_scorer,
        "captioner": make_captioner, "vit": make_vit,
    }  # fmt: skip
    reports = {}
    for part in parts:
        started = time.monotonic()
        report = makers[part](folder, max(1, round(STEPS[part] * scale)))
        reports[part] = {**report, "seconds": round(time.monotonic() - started)}
        (folder / f"{part}.report.json").write_text(json.dumps(reports[part]))
    return reports


def main() -> None:
    """Make what is missing, judge it, write the card."""
    parser = argparse.ArgumentParser(prog="python -m sip.miniature.build", description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE, help="where the models go")
    parser.add_argument("--again", nargs="*", default=[], choices=[*STEPS, "all"])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the steps; for trials")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    again = set(STEPS) if "all" in args.again else set(args.again)
    missing = {p for p in STEPS if p in again or not (args.folder / f"{p}.report.json").exists()}
    if "vae" in missing:
        missing.add("diffusion")
    for part in sorted(set(STEPS) - missing):
        print(f"{part}: found in {args.folder}")
    chains = [tuple(p for p in chain if p in missing) for chain in CHAINS]
    chains = [chain for chain in chains if chain]
    threads = max(1, multiprocessing.cpu_count() // max(1, len(chains)))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(make_chain, c, args.folder, args.scale, threads) for c in chains]
        for job in jobs:
            for part, report in job.result().items():
                print(f"{part}: {report}")
    (args.folder / NAME).write_text(checksums(args.folder))
    from sip.miniature.quality import write_card

    print(write_card(args.folder))


if __name__ == "__main__":
    main()
