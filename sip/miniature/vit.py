"""Small pre-trained vision transformers for the embedded profile, in timm's own hub layout.

`vit` is trained on the labels of the `pretrain` part (as the paper's ViT on ImageNet-21k);
`clip_vit` is the miniature scorer's own image tower under timm's names (as its CLIP-ViT).
"""

import random
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel

from sip.miniature.fit import fit
from sip.miniature.pool import IMAGE_SIZE, Pool

VIT_ARGS = {
    "img_size": IMAGE_SIZE, "patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 4,
}  # fmt: skip


def train_vit(pool: Pool, steps: int, seed: int, checkpoint: Path) -> tuple[nn.Module, dict]:
    """Train a ViT of 4 layers and width 96 on the digit labels."""
    torch.manual_seed(seed)
    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=10, drop_path_rate=0.1, **VIT_ARGS
    )

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        return F.cross_entropy(model(pool.pixels(rows)), pool.labels[rows], label_smoothing=0.1)

    last = fit(
        "vit", model, loss, len(pool.labels), steps=steps, batch_size=64, lr=1e-3, seed=seed,
        ema_decay=0.99, checkpoint=checkpoint, weight_decay=0.05,
    )  # fmt: skip
    return model, {"steps": steps, "loss": last}


def image_tower(scorer: CLIPModel) -> nn.Module:
    """Return the scorer's image tower as a timm model with the same features."""
    model = timm.create_model(
        "vit_base_patch32_clip_224",
        num_classes=0,
        **{**VIT_ARGS, "num_heads": scorer.config.vision_config.num_attention_heads},
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
    for layer in range(scorer.config.vision_config.num_hidden_layers):
        for kind in ("weight", "bias"):
            parts = [
                source[f"encoder.layers.{layer}.self_attn.{p}_proj.{kind}"] for p in ("q", "k", "v")
            ]
            target[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
    model.load_state_dict(target)
    return model.eval()
