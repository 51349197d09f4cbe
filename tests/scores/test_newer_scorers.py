"""SigLIP 2 and MetaCLIP 2 on tiny folders in the hub's layout, against their stock forward pass."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessorPil,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.scores.metaclip2 import MetaClip2
from sip.scores.siglip2 import Siglip2
from tests.scores.images import CAPTIONS, make_samples, scores_of

CONTEXT = 16  # tokens
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {**SIZE, "num_attention_heads": 4}
LOUD = ["A Digit, leaning LEFT", "a digit, leaning left"]


def words() -> PreTrainedTokenizerFast:
    """Return a tokenizer of the captions' words that ends each text."""
    found = sorted({word for texts in CAPTIONS for text in texts for word in text.split()})
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<eos>", "<unk>", *found])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    tokens = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **tokens, padding_side="left")


def saved(folder: Path, network: Any, images: Any) -> str:
    """Write a model with weights that tell texts apart, and return its folder."""
    torch.manual_seed(0)
    for weight in network.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    network.save_pretrained(folder)
    images.save_pretrained(folder)
    words().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def siglip2(tmp_path_factory: pytest.TempPathFactory) -> str:
    text = {**HEADS, "vocab_size": len(words()), "max_position_embeddings": CONTEXT}
    text |= {"projection_size": 32, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
    vision = {**HEADS, "image_size": 32, "patch_size": 8}
    network = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    return saved(tmp_path_factory.mktemp("siglip2"), network, images)


@pytest.fixture(scope="module")
def metaclip2(tmp_path_factory: pytest.TempPathFactory) -> str:
    text = {**HEADS, "vocab_size": len(words()), "max_position_embeddings": CONTEXT}
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1, "projection_dim": 32}
    vision = {**HEADS, "image_size": 32, "patch_size": 8, "projection_dim": 32}
    config = MetaClip2Config(text_config=text, vision_config=vision, projection_dim=32)
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    return saved(tmp_path_factory.mktemp("metaclip2"), MetaClip2Model(config), images)


def reference(network: Any, folder: str, pixels: torch.Tensor, text: str, padding: Any) -> float:
    """Return the cosine by the model's own forward pass."""
    tokens = words()
    tokens.padding_side = "right"
    inputs = tokens(
        [text], truncation=True, max_length=CONTEXT, padding=padding, return_tensors="pt"
    )
    with torch.no_grad():
        output = network(pixel_values=pixels, input_ids=inputs.input_ids)
    return torch.nn.functional.cosine_similarity(output.text_embeds, output.image_embeds).item()


@pytest.mark.parametrize("kind", ["siglip2", "metaclip2"])
def test_scores_equal_the_stock_forward_pass(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    component = {"siglip2": Siglip2, "metaclip2": MetaClip2}[kind](folder, None, "float32")
    component.require()
    scorer = component.load(Runtime.cpu())
    samples = make_samples(tmp_path)
    scores = scores_of(scorer, samples, CAPTIONS)
    stock, images = {
        "siglip2": (SiglipModel, SiglipImageProcessorPil),
        "metaclip2": (MetaClip2Model, CLIPImageProcessorPil),
    }[kind]
    network = stock.from_pretrained(folder, dtype=torch.float32).eval()
    processor = images.from_pretrained(folder)
    padding = "max_length" if kind == "siglip2" else False
    for sample, captions, row in zip(samples, CAPTIONS, scores, strict=True):
        original = Image.open(sample.path)
        pixels = processor(images=[original], return_tensors="pt").pixel_values
        for caption, score in zip(captions, row, strict=True):
            expected = reference(network, folder, pixels, caption, padding)
            assert score == pytest.approx(expected, abs=6e-5)
    assert scores_of(scorer, samples[::-1], CAPTIONS[::-1], batch=2) == scores[::-1]
    assert len({score for row in scores for score in row}) == sum(map(len, CAPTIONS))


def test_siglip2_reads_lower_case(siglip2: str, metaclip2: str) -> None:
    loud, quiet = Siglip2(siglip2, None, "float32").load(Runtime.cpu()).embed_texts(LOUD)
    assert torch.equal(loud, quiet)
    loud, quiet = MetaClip2(metaclip2, None, "float32").load(Runtime.cpu()).embed_texts(LOUD)
    assert not torch.equal(loud, quiet)


def test_a_model_of_another_class_is_refused(siglip2: str, metaclip2: str) -> None:
    with pytest.raises(
        UserError, match="must be a SiglipModel of transformers, got MetaClip2Model"
    ):
        Siglip2(metaclip2, None, "float32").require()
    with pytest.raises(UserError, match="must be a MetaClip2Model"):
        MetaClip2(siglip2, None, "float32").require()
