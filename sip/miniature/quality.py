"""Measures the miniature models on pictures that none of them saw, and writes the model card.

The pictures are the parts `train` and `val`; `test` is not read. The judge of labels is a
convolutional network of its own, trained on `pretrain` and never used for anything else.
"""

import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionImg2ImgPipeline
from torch import Tensor, nn

from sip.common.progress import progress
from sip.miniature.attributes import ATTRIBUTES, DIGIT_NAMES, caption, claims, measure
from sip.miniature.pool import (
    LABEL_PROMPT,
    Pool,
    held_out,
    pretrain_pool,
    pretrain_thresholds,
    warp,
)

NOISE_RATES = (0.3, 0.5, 0.7, 0.9)
GUIDANCE_SCALES = (1.0, 3.0, 5.0, 7.0)
NUM_STEPS = 50
BATCH = 140  # pictures


def judge(seed: int = 1) -> nn.Sequential:
    """Train the independent judge of labels on the `pretrain` part, warped anew every epoch."""
    torch.manual_seed(seed)
    pool = pretrain_pool(0, seed)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 96, 3, 1, 1), nn.BatchNorm2d(96), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(384, 10),
    )  # fmt: skip
    epochs, batch_size = 30, 50
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    steps = epochs * (len(pool.labels) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    with progress("judge", steps, "step") as bar:
        for _ in range(epochs):
            grey = warp(pool.grey, generator)
            for rows in torch.randperm(len(grey), generator=generator).split(batch_size):
                loss = F.cross_entropy(model(grey[rows].unsqueeze(1)), pool.labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update(1)
    return model.eval()


@torch.no_grad()
def judged(model: nn.Module, grey: Tensor) -> Tensor:
    """Return the judge's labels (N,) of pictures (N, 32, 32)."""
    return model(grey.unsqueeze(1)).argmax(1)


def judge_quality(model: nn.Module, pool: Pool) -> dict:
    """Return the judge's own accuracy: an upper bound for what it can say of others."""
    return {"judge accuracy": share(judged(model, pool.grey) == pool.labels)}


def share(hits: Tensor) -> float:
    """Return the share of true values."""
    return round(hits.float().mean().item(), 4)


def captioner_quality(folder: Path, pool: Pool) -> dict:
    """Share of stated attributes that are right, and right within one level; a caption a picture.

    A constant or random captioner gets about 1/3 right.
    """
    from transformers import BlipForConditionalGeneration, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = BlipProcessor.from_pretrained(folder)
    torch.manual_seed(0)
    exact: list[bool] = []
    near: list[bool] = []
    parsed: list[bool] = []
    for rows in torch.arange(len(pool.labels)).split(70):
        with torch.no_grad():
            tokens = model.generate(
                pixel_values=pool.pixels(rows), do_sample=True, top_p=0.9, max_length=25
            )
        for row, text in zip(
            rows, processor.batch_decode(tokens, skip_special_tokens=True), strict=True
        ):
            said = claims(text)
            parsed.append(len(said) == 3)
            for attribute, level in said.items():
                error = abs(level - int(pool.levels[row, ATTRIBUTES.index(attribute)]))
                exact.append(error == 0)
                near.append(error <= 1)
    return {
        "captions with three attributes": share(torch.tensor(parsed)),
        "attributes right": share(torch.tensor(exact)),
        "attributes right within one level": share(torch.tensor(near)),
    }


def scorer_quality(folder: Path, pool: Pool) -> dict:
    """Zero-shot accuracy, and how often a true caption beats one with its attributes changed."""
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rng = random.Random(0)
    named = [LABEL_PROMPT.format(label=name) for name in DIGIT_NAMES]
    true = [caption(levels, rng) for levels in pool.levels]
    false = [caption((levels + 1 + rng.randrange(2)) % 3, rng) for levels in pool.levels]

    @torch.no_grad()
    def text_features(texts: list[str]) -> Tensor:
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
        return F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)

    with torch.no_grad():
        pixels = pool.pixels(torch.arange(len(pool.labels)))
        images = F.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
    zero_shot = (images @ text_features(named).T).argmax(1)
    of_true = (images * text_features(true)).sum(1)
    of_false = (images * text_features(false)).sum(1)
    low, high = torch.quantile(of_true, torch.tensor([0.05, 0.95])).tolist()
    return {
        "zero-shot digit accuracy": share(zero_shot == pool.labels),
        "true caption above false caption": share(of_true > of_false),
        "cosine of true captions, 5 % to 95 %": f"{low:.2f} to {high:.2f}",
    }


class Drawer:
    """Draws from held-out pictures with the stock pipeline, one guidance scale a call."""

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.pipe = StableDiffusionImg2ImgPipeline.from_pretrained(
            folder, dtype=torch.float32, safety_checker=None
        )
        self.pipe.set_progress_bar_config(disable=True)
        self.pool = pool

    def __call__(self, prompts: list[str], noise_rate: float, guidance: float) -> Tensor:
        """Return pictures (N, 32, 32), float32, in [0, 1], in grey."""
        drawn = []
        for rows in torch.arange(len(prompts)).split(BATCH):
            output = self.pipe(
                [prompts[row] for row in rows],
                image=(self.pool.pixels(rows) + 1) / 2,
                strength=noise_rate,
                guidance_scale=guidance,
                num_inference_steps=NUM_STEPS,
                generator=[torch.Generator().manual_seed(int(row)) for row in rows],
                output_type="pt",
            )
            drawn.append(output.images.mean(1))
        return torch.cat(drawn).clamp(0, 1)


def diffusion_quality(folder: Path, pool: Pool) -> dict:
    """Label keeping and distance by noise rate, and the effect of guidance and of another label."""
    drawer, model = Drawer(folder, pool), judge()
    features = nn.Sequential(*list(model)[:-2])
    rng = random.Random(0)
    own = [
        f"{LABEL_PROMPT.format(label=DIGIT_NAMES[label])}, {caption(levels, rng)}"
        for label, levels in zip(pool.labels, pool.levels, strict=True)
    ]
    other_labels = (pool.labels + torch.randint(1, 10, pool.labels.shape)) % 10
    other = [LABEL_PROMPT.format(label=DIGIT_NAMES[label]) for label in other_labels]
    report: dict = judge_quality(model, pool)
    with progress("quality", len(NOISE_RATES) + len(GUIDANCE_SCALES) + 2, "set") as bar, \
            torch.no_grad():  # fmt: skip
        embedded = features(pool.grey.unsqueeze(1))
        for rate in NOISE_RATES:
            drawn = drawer(own, rate, 5.0)
            report[f"noise rate {rate}: label kept"] = share(judged(model, drawn) == pool.labels)
            report[f"noise rate {rate}: pixel distance (RMS)"] = round(
                (drawn - pool.grey).pow(2).mean((1, 2)).sqrt().mean().item(), 4
            )
            report[f"noise rate {rate}: embedding distance (1 - cosine)"] = round(
                1 - F.cosine_similarity(features(drawn.unsqueeze(1)), embedded).mean().item(), 4
            )
            bar.update(1)
        for scale in GUIDANCE_SCALES:
            kept = judged(model, drawer(own, 0.9, scale)) == pool.labels
            report[f"noise rate 0.9, guidance scale {scale:g}: label kept"] = share(kept)
            bar.update(1)
        for rate in (0.5, 0.9):
            taken = judged(model, drawer(other, rate, 5.0)) == other_labels
            report[f"noise rate {rate}, another digit as prompt: digit taken over"] = share(taken)
            bar.update(1)
        thresholds = pretrain_thresholds()
        drawn = drawer(own, 0.9, 5.0)
        said = [claims(text) for text in own]
        got = thresholds.levels(measure(drawn))
        right = [
            int(got[n, ATTRIBUTES.index(a)]) == level
            for n, statement in enumerate(said)
            for a, level in statement.items()
        ]
        report["noise rate 0.9: stated attributes found in the drawn picture"] = share(
            torch.tensor(right)
        )
    return report


def write_card(folder: Path) -> str:
    """Measure everything, write `README.md` and `quality.json` beside the models."""
    pool = held_out()
    measured = {
        "captioner": captioner_quality(folder / "captioner", pool),
        "scorer": scorer_quality(folder / "scorer", pool),
        "diffusion": diffusion_quality(folder / "diffusion", pool),
    }
    reports = {
        file.name.split(".")[0]: json.loads(file.read_text())
        for file in sorted(folder.glob("*.report.json"))
    }
    (folder / "quality.json").write_text(json.dumps(measured, indent=2) + "\n")
    card = _card(measured, reports, folder, len(pool.labels))
    (folder / "README.md").write_text(card)
    return card


def _card(measured: dict, reports: dict, folder: Path, num: int) -> str:
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6
    lines = [
        "# The miniature models",
        "",
        "Made by `python -m sip.miniature.build` from the `pretrain` part of scikit-learn's digits",
        "(900 scans, 32 px, each also 11 times mildly warped); no other picture was seen. Weights",
        f"are fp16 safetensors in the hub's folder layout, {size:.1f} MB together. `diffusion/`,",
        "`captioner/` and `scorer/` load with the classes of Stable Diffusion, BLIP and CLIP;",
        "`vit/` and `clip_vit/` (the scorer's image tower) with timm's `local-dir:`.",
        "",
        "The data set does not name its writers, so a hand may occur in several parts.",
        "",
        "| part | steps | seconds | last training loss |",
        "|---|---|---|---|",
        *(
            f"| {part} | {r['steps']} | {r['seconds']} | {r['loss']:.4f} |"
            for part, r in reports.items()
        ),
        "",
        f"Measured on the {num} pictures of the parts `train` and `val`, which no model saw, with",
        "the stock diffusers pipeline (DDIM, 50 steps, guidance scale 5 where not stated), by",
        "`python -m sip.miniature.quality`. Labels are judged by a separate small convolutional",
        "network trained on `pretrain`.",
        "",
    ]
    for part, values in measured.items():
        lines += [f"**{part}**", "", "| measure | value |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in values.items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(write_card(Path(__file__).parent))
