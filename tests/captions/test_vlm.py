"""Chat models on tiny folders in the hub's layout: captions are transformers' own."""

import shutil
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from sip.captions.vlm import ChatModel, collate
from sip.core.errors import UserError
from sip.dataset.base import Sample
from tests.captions.images import captions_of, loaded, make_samples

INSTRUCTION = "Say it."
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {**SIZE, "num_attention_heads": 4}
BEAM = {"sampling": "beam", "top_p": None, "num_beams": 3, "num_captions": 3}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(special: list[str], **named: str) -> PreTrainedTokenizerFast:
    """Qwen's kind: bytes, then special tokens; padding is on the right, as the hub's."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named,
        padding_side="right",
    )


def text_config(words: PreTrainedTokenizerFast) -> dict:
    return {**HEADS, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(words),
            "max_position_embeddings": 512}  # fmt: skip


def save_qwen(
    folder: str, network: Any, config: Any, processor: Any, video: Any, vision: dict[str, Any]
) -> None:
    """Save a vision model of the Qwen family, by its classes and what its own vision has."""
    special = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    words = tokenizer(special)
    size = {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}
    parts = processor(
        Qwen2VLImageProcessor(patch_size=8, merge_size=2, size=size),
        words,
        video(patch_size=8, merge_size=2),
        TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    names = "vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id"
    settings = config(
        text_config={**text_config(words), "rope_parameters": rope},
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4,
            "patch_size": 8, "out_hidden_size": 32, **vision,
        },
        **dict(zip(names, words.convert_tokens_to_ids(special), strict=True)),
    )  # fmt: skip
    save(network(settings), parts, folder)


def qwen(folder: str) -> None:
    """Qwen3-VL: the number of tokens follows the size of the image."""
    save_qwen(
        folder,
        Qwen3VLForConditionalGeneration,
        Qwen3VLConfig,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
        {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
    )


def qwen2_5(folder: str) -> None:
    """Qwen2.5-VL: attention in windows, another grid of positions."""
    save_qwen(
        folder,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLConfig,
        Qwen2_5_VLProcessor,
        Qwen2VLVideoProcessor,
        {"window_size": 32, "fullatt_block_indexes": [1]},
    )


def internvl(folder: str) -> None:
    """InternVL: tiles of one size."""
    special = ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    words = tokenizer(
        special, start_image_token="<img>", end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>", video_token="<video>",
    )  # fmt: skip
    square = {"height": 32, "width": 32}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=square, crop_to_patches=True, max_patches=3),
        words,
        InternVLVideoProcessor(size=square),
        image_seq_length=4,
        chat_template=TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>\n"),
    )
    network = InternVLForConditionalGeneration(
        InternVLConfig(
            text_config={**text_config(words), "model_type": "qwen2"},
            vision_config={**HEADS, "image_size": [32, 32], "patch_size": [8, 8]},
            image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
            image_seq_length=4,
        )
    )
    save(network, processor, folder)


def smolvlm(folder: str) -> None:
    """SmolVLM: an image is cut into tiles and seen whole too."""
    pytest.importorskip("num2words")
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
    words = tokenizer([*special, *(f"<row_{r}_col_{c}>" for r in (1, 2, 3) for c in (1, 2, 3))])
    images = SmolVLMImageProcessor(
        size={"longest_edge": 96}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    template = TEMPLATE.replace("IMAGE", "<image>")
    processor = SmolVLMProcessor(
        images, words, SmolVLMVideoProcessor(), image_seq_len=4, chat_template=template
    )
    network = SmolVLMForConditionalGeneration(
        SmolVLMConfig(
            text_config={**text_config(words), "model_type": "llama", "pad_token_id": 0},
            vision_config={**HEADS, "image_size": 32, "patch_size": 8},
            image_token_id=words.convert_tokens_to_ids("<image>"),
            scale_factor=2,
        )
    )
    save(network, processor, folder)


def gemma3(folder: str) -> None:
    """Gemma 3: images of one size; tokens of an image see each other in both directions."""
    special = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    words = tokenizer(
        special, boi_token="<start_of_image>", eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )  # fmt: skip
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        words,
        chat_template=TEMPLATE.replace("IMAGE", "<start_of_image>"),
        image_seq_length=4,
    )
    start, end, image = words.convert_tokens_to_ids(special)
    network = Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config={**text_config(words), "sliding_window": 64},
            vision_config={**HEADS, "image_size": 32, "patch_size": 8},
            mm_tokens_per_image=4,
            boi_token_index=start,
            eoi_token_index=end,
            image_token_id=image,
        )
    )
    save(network, processor, folder)


def save(network, processor, folder: str) -> None:
    """Save a random model whose words depend on the image, and whose folder asks for sampling."""
    torch.manual_seed(0)
    for weight in network.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    ends = processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>", "a"])
    network.generation_config.update(
        eos_token_id=ends, pad_token_id=ends[1], do_sample=True, top_k=1, temperature=0.1,
        repetition_penalty=1.5,
    )  # fmt: skip
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(scope="module", params=[qwen, internvl, qwen2_5, smolvlm, gemma3])
def model(request, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("vlm"))
    request.param(folder)
    return folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    sizes = [(64, 32), (32, 32), (96, 64), (32, 96), (48, 48)]
    return make_samples(tmp_path_factory.mktemp("images"), sizes)


def vlm(model: str, **changed) -> ChatModel:
    nucleus = {
        "model": model, "revision": None, "sampling": "nucleus", "top_p": 0.9, "num_beams": 1,
        "num_captions": 3, "min_tokens": 2, "max_tokens": 8, "seed": 0, "dtype": "float32",
        "instruction": INSTRUCTION, "max_side": 80,
    }  # fmt: skip
    return ChatModel(**{**nucleus, **changed})


def stock(model: str, samples: list[Sample], **options) -> list[list[str]]:
    """Return what transformers' own `generate` says of one image and one candidate at a time."""
    reference = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(model)
    neutral = {"repetition_penalty": 1.0, "min_new_tokens": 2, "max_new_tokens": 8}
    rows = []
    for sample in samples:
        with Image.open(sample.path) as file:
            image = file.convert("RGB")
        if max(image.size) > 80:
            image = image.resize([round(side * 80 / max(image.size)) for side in image.size])
        content = [{"type": "image", "image": image}, {"type": "text", "text": INSTRUCTION}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True,
            return_dict=True, return_tensors="pt",
        )  # fmt: skip
        tokens = []
        for candidate in range(1 if options else 3):
            more = options or _one_of(dict(vlm(model).options([sample])), candidate)
            out = reference.generate(**inputs, **{**neutral, **more})
            tokens += out[:, inputs["input_ids"].shape[1] :]
        texts = processor.batch_decode(tokens, skip_special_tokens=True)
        rows.append(list(dict.fromkeys(" ".join(text.split()) for text in texts)))
    return rows


