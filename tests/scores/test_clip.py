"""CLIP's cosines equal those of its stock forward pass."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from sip.dataset.base import Sample
from sip.scores.clip import Clip

CAPTIONS = [
    ["a digit, leaning left", "a handwritten digit, with thick strokes, wide, balanced"],
    ["upright"],
    [],
    ["a scan of a digit, narrow", "a digit", "xyz?"],
    ["very " * 50 + "long"],
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A random miniature CLIP with cosines well apart."""
    from sip.miniature.scorer import processor, scorer
    from sip.miniature.tokenizers import clip_tokenizer

    folder, tokenizer = tmp_path_factory.mktemp("scorer"), clip_tokenizer()
    torch.manual_seed(0)
    clip = scorer(tokenizer)
    for weight in clip.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    clip.half().save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    rows = []
    for number in range(len(CAPTIONS)):
        path, height = folder / f"{number}.png", 32 + 9 * number
        Image.fromarray(rng.integers(0, 256, (height, 40, 3), np.uint8)).save(path)
        rows.append(Sample(f"s{number}", str(path), 1, "one", "train", 40, height, str(number)))
    return rows


@pytest.fixture(scope="module")
def clip(model) -> Clip:
    scorer = Clip(model, None, "float32")
    scorer.load("cpu")
    return scorer


def test_scores_equal_the_stock_forward_pass(model, samples, clip):
    reference = CLIPModel.from_pretrained(model, dtype=torch.float32).eval()
    processor = CLIPProcessor.from_pretrained(model, backend="pil")
    scores = clip.score(samples, CAPTIONS)
    assert [len(row) for row in scores] == [len(row) for row in CAPTIONS]
    for sample, captions, row in zip(samples, CAPTIONS, scores, strict=True):
        for caption, score in zip(captions, row, strict=True):
            inputs = processor(
                images=Image.open(sample.path), text=caption, truncation=True, return_tensors="pt"
            )
            with torch.no_grad():
                logits = reference(**inputs).logits_per_text
            assert score == pytest.approx((logits / reference.logit_scale.exp()).item(), abs=6e-5)
            assert score == round(score, 4) and -1 <= score <= 1
    assert len({score for row in scores for score in row}) == sum(map(len, CAPTIONS))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_scores_do_not_depend_on_the_batch(model, samples, clip, batch_size):
    small = Clip(model, None, "float32")
    small.batch_size = batch_size
    small.load("cpu")
    assert small.score(samples, CAPTIONS) == clip.score(samples, CAPTIONS)


def test_nothing_to_score(clip, samples):
    assert clip.score([], []) == []
    assert clip.score(samples[:2], [[], []]) == [[], []]


def test_recipe_holds_what_matters(model):
    recipe = Clip(model, None, "float32").recipe()
    assert set(recipe["weights"]) == {"name", "sha256"}
    assert Clip(model, None, "bfloat16").recipe() != recipe
    assert Clip("org/clip", "v1", "float32").recipe()["weights"]["revision"] == "v1"
