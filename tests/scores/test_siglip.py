"""SigLIP on a tiny folder in the hub's layout: cosines equal those of its stock forward pass."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.device.settings import Runtime
from sip.scores import siglip
from sip.scores.module import ScoreModule
from sip.scores.siglip import Siglip
from tests.scores.images import CAPTIONS, make_samples, scores_of

CONTEXT = 16  # tokens
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory) -> Path:
    """A tiny vocabulary in SigLIP's own form."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for texts in CAPTIONS for text in texts] * 20),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        unk_id=2, bos_id=-1, eos_id=1, pad_id=0, minloglevel=2,
    )  # fmt: skip
    file = tmp_path_factory.mktemp("tokenizer") / "spiece.model"
    file.write_bytes(model.getvalue())
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory, tokenizer_file) -> str:
    """A random SigLIP with cosines well apart."""
    from transformers import SiglipTokenizer

    folder, tokenizer = tmp_path_factory.mktemp("siglip"), SiglipTokenizer(str(tokenizer_file))
    torch.manual_seed(0)
    heads = {**SIZE, "num_attention_heads": 4}
    text = {
        **heads,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "projection_size": 32,
        "pad_token_id": 1,
        "bos_token_id": 1,
        "eos_token_id": 1,
    }
    network = SiglipModel(
        SiglipConfig(text_config=text, vision_config={**heads, "image_size": 32, "patch_size": 8})
    )
    for weight in network.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    network.save_pretrained(folder)
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    SiglipProcessor(images, tokenizer).save_pretrained(folder)
    assert (folder / "spiece.model").is_file()
    return str(folder)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    return make_samples(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def scorer(model) -> ScoreModule:
    component = Siglip(model, None, "float32")
    component.require()
    return component.load(Runtime.cpu())


def test_scores_equal_the_stock_forward_pass(model, samples, scorer):
    reference = SiglipModel.from_pretrained(model, dtype=torch.float32).eval()
    processor = SiglipProcessor.from_pretrained(model, backend="pil")
    for sample, captions, row in zip(
        samples, CAPTIONS, scores_of(scorer, samples, CAPTIONS), strict=True
    ):
        for caption, score in zip(captions, row, strict=True):
            inputs = processor(
                images=Image.open(sample.path), text=caption, padding="max_length",
                truncation=True, max_length=CONTEXT, return_tensors="pt",
            )  # fmt: skip
            with torch.no_grad():
                output = reference(pixel_values=inputs.pixel_values, input_ids=inputs.input_ids)
            logit = output.logits_per_text - reference.logit_bias
            assert score == pytest.approx((logit / reference.logit_scale.exp()).item(), abs=6e-5)


def test_scores_do_not_depend_on_the_batch(samples, scorer):
    scores = scores_of(scorer, samples, CAPTIONS)
    assert len({score for row in scores for score in row}) == sum(map(len, CAPTIONS))
    assert scores_of(scorer, samples[::-1], CAPTIONS[::-1], batch=2) == scores[::-1]


def test_texts_are_padded_to_the_full_context(model, scorer):
    with torch.inference_mode():
        short = scorer.unit_texts(["a digit"])
        tokenizer = SiglipProcessor.from_pretrained(model).tokenizer
        tokens = tokenizer(["a digit"], return_tensors="pt").input_ids
        bare = scorer.network.get_text_features(tokens).pooler_output
    assert tokens.shape[1] < CONTEXT
    assert not torch.allclose(torch.nn.functional.normalize(bare, dim=-1), short, atol=1e-3)


def test_recipe_names_the_class(model):
    assert Siglip(model, None, "float32").recipe()["class"] == "sip.scores.siglip.Siglip"


def test_a_missing_package_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(siglip, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"sentencepiece and protobuf; pip install -e '.*\[siglip\]'"
    ):
        Siglip("google/siglip-base-patch16-224", None, "float32").require()
