"""The model card of a stack: what it was trained on, what it cost, how good it is."""

import json
import random
from typing import Any

import torch

from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.progress import progress, say
from sip.dataset.base import Split
from sip.device.settings import device
from sip.stack import generation, measures
from sip.stack.distances import (
    INCEPTION_FEATURE,
    feature_distances,
    has_inception,
    has_lite0,
    inception_distances,
    lite0_distances,
)
from sip.stack.folder import read_grammar
from sip.stack.judge import FILE, load_judge, network_of
from sip.stack.parts import NOT_OF_THE_STACK
from sip.stack.pool import Pool
from sip.stack.sources import choose, held_out, samples_of
from sip.stack.stack import Stack
from sip.weights.stacks import CARD

QUALITY, SHEET = "quality.json", "contact_sheet.png"
NUM_SAMPLES = {"cuda": 10_000, "cpu": 1_000}
NUM_SHOWN = 16  # originals of the contact sheet
HELD_OUT = 5  # held-out images: one for so many images from noise
LEAST = 2  # images that a distance needs
LEAST_OF_TRIAL = 50  # images from noise that `auto` means at any scale


def require_card(stack: Stack) -> None:
    """Check before the training that the stack can be measured after it.

    Raises:
        UserError: `num_samples` is wrong, or there are no images to judge on.
    """
    num_samples(stack.config.num_samples, device(stack.config.runtime.device))
    samples_of(stack.dataset, held_out(stack.dataset))


def write_card(stack: Stack) -> str:
    """Measure everything; write card, numbers and contact sheet next to the models.

    Raises:
        UserError: Parts are missing, or there are no images to judge on.
    """
    if missing := [part for part in stack.parts if not _there(stack, part)]:
        raise UserError(
            f"card: must be of a whole stack, got {stack.folder} without {', '.join(missing)}; "
            "build them with python -m sip.stack.build and the same settings"
        )
    stack.check()
    name = device(stack.config.runtime.device)
    num = num_samples(stack.config.num_samples, name, stack.config.scale)
    measured = measure(stack, num, name)
    text = json.dumps(measured, indent=2)
    write_atomically(stack.folder / QUALITY, text + "\n")
    text = card(stack, measured)
    write_atomically(stack.folder / CARD, text)
    return text


def num_samples(choice: Any, device_name: str, scale: float = 1.0) -> int:
    """Return how many images are generated from noise; `auto` means fewer for a trial.

    Raises:
        UserError: It is neither auto nor a number above 1.
    """
    if choice == "auto":
        most = NUM_SAMPLES[torch.device(device_name).type]
        return min(most, max(LEAST_OF_TRIAL, round(most * scale)))
    if type(choice) is not int or choice < LEAST:
        raise UserError(f"num_samples: must be auto, or a whole number >= {LEAST}, got {choice!r}")
    return choice


