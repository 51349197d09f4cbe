"""The miniature BLIP: says in the grammar's words what a scan looks like."""

import random
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
)

from sip.miniature.attributes import caption
from sip.miniature.fit import fit
from sip.miniature.pool import IMAGE_SIZE, Pool
from sip.miniature.tokenizers import CLIP_LENGTH, bert_tokenizer

WIDTH = 96


def processor() -> BlipProcessor:
    """Return BLIP's processor for 32 px pictures, scaled to [-1, 1]."""
    image_processor = BlipImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return BlipProcessor(image_processor, bert_tokenizer())


def captioner(tokenizer: BertTokenizer) -> BlipForConditionalGeneration:
    """Return an untrained BLIP: 4 vision and 3 text layers of width 96."""
    heads = {"num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 4 * WIDTH}
    return BlipForConditionalGeneration(
        BlipConfig(
            text_config={
                **heads,
                "num_hidden_layers": 3,
                "vocab_size": len(tokenizer),
                "hidden_size": WIDTH,
                "encoder_hidden_size": WIDTH,
                "max_position_embeddings": CLIP_LENGTH,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.sep_token_id,
                "sep_token_id": tokenizer.sep_token_id,
                "pad_token_id": tokenizer.pad_token_id,
                "label_smoothing": 0.0,
            },
            vision_config={
                **heads, "hidden_size": WIDTH, "image_size": IMAGE_SIZE, "patch_size": 8,
                "hidden_act": "gelu",
            },
            projection_dim=WIDTH,
            image_text_hidden_size=WIDTH,
        )
    )  # fmt: skip


def train_captioner(
    pool: Pool, steps: int, seed: int, checkpoint: Path
) -> tuple[BlipForConditionalGeneration, BlipProcessor, dict]:
    """Train the captioner on sentences drawn anew from the grammar at every step."""
    torch.manual_seed(seed)
    blip_processor = processor()
    tokenizer = blip_processor.tokenizer
    model = captioner(tokenizer)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        texts = [caption(pool.levels[row], rng) for row in rows.tolist()]
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
        tokens.input_ids[:, 0] = tokenizer.bos_token_id  # BLIP's decoder starts with [DEC]
        targets = tokens.input_ids.masked_fill(tokens.attention_mask == 0, -100)
        return model(
            pixel_values=pool.pixels(rows),
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            labels=targets,
        ).loss

    last = fit(
        "captioner", model, loss, len(pool.labels), steps=steps, batch_size=64, lr=1.5e-3,
        seed=seed, ema_decay=0.995, checkpoint=checkpoint,
    )  # fmt: skip
    return model, blip_processor, {"steps": steps, "loss": last}
