"""Small pre-trained vision transformers of a stack, in timm's own hub layout.

`vit` is trained on the labels of the pool (as the paper's ViT on ImageNet-21k); `clip_vit` is the
scorer's own image tower under timm's names (as its CLIP-ViT).
"""

import random
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel

from sip.stack.fit import fit
from sip.stack.pool import Pool
from sip.stack.sizes import Preset, Tower
from sip.stack.work import Work


def vit_args(tower: Tower, preset: Preset, image_size: int) -> dict[str, Any]:
    """Return timm's arguments of a vision transformer."""
    return {
        "img_size": image_size,
        "patch_size": image_size // preset.grid,
        "embed_dim": tower.width,
        "depth": tower.layers,
        "num_heads": tower.heads,
    }


def train_vit(pool: Pool, preset: Preset, seed: int, work: Work) -> tuple[nn.Module, dict]:
    """Train a ViT on the labels of the pool."""
    torch.manual_seed(seed)
    model = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=pool.num_classes,
        drop_path_rate=0.1,
        **vit_args(preset.vit, preset, pool.side),
    ).to(work.device)
    work.compiled(model)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        logits = model(pool.pixels(rows, shifted=1.0)).float()
        return F.cross_entropy(logits, pool.labels(rows), label_smoothing=0.1)

    report = fit(
        "vit", model, loss, len(pool), training=preset.training["vit"], seed=seed, work=work
    )
    return model, report


def image_tower(scorer: CLIPModel, preset: Preset) -> nn.Module:
    """Return the scorer's image tower as a timm model with the same features."""
    vision = scorer.config.vision_config
    model = timm.create_model(
        "vit_base_patch32_clip_224",
        num_classes=0,
        **vit_args(preset.scorer[0], preset, vision.image_size),
    )
    source = scorer.vision_model.state_dict()
    target = {
        "cls_token": source["embeddings.class_embedding"].view(1, 1, -1),
        "patch_embed.proj.weight": source["embeddings.patch_embedding.weight"],
        "pos_embed": source["embeddings.position_embedding.weight"].unsqueeze(0),
    }
    renamed = {
        "pre_layrnorm": "norm_pre", "post_layernorm": "norm", "layer_norm1": "norm1",
        "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj", "encoder.layers": "blocks",
    }  # fmt: skip
    for name, value in source.items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        if name.startswith(("blocks", "norm")) and "_proj" not in name:
            target[name] = value
    for layer in range(vision.num_hidden_layers):
        for kind in ("weight", "bias"):
            parts = [
                source[f"encoder.layers.{layer}.self_attn.{p}_proj.{kind}"] for p in ("q", "k", "v")
            ]
            target[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
    model.load_state_dict(target)
    return model.eval()
