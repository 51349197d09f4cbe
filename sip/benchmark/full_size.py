"""Stable Diffusion v1.5 in full size with random weights, as a folder in the hub's layout.

It tests the loading code and measures speed and memory without the trained weights.
Source of the sizes: the configuration files of stable-diffusion-v1-5/stable-diffusion-v1-5. The
tokenizer is the miniature's, cut to CLIP's length; its ids lie in the encoder's vocabulary.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from sip.images.loading import quiet
from sip.stack.tokenizers import clip_tokenizer

LENGTH = 77  # tokens

UNET: dict[str, Any] = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
VAE: dict[str, Any] = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": LENGTH,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
SCHEDULER: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def build_sd15(folder: Path, dtype: str) -> None:
    """Write the model; 4.3 GB in float32, half of it in the 16-bit types.

    Args:
        folder: Created if missing.
        dtype: Type of the weights on the disk, a torch type by name.
    """
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    tokenizer.model_max_length = LENGTH
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos")}
    with quiet(), default_dtype(getattr(torch, dtype)):
        # One part after the other: the memory of the largest is enough.
        UNet2DConditionModel(**UNET).save_pretrained(folder / "unet")
        AutoencoderKL(**VAE).save_pretrained(folder / "vae")
        text = CLIPTextModel(CLIPTextConfig(**TEXT, **ids, pad_token_id=tokenizer.pad_token_id))
        text.save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    for name, content in (
        ("scheduler/scheduler_config.json", SCHEDULER),
        ("model_index.json", INDEX),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def default_dtype(kind: torch.dtype) -> Iterator[None]:
    """Create new weights in this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
