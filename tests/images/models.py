"""Tiny models with random weights, saved in the hub's layout by diffusers itself."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from sip.stack.diffusion import scheduler, text_encoder, unet
from sip.stack.tokenizers import CLIP_LENGTH, clip_tokenizer

SIZE = 32
WIDTH = 32  # of the encoders here


def autoencoder(**changes) -> AutoencoderKL:
    values = {
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (16, 32, 64),
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 8,
        "sample_size": SIZE,
        "scaling_factor": 0.7,
    }
    vae = AutoencoderKL(**(values | changes))
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(8)  # else all images are nearly grey
    return vae


def loud_text(denoiser, names=("attn2.to_",)):
    """Make the text matter, which it hardly does with random weights."""
    with torch.no_grad():
        for name, weight in denoiser.named_parameters():
            if any(part in name for part in names):
                weight.mul_(3)
    return denoiser


def save_sd(folder: Path, noise=None, denoiser=None, checker=None) -> Path:
    """Save a Stable Diffusion 1.x or 2.x."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    encoder = text_encoder(tokenizer)
    pipeline = StableDiffusionPipeline(
        text_encoder=encoder,
        unet=loud_text(denoiser or unet()),
        vae=autoencoder(),
        tokenizer=tokenizer,
        scheduler=noise or scheduler(),
        safety_checker=checker,
        feature_extractor=checker and CLIPImageProcessor(size=32, crop_size=32),
        requires_safety_checker=checker is not None,
    )
    pipeline.save_pretrained(folder)
    return folder


def v_prediction() -> DDIMScheduler:
    """Return Stable Diffusion 2.1's noise schedule."""
    return DDIMScheduler.from_config(scheduler().config, prediction_type="v_prediction")


def distilled_unet() -> UNet2DConditionModel:
    """Return a U-Net that reads the guidance scale, as in Latent Consistency Models."""
    return UNet2DConditionModel.from_config(dict(unet().config), time_cond_proj_dim=16)


def inpainting_unet() -> UNet2DConditionModel:
    """Return a U-Net that reads a mask and the latents of what stays."""
    return UNet2DConditionModel.from_config(dict(unet().config), in_channels=9)


def safety_checker(threshold: float) -> StableDiffusionSafetyChecker:
    """Return a checker that flags what has a cosine above `threshold` with a concept."""
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    vision = small | {"num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    text = small | {"num_attention_heads": 2, "vocab_size": 10}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    checker = StableDiffusionSafetyChecker(config)
    with torch.no_grad():
        checker.concept_embeds.normal_()
        checker.concept_embeds_weights.fill_(threshold)
        checker.special_care_embeds_weights.fill_(2.0)  # no cosine is above it
    return checker


def small_clip(model_class, tokenizer, pad_token: str | None = None):
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        projection_dim=WIDTH,
        max_position_embeddings=CLIP_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = model_class(config)
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.5)
    return model


def second_tokenizer():
    """Return CLIP's tokenizer with SDXL's second one's padding."""
    tokenizer = clip_tokenizer()
    tokenizer.pad_token = "!"
    return tokenizer


def save_sdxl(folder: Path, zeros_for_empty: bool = True, in_channels: int = 4) -> Path:
    """Save a Stable Diffusion XL."""
    torch.manual_seed(1)
    first, second = clip_tokenizer(), second_tokenizer()
    denoiser = UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        cross_attention_dim=2 * WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        transformer_layers_per_block=(1, 2),
    )
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder(force_upcast=True),
        text_encoder=small_clip(CLIPTextModel, first),
        text_encoder_2=small_clip(CLIPTextModelWithProjection, second),
        tokenizer=first,
        tokenizer_2=second,
        unet=loud_text(denoiser, ("attn2.to_", "add_embedding")),
        scheduler=scheduler(),
        force_zeros_for_empty_prompt=zeros_for_empty,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def t5_tokenizer() -> T5TokenizerFast:
    words = ["a", "photo", "of", "three", "seven", "nine", "bold", "lines", "thin", "strokes"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz,()"]
    pieces += [(f"▁{word}", -1.0) for word in words]
    return T5TokenizerFast(vocab=pieces, extra_ids=0)


def save_sd3(folder: Path, with_t5: bool = True, dynamic_shift: bool = False, **changes) -> Path:
    """Save a Stable Diffusion 3; with the changes to its transformer, a 3.5."""
    torch.manual_seed(2)
    tokenizers = clip_tokenizer(), second_tokenizer()
    t5 = None
    if with_t5:
        t5 = T5EncoderModel(
            T5Config(
                vocab_size=len(t5_tokenizer()),
                d_model=4 * WIDTH,
                d_kv=16,
                d_ff=64,
                num_layers=2,
                num_heads=2,
            )
        )
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=8,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=4 * WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        out_channels=8,
        pos_embed_max_size=16,
        **changes,
    )
    pipeline = StableDiffusion3Pipeline(
        transformer=loud_text(transformer, ("context_embedder", "time_text_embed", "proj_out")),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=dynamic_shift),
        vae=autoencoder(latent_channels=8, shift_factor=0.1, use_quant_conv=False),
        text_encoder=small_clip(CLIPTextModelWithProjection, tokenizers[0]),
        tokenizer=tokenizers[0],
        text_encoder_2=small_clip(CLIPTextModelWithProjection, tokenizers[1]),
        tokenizer_2=tokenizers[1],
        text_encoder_3=t5,
        tokenizer_3=t5_tokenizer() if with_t5 else None,
    )
    pipeline.save_pretrained(folder)
    return folder
