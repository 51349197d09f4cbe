"""BLIP: an image's captions are its own, nucleus and beams are transformers' own."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

from sip.captions.blip import Blip
from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.dataset.base import Sample
from sip.device.batches import reader
from tests.captions.images import captions_of, loaded, make_samples

MIN_TOKENS, MAX_TOKENS = 3, 8


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A random miniature BLIP whose next token depends on the image and on the token before."""
    from sip.stack.captioner import captioner, processor

    folder, blip_processor = tmp_path_factory.mktemp("captioner"), processor()
    torch.manual_seed(0)
    blip = captioner(blip_processor.tokenizer)
    for name, weight in blip.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.15)
        if "crossattention.output.dense.weight" in name:
            torch.nn.init.normal_(weight, std=1.0)
    blip.half().save_pretrained(folder)
    blip_processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    return make_samples(tmp_path_factory.mktemp("images"))


def blip(model: str, **changed) -> Blip:
    nucleus = {
        "model": model, "revision": None, "sampling": "nucleus", "top_p": 0.9, "num_beams": 1,
        "num_captions": 4, "min_tokens": MIN_TOKENS, "max_tokens": MAX_TOKENS, "seed": 0,
        "dtype": "float32",
    }  # fmt: skip
    return Blip(**{**nucleus, **changed})


BEAM = {"sampling": "beam", "top_p": None, "num_beams": 3, "num_captions": 3}


@pytest.mark.parametrize("choice", [{}, BEAM], ids=["nucleus", "beam"])
def test_captions_do_not_depend_on_the_batch(model, samples, choice):
    captioner = loaded(blip(model, **choice))
    one_by_one = captions_of(captioner, samples, batch=1)
    assert len({tuple(row) for row in one_by_one}) == len(samples)  # the image matters
    assert captions_of(captioner, samples) == one_by_one
    assert captions_of(captioner, samples, batch=4) == one_by_one
    assert captions_of(captioner, samples[::-1], batch=3) == one_by_one[::-1]
    assert captions_of(captioner, []) == []


def test_the_global_random_state_plays_no_part(model, samples):
    captioner = loaded(blip(model))
    torch.manual_seed(1)
    first, state = captions_of(captioner, samples[:2]), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # and none of it is used up
    torch.manual_seed(2)
    assert captions_of(captioner, samples[:2]) == first


def test_seed_and_candidate_matter(model, samples):
    first = captions_of(loaded(blip(model)), samples)
    assert captions_of(loaded(blip(model, seed=1)), samples) != first
    assert all(len(row) > 1 for row in first)
    assert all(len(set(row)) == len(row) for row in first)
    fewer = captions_of(loaded(blip(model, num_captions=2)), samples)
    assert all(row[: len(few)] == few for row, few in zip(first, fewer, strict=True))


def test_candidates_are_without_repetitions(model, samples):
    greedy = loaded(blip(model, top_p=1e-6))  # every sample is the likeliest token
    assert [len(row) for row in captions_of(greedy, samples)] == [1] * len(samples)


def test_images_are_prepared_in_threads(model, samples):
    captioner = loaded(blip(model))
    loaded_images = [read_rgb(sample.path, None) for sample in samples]
    processor = BlipProcessor.from_pretrained(model, backend="pil")
    expected = processor(images=loaded_images, return_tensors="pt").pixel_values
    with ThreadPoolExecutor(8) as pool:
        for prepared in pool.map(captioner.prepare, [loaded_images] * 40):
            assert torch.equal(prepared, expected)


def test_the_vision_model_runs_once_a_image(model, samples):
    captioner, seen = loaded(blip(model)), []
    captioner.network.vision_model.register_forward_hook(
        lambda module, args, output: seen.append(len(output.last_hidden_state))
    )
    first = captioner.network.text_decoder.bert.encoder.layer[0].crossattention.self.key
    keys = []
    first.register_forward_hook(lambda module, args, output: keys.append(len(output)))
    captions_of(captioner, samples)
    assert seen == keys == [len(samples)]  # and so do the keys of its patches


