"""The miniature CLIP: how well a sentence fits a scan.

Trained as CLIP is, with two differences, both ours: a text counts as true of every picture in the
batch that it fits (digit and attributes), since few sentences are unique here; and the mean cosine
of true pairs is held near 0.3, CLIP's own range, so that the paper's guidance rule meets
similarities as it does at full size.
"""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from sip.miniature.attributes import ATTRIBUTES, DIGIT_NAMES, caption, claims
from sip.miniature.fit import fit
from sip.miniature.pool import IMAGE_SIZE, LABEL_PROMPT, Pool
from sip.miniature.tokenizers import CLIP_LENGTH

WIDTH = 96
LOGIT_SCALE = 2.6592  # ln 14.3, where CLIP's training starts
MAX_LOGIT_SCALE = 4.6052  # ln 100, where it ends
MEAN_COSINE = 0.3


def processor(tokenizer: CLIPTokenizer) -> CLIPProcessor:
    """Return CLIP's processor for 32 px pictures, scaled to [-1, 1]."""
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size=size, image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )  # fmt: skip
    return CLIPProcessor(image_processor, tokenizer)


def scorer(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return an untrained CLIP: 4 vision and 3 text layers of width 96, 64 shared dimensions."""
    size = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4}
    return CLIPModel(
        CLIPConfig(
            text_config={
                **size,
                "num_hidden_layers": 3,
                "vocab_size": len(tokenizer),
                "max_position_embeddings": CLIP_LENGTH,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
                "hidden_act": "gelu",
            },
            vision_config={
                **size, "num_hidden_layers": 4, "image_size": IMAGE_SIZE, "patch_size": 8,
                "hidden_act": "gelu",
            },
            projection_dim=64,
            logit_scale_init_value=LOGIT_SCALE,
        )
    )  # fmt: skip


def _statement(label: int, levels: Tensor, rng: random.Random) -> tuple[str, Tensor]:
    """Return a text and what it says: (digit or -1, level or -1 for each attribute), (5,)."""
    named, said = LABEL_PROMPT.format(label=DIGIT_NAMES[label]), caption(levels, rng)
    kind = rng.choices(("both", "label", "caption"), weights=(40, 20, 40))[0]
    levels_said = claims(said) if kind != "label" else {}
    meaning = [label if kind != "caption" else -1, *(levels_said.get(a, -1) for a in ATTRIBUTES)]
    text = {"both": f"{named}, {said}", "label": named, "caption": said}[kind]
    return text, torch.tensor(meaning)


def train_scorer(
    pool: Pool, tokenizer: CLIPTokenizer, steps: int, seed: int, checkpoint: Path
) -> tuple[CLIPModel, CLIPProcessor, dict]:
    """Train the scorer on sentences drawn anew from the grammar at every step."""
    torch.manual_seed(seed)
    model = scorer(tokenizer)
    torch.nn.init.normal_(model.text_model.get_input_embeddings().weight, std=0.5)
    facts = torch.cat([pool.labels[:, None], pool.levels], dim=1)  # (N, 5)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        said = [_statement(int(pool.labels[r]), pool.levels[r], rng) for r in rows.tolist()]
        model.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)
        meanings = torch.stack([meaning for _, meaning in said])
        silent = meanings[:, None] == -1
        true = (silent | (meanings[:, None] == facts[rows][None])).all(-1).float()  # (text, image)
        tokens = tokenizer([text for text, _ in said], padding=True, return_tensors="pt")
        output = model(**tokens, pixel_values=pool.pixels(rows))
        logits = output.logits_per_text
        by_text = -(F.log_softmax(logits, 1) * true / true.sum(1, keepdim=True)).sum(1).mean()
        by_image = -(F.log_softmax(logits, 0) * true / true.sum(0, keepdim=True)).sum(0).mean()
        mean_cosine = logits.diagonal().mean() / model.logit_scale.exp()
        return (by_text + by_image) / 2 + 20 * (mean_cosine - MEAN_COSINE) ** 2

    last = fit(
        "scorer", model, loss, len(pool.labels), steps=steps, batch_size=128, lr=1.5e-3, seed=seed,
        ema_decay=0.995, checkpoint=checkpoint, weight_decay=0.05,
    )  # fmt: skip
    return model, processor(tokenizer), {"steps": steps, "loss": last}
