"""The BLIP of a stack: captions in the words of the pool."""

import random

import torch
from torch import Tensor
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
)

from sip.stack.fit import fit
from sip.stack.pool import Pool
from sip.stack.sizes import DIGITS, Preset
from sip.stack.tokenizers import bert_tokenizer
from sip.stack.work import Work

SHIFTED = 0.5  # share of the pool's shift: what captions say of borders stays about true


def processor(tokenizer: BertTokenizer | None = None, image_size: int = 32) -> BlipProcessor:
    """Return BLIP's processor, with images scaled to [-1, 1]; the digits' tokenizer if None."""
    image_processor = BlipImageProcessorPil(
        size={"height": image_size, "width": image_size}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return BlipProcessor(image_processor, tokenizer or bert_tokenizer())


def captioner(
    tokenizer: BertTokenizer, preset: Preset = DIGITS, image_size: int = 32
) -> BlipForConditionalGeneration:
    """Return an untrained BLIP."""
    vision, text = preset.captioner
    return BlipForConditionalGeneration(
        BlipConfig(
            text_config={
                "num_hidden_layers": text.layers,
                "num_attention_heads": text.heads,
                "intermediate_size": 4 * text.width,
                "vocab_size": len(tokenizer),
                "hidden_size": text.width,
                "encoder_hidden_size": vision.width,
                "max_position_embeddings": tokenizer.model_max_length,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.sep_token_id,
                "sep_token_id": tokenizer.sep_token_id,
                "pad_token_id": tokenizer.pad_token_id,
                "label_smoothing": 0.0,
            },
            vision_config={
                "num_hidden_layers": vision.layers,
                "num_attention_heads": vision.heads,
                "intermediate_size": 4 * vision.width,
                "hidden_size": vision.width,
                "image_size": image_size,
                "patch_size": image_size // preset.grid,
                "hidden_act": "gelu",
            },
            projection_dim=vision.width,
            image_text_hidden_size=vision.width,
        )
    )


def train_captioner(
    pool: Pool, preset: Preset, seed: int, work: Work
) -> tuple[BlipForConditionalGeneration, BlipProcessor, dict]:
    """Train the captioner on captions that are sampled again at every step."""
    torch.manual_seed(seed)
    texts = pool.texts
    tokenizer = bert_tokenizer(texts.vocabulary(), texts.length)
    model = captioner(tokenizer, preset, pool.side).to(work.device)
    work.compiled(model.vision_model)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        captions = [texts.caption(row, rng)[0] for row in pool.sources(rows)]
        tokens = tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
        tokens.input_ids[:, 0] = tokenizer.bos_token_id  # BLIP's decoder starts with [DEC]
        targets = tokens.input_ids.masked_fill(tokens.attention_mask == 0, -100)
        tokens = tokens.to(work.device)
        output: Tensor = model(
            pixel_values=pool.pixels(rows, SHIFTED),
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            labels=targets.to(work.device),
        ).loss
        return output

    report = fit(
        "captioner", model, loss, len(pool), training=preset.training["captioner"], seed=seed,
        work=work,
    )  # fmt: skip
    return model, processor(tokenizer, pool.side), report
