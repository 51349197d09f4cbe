"""BLIP: a picture's captions are its own, nucleus and beams are transformers' own."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, TopPLogitsWarper

from sip.captions.blip import Blip, NucleusDraw
from sip.captions.class_name import ClassName
from sip.common.errors import UserError
from sip.dataset.base import Sample

MIN_TOKENS, MAX_TOKENS = 3, 8


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A random miniature BLIP whose next token depends on the picture and on the token before."""
    from sip.miniature.captioner import captioner, processor

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
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    rows = []
    for number in range(7):
        path = folder / f"{number}.png"
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((32, 32)).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(Sample(f"s{number}", str(path), 1, "one", "train", 32, 32, sha256))
    return rows


def blip(model: str, **changed) -> Blip:
    nucleus = {
        "model": model, "revision": None, "sampling": "nucleus", "top_p": 0.9, "num_beams": 1,
        "num_captions": 4, "min_tokens": MIN_TOKENS, "max_tokens": MAX_TOKENS, "seed": 0,
        "dtype": "float32",
    }  # fmt: skip
    return Blip(**{**nucleus, **changed})


def loaded(model: str, **changed) -> Blip:
    captioner = blip(model, **changed)
    captioner.load("cpu")
    return captioner


BEAM = {"sampling": "beam", "top_p": None, "num_beams": 3, "num_captions": 3}


@pytest.mark.parametrize("choice", [{}, BEAM], ids=["nucleus", "beam"])
def test_captions_do_not_depend_on_the_batch(model, samples, choice):
    captioner = loaded(model, **choice)
    alone = [captioner.caption([sample])[0] for sample in samples]
    assert len({tuple(row) for row in alone}) == len(samples)  # the picture matters
    assert captioner.caption(samples) == alone
    assert captioner.caption(samples[::-1]) == alone[::-1]
    captioner.batch_size = 3
    assert captioner.caption(samples) == alone
    assert captioner.caption(samples[2:6]) == alone[2:6]


def test_the_global_random_state_plays_no_part(model, samples):
    captioner = loaded(model)
    torch.manual_seed(1)
    first, state = captioner.caption(samples[:2]), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # and none of it is used up
    torch.manual_seed(2)
    assert captioner.caption(samples[:2]) == first


def test_seed_and_candidate_matter(model, samples):
    first = loaded(model).caption(samples)
    assert loaded(model, seed=1).caption(samples) != first
    assert all(len(row) > 1 for row in first)
    assert all(len(set(row)) == len(row) for row in first)
    fewer = loaded(model, num_captions=2).caption(samples)
    assert all(row[: len(few)] == few for row, few in zip(first, fewer, strict=True))


def test_candidates_are_without_repetitions(model, samples):
    greedy = loaded(model, top_p=1e-6).caption(samples)  # every draw is the likeliest token
    assert [len(row) for row in greedy] == [1] * len(samples)


def stock(model: str, captioner: Blip, samples: list[Sample], **options) -> list[list[str]]:
    reference = BlipForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
    rows = []
    for sample in samples:
        inputs = captioner.processor(images=Image.open(sample.path), return_tensors="pt")
        tokens = reference.generate(
            **inputs, min_new_tokens=MIN_TOKENS, max_new_tokens=MAX_TOKENS, **options
        )
        rows.append(captioner.processor.batch_decode(tokens, skip_special_tokens=True))
    return [list(dict.fromkeys(row)) for row in rows]


def test_beams_equal_stock_generate(model, samples):
    captioner = loaded(model, **BEAM)
    expected = stock(model, captioner, samples, num_beams=3, num_return_sequences=3)
    assert captioner.caption(samples) == expected
    assert any(len(row) == 3 for row in expected)


def test_a_nucleus_of_one_token_equals_stock_greedy(model, samples):
    captioner = loaded(model, top_p=1e-6)
    expected = stock(model, captioner, samples, do_sample=False, num_beams=1)
    assert captioner.caption(samples) == expected


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
def test_draws_follow_the_nucleus_distribution(top_p):
    """Frequencies against transformers' own filter, by a chi-squared test a row of logits."""
    from scipy.stats import chisquare

    num_draws = 4000
    for seed in range(3):
        logits = 2 * torch.randn(1, 30, generator=torch.Generator().manual_seed(seed))
        logits[0, 7] = -torch.inf  # as where the end token is not allowed yet
        draw = NucleusDraw(top_p, range(seed * num_draws, (seed + 1) * num_draws))
        drawn = draw(torch.zeros(num_draws, 1), logits.expand(num_draws, -1))
        assert ((drawn == 0).sum(-1) == 1).all() and ((drawn == -torch.inf).sum(-1) == 29).all()
        counts = drawn.argmax(-1).bincount(minlength=30)
        expected = TopPLogitsWarper(top_p)(torch.zeros(1, 1), logits).softmax(-1)[0].double()
        assert not counts[expected == 0].any()  # nothing outside the nucleus, ever
        inside = expected > 0
        frequencies = expected[inside] / expected[inside].sum() * num_draws
        if inside.sum() > 1:
            assert chisquare(counts[inside], frequencies).pvalue > 1e-4


def test_recipe_holds_what_matters(model):
    recipe = blip(model).recipe()
    assert set(recipe["weights"]) == {"name", "sha256"}
    assert blip(model, seed=1).recipe() != recipe
    assert blip(model, top_p=0.8).recipe() != recipe
    assert blip(model, **BEAM).recipe() == blip(model, **BEAM, seed=1).recipe()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sampling": "greedy"}, r"expected one of \('nucleus', 'beam'\), came 'greedy'"),
        ({"top_p": 1.5}, r"expected a number in \(0, 1\], came 1.5"),
        ({"top_p": None}, r"expected a number in \(0, 1\], came None"),
        ({**BEAM, "num_captions": 4}, "expected at most num_beams=3, came 4"),
    ],
)
def test_wrong_values_are_refused(model, changed, words):
    with pytest.raises(UserError, match=words):
        blip(model, **changed)


def test_class_name(samples):
    captioner = ClassName("a {label}")
    captioner.load("cpu")
    assert captioner.caption(samples[:2]) == [["a one"], ["a one"]]
    with pytest.raises(UserError, match="expected {label} in it, came 'a thing'"):
        ClassName("a thing")
