"""Tiny transformers with flow matching, saved in the hub's layout by diffusers itself."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImageEditPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from sip.stack.tokenizers import clip_tokenizer
from tests.images.models import WIDTH, autoencoder, loud_text, small_clip, t5_tokenizer

ROPE = (4, 6, 6)  # parts of a head of 16
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VISION = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
LANGUAGE = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}


def flow_scheduler(**changes) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**changes)


def flux_autoencoder():
    return autoencoder(latent_channels=8, shift_factor=0.1, use_quant_conv=False)


def qwen_tokenizer(*vision: str) -> Qwen2Tokenizer:
    """Return one that reads bytes, with the chat tokens, and with those of images if named."""
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *vision]
    letters = sorted(bytes_to_unicode().values())
    vocabulary = {token: number for number, token in enumerate([*letters, *marks])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], chat_template=CHAT)
    tokenizer.add_special_tokens({"additional_special_tokens": marks[1:]})
    return tokenizer


def t5_encoder(width: int) -> T5EncoderModel:
    config = {"d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=len(t5_tokenizer()), d_model=width, **config))


def save_z_image(folder: Path) -> Path:
    torch.manual_seed(3)
    tokenizer = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=8,
        dim=WIDTH,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=ROPE,
        axes_lens=(256, 16, 16),
    )
    with torch.no_grad():  # they are zeros, which hides what is padded
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    ZImagePipeline(
        transformer=loud_text(transformer, ("cap_embedder", "all_final_layer")),
        vae=flux_autoencoder(),
        scheduler=flow_scheduler(shift=3.0),
        tokenizer=tokenizer,
        text_encoder=Qwen3Model(Qwen3Config(vocab_size=len(tokenizer), **LANGUAGE)),
    ).save_pretrained(folder)
    return folder


def save_flux(folder: Path, reads_guidance: bool, pipeline_class=FluxPipeline) -> Path:
    """Save a FLUX.1-dev, or a schnell, or of another class with the same parts."""
    torch.manual_seed(4)
    tokenizer = clip_tokenizer()
    transformer = FluxTransformer2DModel(
        in_channels=4 * 8,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=reads_guidance,
        axes_dims_rope=ROPE,
    )
    loud = ("context_embedder", "text_embedder", "guidance_embedder", "proj_out")
    pipeline_class(
        transformer=loud_text(transformer, loud),
        vae=flux_autoencoder(),
        scheduler=flow_scheduler(shift=3.0 if reads_guidance else 1.0,
                                 use_dynamic_shifting=reads_guidance),
        tokenizer=tokenizer,
        text_encoder=small_clip(CLIPTextModel, tokenizer),
        tokenizer_2=t5_tokenizer(),
        text_encoder_2=t5_encoder(WIDTH),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_chroma(folder: Path) -> Path:
    """Save a Chroma."""
    torch.manual_seed(5)
    transformer = ChromaTransformer2DModel(
        in_channels=4 * 8,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=ROPE,
        approximator_num_channels=16,
        approximator_hidden_dim=32,
        approximator_layers=1,
    )
    ChromaPipeline(
        transformer=loud_text(transformer, ("context_embedder", "proj_out")),
        vae=flux_autoencoder(),
        scheduler=flow_scheduler(shift=3.0, use_dynamic_shifting=True),
        tokenizer=t5_tokenizer(),
        text_encoder=t5_encoder(WIDTH),
    ).save_pretrained(folder)
    return folder


def save_klein(folder: Path) -> Path:
    """Save a FLUX.2-klein that is not distilled."""
    torch.manual_seed(6)
    tokenizer = qwen_tokenizer()
    layers = LANGUAGE | {"num_hidden_layers": 28}  # it reads the states of 9, 18 and 27
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    )
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(8)
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    Flux2KleinPipeline(
        transformer=loud_text(transformer, ("context_embedder", "proj_out")),
        vae=vae,
        scheduler=flow_scheduler(use_dynamic_shifting=True),
        tokenizer=tokenizer,
        text_encoder=Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **layers)),
    ).save_pretrained(folder)
    return folder


def save_qwen_image(folder: Path, edits: bool = False) -> Path:
    """Save a Qwen-Image, or a Qwen-Image-Edit, whose text encoder sees the original too."""
    torch.manual_seed(5)
    tokenizer = qwen_tokenizer(*(VISION if edits else ()))
    language = LANGUAGE | {"vocab_size": len(tokenizer), "max_position_embeddings": 2048}
    language["rope_scaling"] = {"type": "default", "mrope_section": [2, 3, 3]}
    del language["head_dim"]
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    vision["out_hidden_size"] = WIDTH
    ids = tokenizer.convert_tokens_to_ids(VISION) if edits else ()
    names = ("vision_start_token_id", "image_token_id", "vision_end_token_id", "video_token_id")
    config = Qwen2_5_VLConfig(
        text_config=language, vision_config=vision, **dict(zip(names, ids, strict=False))
    )
    encoder = Qwen2_5_VLForConditionalGeneration(config)
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.2, 0.8, 1.0, 0.9],
    )
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(8)
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=ROPE,
    )
    more = {}
    if edits:
        parts = Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor()
        more["processor"] = Qwen2VLProcessor(*parts)
    (QwenImageEditPipeline if edits else QwenImagePipeline)(
        transformer=loud_text(transformer, ("txt_in", "proj_out")),
        vae=vae,
        scheduler=flow_scheduler(
            use_dynamic_shifting=True, shift_terminal=0.02, time_shift_type="exponential"
        ),
        tokenizer=tokenizer,
        text_encoder=encoder,
        **more,
    ).save_pretrained(folder)
    return folder
