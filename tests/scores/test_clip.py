"""CLIP's cosines equal those of its stock forward pass."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.dataset.base import Sample
from sip.scores import two_towers
from sip.scores.clip import Clip
from tests.scores.pictures import CAPTIONS, make_samples, scores_of


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A random miniature CLIP with cosines well apart."""
    from sip.stack.scorer import processor, scorer
    from sip.stack.tokenizers import clip_tokenizer

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
    return make_samples(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def clip(model) -> Clip:
    scorer = Clip(model, None, "float32")
    scorer.load("cpu")
    return scorer


def test_scores_equal_the_stock_forward_pass(model, samples, clip):
    reference = CLIPModel.from_pretrained(model, dtype=torch.float32).eval()
    processor = CLIPProcessor.from_pretrained(model, backend="pil")
    scores = scores_of(clip, samples, CAPTIONS)
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


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_scores_do_not_depend_on_the_batch(samples, clip, batch):
    scores = scores_of(clip, samples, CAPTIONS)
    assert scores_of(clip, samples, CAPTIONS, batch) == scores
    assert scores_of(clip, samples[::-1], CAPTIONS[::-1], batch) == scores[::-1]


def test_texts_are_embedded_once_and_in_bounded_slices(samples, clip, monkeypatch):
    expected, seen, embed = scores_of(clip, samples, CAPTIONS), [], clip._embed_texts
    monkeypatch.setattr(two_towers, "MAX_TEXTS", 3)
    monkeypatch.setattr(clip, "_embed_texts", lambda texts: seen.append(texts) or embed(texts))
    assert scores_of(clip, samples, CAPTIONS) == expected
    assert [len(texts) for texts in seen] == [3, 3, 1]
    seen.clear()
    same = scores_of(clip, samples, [["a digit", "upright"]] * len(samples))
    assert seen == [["a digit", "upright"]]
    assert len({tuple(row) for row in same}) == len(samples)


def test_texts_are_padded_by_their_own_length(clip):
    shapes, tower = [], clip.network.text_model
    handle = tower.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    with torch.inference_mode():
        clip._unit_texts(["a digit", "very " * 50, "upright", "a digit, narrow, wide, upright"])
    handle.remove()
    assert sorted(tuple(shape) for shape in shapes) == [(1, 16), (1, 32), (2, 8)]


def test_pictures_are_prepared_in_threads(samples, clip):
    pictures = [read_rgb(sample.path, None) for sample in samples]
    expected = clip.processor.image_processor(images=pictures, return_tensors="pt").pixel_values
    with ThreadPoolExecutor(8) as pool:
        for prepared in pool.map(clip.prepare, [pictures] * 40):
            assert torch.equal(prepared, expected)


def test_nothing_to_score(clip, samples):
    assert clip.score([], [], torch.empty(0, 3, 32, 32)) == []
    assert scores_of(clip, samples[:2], [[], []]) == [[], []]


def test_half_types_score(model, samples, clip):
    half = Clip(model, None, "bfloat16")
    half.load("cpu")
    assert half.network.dtype == torch.bfloat16
    for row, expected in zip(
        scores_of(half, samples, CAPTIONS), scores_of(clip, samples, CAPTIONS), strict=True
    ):
        assert row == pytest.approx(expected, abs=0.1)


def test_weights_are_let_go_and_loaded_again(model, samples, clip):
    scorer = Clip(model, None, "float32")
    scorer.load("cpu")
    network = scorer.network
    scorer.load("cpu")
    assert scorer.network is network
    scorer.clear()
    scorer.load("cpu")
    assert scores_of(scorer, samples, CAPTIONS) == scores_of(clip, samples, CAPTIONS)


def test_recipe_holds_what_matters(model):
    recipe = Clip(model, None, "float32").recipe()
    assert recipe["class"] == "sip.scores.clip.Clip"
    assert set(recipe["weights"]) == {"name", "sha256"}
    assert Clip(model, None, "bfloat16").recipe() != recipe
    assert Clip("org/clip", "v1", "float32").recipe()["weights"]["revision"] == "v1"
    with pytest.raises(UserError, match="scores.dtype: expected one of .*, came 'int8'"):
        Clip(model, None, "int8")


def test_embeddings_are_the_stock_models_unit_vectors(model, samples, clip):
    reference = CLIPModel.from_pretrained(model, dtype=torch.float32).eval()
    processor = CLIPProcessor.from_pretrained(model, backend="pil")
    pictures, texts = [read_rgb(sample.path, None) for sample in samples], ["a digit", "upright"]
    inputs = processor(images=pictures, text=texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = reference(**inputs)  # it divides by the norm itself
    embedded, said = clip.embed(clip.prepare(pictures)), clip.embed_texts(texts)
    assert embedded.dtype == said.dtype == torch.float32 and embedded.device.type == "cpu"
    torch.testing.assert_close(embedded, output.image_embeds, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(said, output.text_embeds, atol=1e-5, rtol=1e-4)
    scores = clip.score(samples, [texts] * len(samples), clip.prepare(pictures))
    torch.testing.assert_close(embedded @ said.T, torch.tensor(scores), atol=6e-5, rtol=0)