def _one_of(options: dict, candidate: int) -> dict:
    """Return the options with the random numbers of one candidate."""
    sampler = options["logits_processor"][0]
    sampler.generators = sampler.generators[candidate : candidate + 1]
    return options


@pytest.mark.parametrize("choice", [{}, BEAM], ids=["nucleus", "beam"])
def test_captions_do_not_depend_on_the_batch(model, samples, choice):
    captioner = loaded(vlm(model, **choice))
    one_by_one = captions_of(captioner, samples, batch=1)
    assert len({tuple(row) for row in one_by_one}) > 1
    assert captions_of(captioner, samples, batch=3) == one_by_one
    assert captions_of(captioner, samples[::-1]) == one_by_one[::-1]


def test_captions_equal_stock_generate(model, samples):
    assert captions_of(loaded(vlm(model)), samples) == stock(model, samples)
    greedy = stock(model, samples, do_sample=False, num_beams=1)
    assert captions_of(loaded(vlm(model, top_p=1e-6)), samples) == greedy
    beams = stock(model, samples, do_sample=False, num_beams=3, num_return_sequences=3)
    assert captions_of(loaded(vlm(model, **BEAM)), samples) == beams


def test_the_instruction_is_read_and_known_to_the_recipe(model, samples):
    other = vlm(model, instruction="Which colours?")
    assert captions_of(loaded(other), samples) != captions_of(loaded(vlm(model)), samples)
    assert other.recipe() != vlm(model).recipe()


def test_tokens_are_padded_on_the_left_and_all_else_at_its_end():
    def row(length: int, tiles: int) -> dict:
        return {
            "input_ids": torch.ones(1, length, dtype=torch.long),
            "attention_mask": torch.ones(1, length, dtype=torch.long),
            "pixel_values": torch.ones(1, tiles, 2),
        }

    batch = collate([row(2, 3), row(4, 1)], pad=9)
    assert batch["input_ids"].tolist() == [[9, 9, 1, 1], [1, 1, 1, 1]]
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert batch["pixel_values"][:, :, 0].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_other_models_are_refused(model, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="must be a chat model, got one without a chat template"):
        vlm(str(folder)).require()
    (folder / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(UserError, match="must be an image-to-text model .*'resnet'"):
        vlm(str(folder)).require()
    with pytest.raises(UserError, match="instruction"):
        vlm(model, instruction=" ")
    monkeypatch.setattr("sip.captions.vlm.find_spec", lambda name: None)
    (folder / "config.json").write_text('{"model_type": "smolvlm"}')
    with pytest.raises(UserError, match=r"needs the package num2words, .*; pip install .*smolvlm"):
        vlm(str(folder)).require()
