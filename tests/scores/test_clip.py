"""CLIP's cosines equal those of its stock forward pass."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.dataset.base import Sample
from sip.device.batches import ImageBatch
from sip.device.settings import Runtime
from sip.scores import module as scores_module
from sip.scores.base import ToEmbed
from sip.scores.clip import Clip
from sip.scores.module import EmbeddingModule, ScoreModule
from tests.scores.images import CAPTIONS, make_samples, scores_of


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
    return make_samples(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def clip(model) -> ScoreModule:
    return load(model)


def load(model: str, dtype: str = "float32") -> ScoreModule:
    return Clip(model, None, dtype).load(Runtime.cpu())


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
    expected, seen, embed = scores_of(clip, samples, CAPTIONS), [], clip.encode_texts
    monkeypatch.setattr(scores_module, "MAX_TEXTS", 3)
    monkeypatch.setattr(clip, "encode_texts", lambda texts: seen.append(texts) or embed(texts))
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
        clip.unit_texts(["a digit", "very " * 50, "upright", "a digit, narrow, wide, upright"])
    handle.remove()
    assert sorted(tuple(shape) for shape in shapes) == [(1, 16), (1, 32), (2, 8)]


def test_images_are_prepared_in_threads(model, samples, clip):
    loaded_images = [read_rgb(sample.path, None) for sample in samples]
    processor = CLIPProcessor.from_pretrained(model, backend="pil")
    expected = processor.image_processor(images=loaded_images, return_tensors="pt").pixel_values
    with ThreadPoolExecutor(8) as pool:
        for prepared in pool.map(clip.prepare, [loaded_images] * 40):
            assert torch.equal(prepared, expected)


def test_nothing_to_score(clip, samples):
    assert clip.score([], torch.empty(0, 3, 32, 32)) == []
    assert scores_of(clip, samples[:2], [[], []]) == [[], []]


def test_half_types_score(model, samples, clip):
    half = load(model, "bfloat16")
    assert half.network.dtype == torch.bfloat16
    for row, expected in zip(
        scores_of(half, samples, CAPTIONS), scores_of(clip, samples, CAPTIONS), strict=True
    ):
        assert row == pytest.approx(expected, abs=0.1)


def test_a_component_loads_a_new_module_each_time(model, samples, clip):
    other = load(model)
    assert other.network is not clip.network
    assert scores_of(other, samples, CAPTIONS) == scores_of(clip, samples, CAPTIONS)


def test_recipe_holds_what_matters(model):
    recipe = Clip(model, None, "float32").recipe()
    assert recipe["class"] == "sip.scores.clip.Clip"
    assert set(recipe["weights"]) == {"name", "sha256"}
    assert Clip(model, None, "bfloat16").recipe() != recipe
    assert Clip("org/clip", "v1", "float32").recipe()["weights"]["revision"] == "v1"
    with pytest.raises(UserError, match="dtype: must be one of .*, got 'int8'"):
        Clip(model, None, "int8")


def test_embeddings_are_the_stock_models_unit_vectors(model, samples, clip):
    reference = CLIPModel.from_pretrained(model, dtype=torch.float32).eval()
    processor = CLIPProcessor.from_pretrained(model, backend="pil")
    loaded_images, texts = (
        [read_rgb(sample.path, None) for sample in samples],
        ["a digit", "upright"],
    )
    inputs = processor(images=loaded_images, text=texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = reference(**inputs)  # it divides by the norm itself
    pixels, text_vectors = clip.prepare(loaded_images), clip.embed_texts(texts)
    batch = ImageBatch([ToEmbed(s.sha256, s.path) for s in samples], [None] * len(samples), pixels)
    rows = EmbeddingModule(clip).predict_step(batch)
    assert [row.key for row in rows] == [sample.sha256 for sample in samples]
    embedded = torch.from_numpy(np.stack([row.embedding for row in rows]))
    assert (
        embedded.dtype == text_vectors.dtype == torch.float32 and text_vectors.device.type == "cpu"
    )
    torch.testing.assert_close(embedded, output.image_embeds, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(text_vectors, output.text_embeds, atol=1e-5, rtol=1e-4)
    scores = clip.score([texts] * len(samples), pixels)
    torch.testing.assert_close(embedded @ text_vectors.T, torch.tensor(scores), atol=6e-5, rtol=0)


def test_products_are_full_float32_after_a_generator_allowed_less(clip, monkeypatch):
    seen = []
    encode = clip.encode_texts
    monkeypatch.setattr(
        clip,
        "encode_texts",
        lambda texts: seen.append(torch.get_float32_matmul_precision()) or encode(texts),
    )
    torch.set_float32_matmul_precision("high")
    try:
        clip.embed_texts(["a seven"])
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == ["highest"]