def measure(stack: Stack, num: int, device_name: str) -> dict[str, Any]:
    """Return part -> measure -> number."""
    folder = stack.folder
    pool = _chosen(stack, held_out(stack.dataset), max(LEAST, num // HELD_OUT))
    judge = None
    if stack.labelled:
        judge = load_judge(folder, stack.preset, pool.num_classes, device_name)
    scorer = measures.ScorerView(folder, device_name)
    judges = generation.Judges(scorer, judge)
    total = generation.num_generated(len(pool), NUM_SHOWN, judge is not None) + num
    say("card", f"generates {total:,} images to measure the stack; card=false leaves it out")
    with progress("card", total, "image") as bar:
        pipelines = generation.StockPipelines(folder, device_name, bar)
        generation.contact_sheet(pipelines, pool, NUM_SHOWN, folder / SHEET)
        measured = {
            "images": {
                "held out, of": " and ".join(held_out(stack.dataset)),
                "number": len(pool),
            },
            "autoencoder": measures.vae_quality(folder, pool, device_name),
            "captioner": measures.captioner_quality(folder, pool, device_name),
            "scorer": measures.scorer_quality(scorer, pool),
            "diffusion": generation.generation_quality(pipelines, pool, judges),
            "distribution": distribution(stack, pipelines, judges, num, device_name),
        }
    return {
        part: {name: None if value != value else value for name, value in values.items()}
        for part, values in measured.items()  # NaN, which JSON has not, is unlike itself
    }


def distribution(
    stack: Stack,
    pipelines: generation.StockPipelines,
    judges: generation.Judges,
    num: int,
    device_name: str,
) -> dict[str, Any]:
    """Return how far images from noise are from real ones that the stack did not see.

    The prompts are those of the real images, label and caption. The real images are of test, on
    which nothing is chosen here; of the held-out parts for the digits, whose test is read once a
    run, and if there is no test.
    """
    parts: tuple[Split, ...] = ("test",)
    if stack.is_digits or not stack.dataset.samples("test"):
        parts = held_out(stack.dataset)
    real = _chosen(stack, parts, num)
    pixels = real.pixels(torch.arange(len(real)))
    prompts = generation.prompts_of(real, random.Random(1))
    guidance = generation.FROM_NOISE_GUIDANCE
    generated = pipelines.from_noise(prompts, real.side, guidance)
    measured: dict[str, Any] = {
        "images generated from noise": len(generated),
        "guidance scale": guidance,
        "real images, of": " and ".join(parts),
    }
    if has_inception():
        measured |= inception_distances(pixels, generated, device_name, INCEPTION_FEATURE)
    measured |= feature_distances(judges.features(pixels), judges.features(generated))
    if has_lite0():
        measured |= lite0_distances(pixels, generated, device_name)
    if judges.judge is not None and real.texts.labels is not None:
        hits = judges.labels(generated) == real.texts.labels
        measured["class of the prompt seen by the judge"] = measures.share(hits)
    return measured


def _chosen(stack: Stack, parts: tuple[Split, ...], num: int) -> Pool:
    grammar = None if stack.config.caption_file is not None else read_grammar(stack.folder)
    size, seed = stack.config.image_size, stack.config.seed
    return choose(stack.dataset, parts, grammar, size, num, seed, stack.labelled)


def card(stack: Stack, measured: dict[str, dict[str, Any]]) -> str:
    """Return the card's text, in Markdown."""
    made_from, reports = stack.made_from, stack.reports()
    files = [file for file in stack.folder.rglob("*.safetensors") if file.name != FILE]
    size = sum(file.stat().st_size for file in files) / 1e6
    labels = "with their class names" if stack.labelled else "without class names"
    scaled = ""
    if (scale := stack.config.scale) != 1:
        scaled = f" Trained with `scale={scale:g}`, a share of the preset's steps: a trial."
    texts = "the user's own captions" if stack.config.caption_file else "measured captions"
    lines = [
        f"# A {made_from['size']} stack for {made_from['dataset']}, {made_from['image_size']} px",
        "",
        f"Made by `python -m sip.stack.build` from the part `{made_from['part']}`, "
        f"{made_from['images'].split()[0]} images {labels}, with {texts}; no other image was "
        f"seen.{scaled}",
        "",
        f"Weights are fp16 safetensors in the hub's folder layout, {size:.1f} MB together. "
        "`diffusion/`, `captioner/` and `scorer/` load with the classes of Stable Diffusion, BLIP "
        "and CLIP; `vit/` and `clip_vit/` (the scorer's image tower) with timm's `local-dir:`.",
        "",
        "| part | parameters | steps | seconds | device | last training loss |",
        "|---|---|---|---|---|---|",
    ]
    for part, row in reports.items():
        mark = " (of this card, not of the stack)" if part in NOT_OF_THE_STACK else ""
        numbers = f"{row['parameters']:,} | {row['steps']:,} | {row['seconds']:,.0f}"
        lines.append(f"| {part}{mark} | {numbers} | {row['device']} | {row['loss']:.4f} |")
    total = sum(row["seconds"] for part, row in reports.items() if part not in NOT_OF_THE_STACK)
    lines += [
        "",
        f"Together {total:,.0f} s. Measured by `python -m sip.stack.quality` with the stock "
        f"diffusers pipelines (DDIM, {generation.NUM_STEPS} steps, guidance scale "
        f"{generation.GUIDANCE:g} if not stated).{_of_the_judge(stack, measured)}",
        "",
        f"![The same originals over noise rate and guidance scale]({SHEET})",
        "",
    ]
    if not has_inception():
        lines += [
            "Inception's weights are not on this disk, so there is no FID and no KID: the "
            "distances below are of other features and cannot be compared with published ones.",
            "",
        ]
    for part, values in measured.items():
        lines += [f"**{part}**", "", "| measure | value |", "|---|---|"]
        lines += [
            f"| {name} | {'-' if value is None else value} |" for name, value in values.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _of_the_judge(stack: Stack, measured: dict[str, dict[str, Any]]) -> str:
    """Return what judges labels, and how often it is right on real images."""
    if not stack.labelled:
        return ""
    networks = {
        "scratch": "a separate convolutional network that learnt from the same images",
        "lite0": "ImageNet's EfficientNet-lite0, fine-tuned on the same images",
    }
    accuracy = measured["diffusion"][generation.JUDGE_ACCURACY]
    return (
        f" Labels are judged by {networks[network_of(stack.preset)]}. It is right on "
        f"{accuracy:.1%} of the held-out originals: the ceiling of *label kept* for images that "
        "change nothing a classifier sees."
    )


def _there(stack: Stack, part: str) -> bool:
    if part == "judge":
        return stack.has_judge and (stack.folder / FILE).exists()
    return part in stack.reports()
