"""Florence-2 on a tiny folder in the hub's layout: captions are transformers' own."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import pre_tokenizers
from transformers import (
    BartTokenizer,
    CLIPImageProcessorPil,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
)

from sip.captions.florence2 import Florence2
from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.weights.memory import gibibytes
from tests.captions.images import captions_of, loaded, make_samples

LIMITS = {"min_new_tokens": 3, "max_new_tokens": 8}
NUM_PLACES = 17  # of an image: 4 x 4 patches, and their mean
BEAM = {"sampling": "beam", "top_p": None, "num_beams": 3, "num_captions": 3}
TEXT = {
    "d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_layers": 2,
    "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "max_position_embeddings": 128, "model_type": "bart",
}  # fmt: skip
VISION = {
    "depths": [1, 1], "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1],
    "patch_prenorm": [False, True], "embed_dim": [16, 32], "num_heads": [2, 4],
    "num_groups": [2, 4], "window_size": 2, "projection_dim": 32, "max_temporal_embeddings": 4,
    "max_position_embeddings": 8,
}  # fmt: skip


def tokenizer() -> BartTokenizer:
    """BART's kind: bytes, special tokens in front, and a place for the image at the end."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<mask>"])}
    return BartTokenizer(
        vocab=vocabulary, merges=[], extra_special_tokens={"image_token": "<image>"}
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A random Florence-2 whose words depend on the image."""
    folder = tmp_path_factory.mktemp("florence2")
    images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    images.image_seq_length = NUM_PLACES
    processor = Florence2Processor(images, tokenizer())
    words = len(processor.tokenizer)
    torch.manual_seed(0)
    network = Florence2ForConditionalGeneration(
        Florence2Config(
            text_config={**TEXT, "vocab_size": words},
            vision_config=VISION,
            image_token_id=processor.image_token_id,
        )
    )
    for weight in network.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    network.generation_config.update(  # as in the hub's folders
        num_beams=3, no_repeat_ngram_size=3, early_stopping=True, forced_bos_token_id=0,
        forced_eos_token_id=2, decoder_start_token_id=2, eos_token_id=2, bos_token_id=0,
        pad_token_id=1,
    )  # fmt: skip
    network.half().save_pretrained(folder)
    save_as_the_hub(processor, folder)
    return str(folder)


def save_as_the_hub(processor: Florence2Processor, folder: Path) -> None:
    """Save the parts in the files in which version 4 of transformers saved them."""
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    values = {"num_additional_image_tokens": 0, "processor_class": "Florence2Processor"}
    (folder / "processor_config.json").write_text(json.dumps(values))
    assert (folder / "preprocessor_config.json").is_file()


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    return make_samples(tmp_path_factory.mktemp("images"), [(40, 32), (32, 48), (64, 64), (32, 32)])


def florence2(model: str, **changed) -> Florence2:
    nucleus = {
        "model": model, "revision": None, "sampling": "nucleus", "top_p": 0.9, "num_beams": 1,
        "num_captions": 3, "min_tokens": 3, "max_tokens": 8, "seed": 0, "dtype": "float32",
        "task": "<CAPTION>",
    }  # fmt: skip
    return Florence2(**{**nucleus, **changed})


def stock(model: str, samples: list[Sample], task: str = "<CAPTION>", **options) -> list[list[str]]:
    """Return what transformers' own `generate` says of one image and one candidate at a time."""
    reference = Florence2ForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    processor = Florence2Processor.from_pretrained(model, backend="pil")
    rows = []
    for sample in samples:
        inputs = processor(images=Image.open(sample.path), text=task, return_tensors="pt")
        tokens = []
        for candidate in range(1 if options else 3):
            more = options or dict(florence2(model).options([sample]))
            if not options:
                sampler = more["logits_processor"][0]
                sampler.generators = sampler.generators[candidate : candidate + 1]
            tokens += reference.generate(**inputs, **{**LIMITS, **more})
        texts = processor.batch_decode(tokens, skip_special_tokens=True)
        rows.append(list(dict.fromkeys(text.strip() for text in texts)))
    return rows


@pytest.mark.parametrize("choice", [{}, BEAM], ids=["nucleus", "beam"])
def test_captions_do_not_depend_on_the_batch(model, samples, choice):
    captioner = loaded(florence2(model, **choice))
    one_by_one = captions_of(captioner, samples, batch=1)
    assert len({tuple(row) for row in one_by_one}) == len(samples)  # the image matters
    assert captions_of(captioner, samples, batch=3) == one_by_one
    assert captions_of(captioner, samples[::-1]) == one_by_one[::-1]


def test_each_candidate_of_each_image_has_a_seed_of_its_own(model, samples):
    captioner = florence2(model)
    (sampler,) = captioner.options(samples)["logits_processor"]
    seeds = [generator.initial_seed() for generator in sampler.generators]
    assert len(set(seeds)) == len(samples) * captioner.num_captions
    (again,) = captioner.options(samples[1:])["logits_processor"]
    assert [generator.initial_seed() for generator in again.generators] == seeds[3:]
    (moved,) = florence2(model, seed=1).options(samples)["logits_processor"]
    assert not {generator.initial_seed() for generator in moved.generators} & set(seeds)


def test_captions_equal_stock_generate(model, samples):
    assert captions_of(loaded(florence2(model)), samples) == stock(model, samples)
    greedy = stock(model, samples, do_sample=False, num_beams=1)
    assert captions_of(loaded(florence2(model, top_p=1e-6)), samples) == greedy
    beams = stock(model, samples, do_sample=False, num_beams=3, num_return_sequences=3)
    assert captions_of(loaded(florence2(model, **BEAM)), samples) == beams


def test_the_task_is_read_and_known_to_the_recipe(model, samples):
    detailed = florence2(model, top_p=1e-6, task="<MORE_DETAILED_CAPTION>")
    expected = stock(model, samples, task=detailed.task, do_sample=False, num_beams=1)
    assert captions_of(loaded(detailed), samples) == expected
    assert expected != stock(model, samples, do_sample=False, num_beams=1)
    assert detailed.recipe() != florence2(model, top_p=1e-6).recipe()
    with pytest.raises(UserError, match="task: must be one of <CAPTION>, .*, got '<OD>'"):
        florence2(model, task="<OD>")


def test_the_plan_counts_the_places_of_image_and_task(model):
    # Keys and values of 2 layers, 4 heads of 8 numbers in 4 bytes; 17 + 16 places, 8 new tokens.
    size = gibibytes(2 * 2 * 32 * 4 * 3 * 41)
    assert (
        florence2(model)
        .memory_line()
        .endswith(f"{size} for each image of a batch: keys and values of 3 x 41 tokens")
    )
    beams = florence2(model, **BEAM | {"num_beams": 5}).memory_line()
    assert beams.endswith("keys and values of 5 x 41 tokens")


def test_an_image_is_read_once_for_all_its_captions(model, samples):
    captioner, seen, read = loaded(florence2(model)), [], []
    network = captioner.network.model
    network.vision_tower.register_forward_hook(
        lambda module, args, output: seen.append(len(output.last_hidden_state))
    )
    network.language_model.encoder.register_forward_hook(
        lambda module, args, output: read.append(len(output.last_hidden_state))
    )
    captions_of(captioner, samples)
    assert seen == read == [len(samples)]


def test_half_types_write_captions(model, samples):
    captioner = loaded(florence2(model, dtype="bfloat16"))
    assert captioner.network.dtype == torch.bfloat16
    assert all(all(row) for row in captions_of(captioner, samples))