def test_a_component_loads_a_new_module_each_time_and_keeps_none(model, samples):
    captioner = blip(model)
    first, second = loaded(captioner), loaded(captioner)
    assert first.network is not second.network
    gone = weakref.ref(first.network)
    expected = captions_of(first, samples[:1])
    del first
    gc.collect()
    assert gone() is None
    assert captions_of(second, samples[:1]) == expected


def test_an_unreadable_image_costs_only_its_own_row(model, samples, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    module = loaded(blip(model))
    bad = replace(samples[1], sample_id="bad", path=str(tmp_path / "bad.png"))
    some = [samples[0], bad, samples[2]]
    expected = captions_of(module, [samples[0], samples[2]])
    read = reader(lambda sample: sample, module.prepare)
    rows = module.predict_step(read(some))
    assert [row.captions for row in rows] == [expected[0], [], expected[1]]
    assert [row.status for row in rows] == ["ok", "failed", "ok"] and rows[1].error
    assert set(rows[1].to_dict()) == {"key", "sample_id", "captions", "status", "error"}
    (none,) = module.predict_step(read([bad]))
    assert (none.key, none.captions, none.status) == (bad.sha256, [], "failed")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_types_write_captions(model, samples, dtype):
    captioner = loaded(blip(model, dtype=dtype))
    assert captioner.network.dtype == getattr(torch, dtype)
    assert all(all(row) for row in captions_of(captioner, samples))


def stock(model: str, samples: list[Sample], **options) -> list[list[str]]:
    processor = BlipProcessor.from_pretrained(model, backend="pil")
    reference = BlipForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
    rows = []
    for sample in samples:
        inputs = processor(images=Image.open(sample.path), return_tensors="pt")
        tokens = reference.generate(
            **inputs, min_new_tokens=MIN_TOKENS, max_new_tokens=MAX_TOKENS, **options
        )
        rows.append(processor.batch_decode(tokens, skip_special_tokens=True))
    return [list(dict.fromkeys(row)) for row in rows]


def test_beams_equal_stock_generate(model, samples):
    captioner = loaded(blip(model, **BEAM))
    expected = stock(model, samples, num_beams=3, num_return_sequences=3)
    assert captions_of(captioner, samples) == expected
    assert any(len(row) == 3 for row in expected)


def test_a_nucleus_of_one_token_equals_stock_greedy(model, samples):
    captioner = loaded(blip(model, top_p=1e-6))
    expected = stock(model, samples, do_sample=False, num_beams=1)
    assert captions_of(captioner, samples) == expected


def test_recipe_holds_what_matters(model):
    recipe = blip(model).recipe()
    assert set(recipe["weights"]) == {"name", "sha256"}
    assert blip(model, seed=1).recipe() != recipe
    assert blip(model, top_p=0.8).recipe() != recipe


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sampling": "greedy"}, "sampling: must be one of nucleus, beam, got 'greedy'"),
        ({"top_p": 1.5}, r"top_p: must be .*in \(0, 1\].*, got 1.5"),
        (
            {"top_p": None},
            r"top_p: must be a number in \(0, 1\] for captions.sampling=nucleus, got null",
        ),
        ({**BEAM, "num_captions": 4}, "num_captions: must be at most captions.num_beams=3, got 4"),
        ({"num_beams": 3}, "num_beams: must be 1 for captions.sampling=nucleus, got 3; set"),
        ({"dtype": "int8"}, "dtype: must be one of float32, .*, got 'int8'"),
        ({"min_tokens": -1}, "min_tokens: must be a whole number >= 0, got -1"),
        ({"min_tokens": 99}, "min_tokens: must be at most captions.max_tokens=.*, got 99"),
    ],
)
def test_wrong_values_are_refused(model, changed, words):
    with pytest.raises(UserError, match=words):
        blip(model, **changed)
