"""BLIP-2 on a tiny folder in the hub's layout: captions are transformers' own."""

import json
import shutil

import pytest
import torch
from PIL import Image
from tokenizers import pre_tokenizers
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessorPil,
    GPT2Tokenizer,
)

from sip.captions.blip2 import Blip2
from sip.core.errors import UserError
from sip.dataset.base import Sample
from tests.captions.images import captions_of, loaded, make_samples

MIN_TOKENS, MAX_TOKENS, NUM_QUERIES = 3, 8, 6
LIMITS = {"min_new_tokens": MIN_TOKENS, "max_new_tokens": MAX_TOKENS}
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {**SIZE, "num_attention_heads": 4}
BEAM = {"sampling": "beam", "top_p": None, "num_beams": 3, "num_captions": 3}


def tokenizer() -> GPT2Tokenizer:
    """OPT's kind: bytes, a few special tokens in front."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    return GPT2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=[],
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
        model_max_length=64,
    )


def text_config(vocabulary: int, end: int) -> dict:
    return {
        "model_type": "opt",
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "bos_token_id": 2,
        "eos_token_id": end,
        "pad_token_id": 1,
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A random BLIP-2 in shards, as the hub's, whose words depend on the image."""
    folder = tmp_path_factory.mktemp("blip2")
    processor = Blip2Processor(
        BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer(), NUM_QUERIES
    )
    vocabulary = len(processor.tokenizer)
    end = processor.tokenizer.convert_tokens_to_ids("Ċ")  # a line feed ends, as in the hub's OPT
    torch.manual_seed(0)
    blip2 = Blip2ForConditionalGeneration(
        Blip2Config(
            vision_config={**HEADS, "image_size": 32, "patch_size": 8},
            qformer_config={**HEADS, "vocab_size": 40, "encoder_hidden_size": 32},
            text_config=text_config(vocabulary, end),
            num_query_tokens=NUM_QUERIES,
            image_token_index=vocabulary - 1,
        )
    )
    for weight in blip2.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    blip2.half().save_pretrained(folder, max_shard_size="100KB")
    processor.save_pretrained(folder)
    assert (folder / "model.safetensors.index.json").is_file()
    return str(folder)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    return make_samples(tmp_path_factory.mktemp("images"))


def blip2(model: str, **changed) -> Blip2:
    nucleus = {
        "model": model, "revision": None, "sampling": "nucleus", "top_p": 0.9, "num_beams": 1,
        "num_captions": 4, "min_tokens": MIN_TOKENS, "max_tokens": MAX_TOKENS, "seed": 0,
        "dtype": "float32",
    }  # fmt: skip
    return Blip2(**{**nucleus, **changed})


@pytest.mark.parametrize("choice", [{}, BEAM], ids=["nucleus", "beam"])
def test_captions_do_not_depend_on_the_batch(model, samples, choice):
    captioner = loaded(blip2(model, **choice))
    one_by_one = captions_of(captioner, samples, batch=1)
    assert len({tuple(row) for row in one_by_one}) > 1
    assert captions_of(captioner, samples, batch=4) == one_by_one
    assert captions_of(captioner, samples[::-1]) == one_by_one[::-1]


def stock(model: str, samples: list[Sample], **options) -> list[list[str]]:
    """Return what transformers' own `generate` says of one image at a time."""
    reference = Blip2ForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    processor = Blip2Processor.from_pretrained(model, backend="pil")
    rows = []
    for sample in samples:
        inputs = processor(images=Image.open(sample.path), return_tensors="pt")
        pixels = inputs.pixel_values
        if not options.get("num_return_sequences"):
            pixels = pixels.repeat_interleave(blip2(model).num_captions, dim=0)
        more = dict(blip2(model).options([sample])) if not options else {}
        tokens = reference.generate(pixels, **{**LIMITS, **more, **options})
        texts = processor.batch_decode(tokens, skip_special_tokens=True)
        rows.append(list(dict.fromkeys(text.strip() for text in texts)))
    return rows


def test_beams_equal_stock_generate(model, samples):
    captioner = loaded(blip2(model, **BEAM))
    expected = stock(model, samples, num_beams=3, num_return_sequences=3)
    assert captions_of(captioner, samples) == expected
    assert any(len(row) > 1 for row in expected)


def test_a_nucleus_of_one_token_equals_stock_greedy(model, samples):
    captioner = loaded(blip2(model, top_p=1e-6))
    expected = stock(model, samples, do_sample=False, num_beams=1)
    assert captions_of(captioner, samples) == expected


def test_samples_equal_stock_generate_with_the_same_samples(model, samples):
    captioner = loaded(blip2(model))
    expected = stock(model, samples)
    assert captions_of(captioner, samples) == expected
    assert captions_of(loaded(blip2(model, seed=1)), samples) != expected


def test_the_image_is_seen_and_read_once(model, samples):
    captioner, seen, read = loaded(blip2(model)), [], []
    captioner.network.vision_model.register_forward_hook(
        lambda module, args, output: seen.append(len(output.last_hidden_state))
    )
    captioner.network.language_model.model.decoder.layers[0].register_forward_hook(
        lambda module, args, output: read.append(output[0].shape[-2])
    )
    captions_of(captioner, samples)
    assert seen == [len(samples)]
    assert read[0] == NUM_QUERIES and set(read[1:]) == {1}


def test_half_types_write_captions(model, samples):
    captioner = loaded(blip2(model, dtype="bfloat16"))
    assert captioner.network.dtype == torch.bfloat16
    assert len(captions_of(captioner, samples)) == len(samples)
    # In fp16 transformers keeps the Q-Former in fp32.
    assert len(captions_of(loaded(blip2(model, dtype="float16")), samples)) == len(samples)


def test_recipe_and_refusals(model):
    recipe = blip2(model).recipe()
    assert recipe["class"] == "sip.captions.blip2.Blip2"
    assert blip2(model, seed=1).recipe() != recipe
    with pytest.raises(UserError, match="sampling: must be one of"):
        blip2(model, sampling="greedy")


def test_other_language_models_are_refused(tmp_path):
    t5 = {"model_type": "t5", "vocab_size": 300, "d_model": 32, "d_kv": 8, "d_ff": 64,
          "num_layers": 1, "num_heads": 4}  # fmt: skip
    Blip2ForConditionalGeneration(
        Blip2Config(
            vision_config={**HEADS, "image_size": 32, "patch_size": 8},
            qformer_config={**HEADS, "vocab_size": 40, "encoder_hidden_size": 32},
            text_config=t5,
            num_query_tokens=NUM_QUERIES,
            image_token_index=299,
        )
    ).save_pretrained(tmp_path)
    Blip2Processor(BlipImageProcessorPil(), tokenizer(), NUM_QUERIES).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="model: must be a BLIP-2 whose .* got 't5'; use"):
        loaded(blip2(str(tmp_path)))


def test_a_missing_shard_is_named_before_any_work(model, tmp_path):
    folder = tmp_path / "blip2"
    shutil.copytree(model, folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shard = sorted(set(index["weight_map"].values()))[-1]
    (folder / shard).unlink()
    with pytest.raises(UserError, match=f"expected {shard}, which model.safetensors.index.json"):
        blip2(str(folder)).require()
