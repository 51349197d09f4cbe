"""The CLIP of a stack: how well a sentence fits an image.

Trained as CLIP is, with two differences, both ours: a text counts as true of every image in the
batch that it fits (class and attributes), since few sentences are unique here; and the mean cosine
of true pairs is held near 0.3, CLIP's own range, so that the paper's guidance rule meets
similarities as it does at full size.
"""

import random

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from sip.stack.fit import fit
from sip.stack.pool import Pool
from sip.stack.sizes import DIGITS, Preset
from sip.stack.texts import SILENT
from sip.stack.tokenizers import clip_tokenizer
from sip.stack.work import Work

LOGIT_SCALE = 2.6592  # ln 14.3, where CLIP's training starts
MAX_LOGIT_SCALE = 4.6052  # ln 100, where it ends
MEAN_COSINE = 0.3
SHIFTED = 0.5  # share of the pool's shift: what captions say of borders stays about true


def processor(tokenizer: CLIPTokenizer, image_size: int = 32) -> CLIPProcessor:
    """Return CLIP's processor, with images scaled to [-1, 1]."""
    size = {"height": image_size, "width": image_size}
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": image_size}, crop_size=size, image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )  # fmt: skip
    return CLIPProcessor(image_processor, tokenizer)


def scorer(tokenizer: CLIPTokenizer, preset: Preset = DIGITS, image_size: int = 32) -> CLIPModel:
    """Return an untrained CLIP."""
    sizes = [
        {
            "hidden_size": tower.width,
            "intermediate_size": 4 * tower.width,
            "num_attention_heads": tower.heads,
            "num_hidden_layers": tower.layers,
            "hidden_act": "gelu",
        }
        for tower in preset.scorer
    ]
    return CLIPModel(
        CLIPConfig(
            text_config={
                **sizes[1],
                "vocab_size": len(tokenizer),
                "max_position_embeddings": tokenizer.model_max_length,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
            vision_config={
                **sizes[0], "image_size": image_size, "patch_size": image_size // preset.grid,
            },
            projection_dim=preset.shared,
            logit_scale_init_value=LOGIT_SCALE,
        )
    )  # fmt: skip


def truth(meanings: Tensor, facts: Tensor) -> Tensor:
    """Return which statements (T, F) are true of which images' facts (B, F): (T, B), float32."""
    silent = meanings[:, None] == SILENT
    return (silent | (meanings[:, None] == facts[None])).all(-1).float()


def train_scorer(
    pool: Pool, preset: Preset, seed: int, work: Work
) -> tuple[CLIPModel, CLIPProcessor, dict]:
    """Train the scorer on statements that are sampled again at every step."""
    torch.manual_seed(seed)
    texts = pool.texts
    tokenizer = clip_tokenizer(texts.vocabulary(), texts.length)
    model = scorer(tokenizer, preset, pool.side)
    torch.nn.init.normal_(model.text_model.get_input_embeddings().weight, std=0.5)
    model = model.to(work.device)
    work.compiled(model.vision_model)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        sources = pool.sources(rows)
        statements = [texts.statement(row, rng) for row in sources]
        model.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)
        meanings = torch.tensor([meaning for _, meaning in statements])
        true = truth(meanings, texts.facts[sources]).to(work.device)
        tokens = tokenizer(
            [text for text, _ in statements], padding=True, truncation=True, return_tensors="pt"
        ).to(work.device)
        output = model(**tokens, pixel_values=pool.pixels(rows, SHIFTED))
        logits = output.logits_per_text.float()
        by_text = -(F.log_softmax(logits, 1) * true / true.sum(1, keepdim=True)).sum(1).mean()
        by_image = -(F.log_softmax(logits, 0) * true / true.sum(0, keepdim=True)).sum(0).mean()
        mean_cosine = logits.diagonal().mean() / model.logit_scale.exp()
        return (by_text + by_image) / 2 + 20 * (mean_cosine - MEAN_COSINE) ** 2

    report = fit(
        "scorer", model, loss, len(pool), training=preset.training["scorer"], seed=seed, work=work
    )
    return model, processor(tokenizer, pool.side), report
