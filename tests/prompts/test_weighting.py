"""Prompt weighting against compel 2.5 and against a formula in numpy."""

import numpy as np
import pytest
import torch
from compel import Compel
from compel.prompt_parser import Conjunction, FlattenedPrompt

from sip.prompts.base import Span
from sip.prompts.weighting.compel import CompelWeighting
from sip.prompts.weighting.scale import ScaleWeighting
from sip.prompts.weighting.tokens import tokenize
from sip.stack.diffusion import text_encoder
from sip.stack.tokenizers import CLIP_LENGTH, clip_tokenizer

LONG = "thick strokes, leaning left, wide, heavy at the top, bold lines and narrow"
PROMPTS = {
    "as the paper": [("a photo of a ", 1.0), ("five", 1.5), (", ", 1.0), ("thick strokes", 0.9)],
    "plain": [("a photo of a seven", 1.0)],
    "up": [("a photo of a ", 1.0), ("seven", 1.7)],
    "down": [("a photo of a ", 1.0), ("seven", 0.4), (" with bold lines", 1.0)],
    "twice down": [("two", 0.5), (" and ", 1.0), ("three", 0.8)],
    "down from the start": [("thick strokes", 0.3), (", a digit", 1.0)],
    "not at all": [("a digit, ", 1.0), ("wide", 0.0)],
    "signs of other parsers": [("a (wide)1.4 ", 1.0), ("seven++", 1.5), (", ", 1.0), ("(a-)", 0.9)],
    "cut in a lowered span": [("a photo of a ", 1.0), ("five", 1.5), (", ", 1.0), (LONG * 3, 0.9)],
    "lowered span after the cut": [(LONG * 3, 1.2), (", ", 1.0), ("five", 0.5)],
    "two spans across the cut": [(LONG, 0.8), (LONG, 0.6), ("five", 0.5)],
    "empty": [],
}


@pytest.fixture(scope="module")
def tokenizer():
    return clip_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    model = text_encoder(tokenizer).eval()
    with torch.no_grad():
        model.final_layer_norm.bias.normal_(0.2, 0.1)  # trained ones have a mean
    return model


@pytest.fixture(scope="module")
def encode(model):
    @torch.no_grad()
    def call(ids, mask):
        return model(ids, attention_mask=mask).last_hidden_state

    return call


def spans(name):
    return tuple(Span(text, weight) for text, weight in PROMPTS[name])


@pytest.fixture(scope="module")
def embedded(tokenizer, encode):
    """All prompts in one batch."""
    tokens = tokenize(tokenizer, [spans(name) for name in PROMPTS], CLIP_LENGTH)
    return dict(zip(PROMPTS, CompelWeighting()(encode, tokens), strict=True))


@pytest.mark.parametrize("name", PROMPTS)
def test_equals_compel(name, embedded, tokenizer, model):
    compel = Compel(tokenizer, model)
    with torch.no_grad():
        expected, _ = compel.build_conditioning_tensor_for_conjunction(
            Conjunction([FlattenedPrompt(PROMPTS[name] or [("", 1.0)])])
        )
    assert embedded[name].shape == (CLIP_LENGTH, 96)
    torch.testing.assert_close(embedded[name], expected[0], atol=1e-4, rtol=0)


def test_equals_compels_own_syntax(tokenizer, model, embedded):
    compel = Compel(tokenizer, model)
    with torch.no_grad():
        expected = compel("a photo of a (five)1.5 , (thick strokes)0.9")
    torch.testing.assert_close(embedded["as the paper"], expected[0], atol=1e-4, rtol=0)


def test_a_prompt_does_not_depend_on_its_batch(embedded, tokenizer, encode):
    for name in PROMPTS:
        single = CompelWeighting()(encode, tokenize(tokenizer, [spans(name)], CLIP_LENGTH))[0]
        torch.testing.assert_close(embedded[name], single, atol=1e-5, rtol=0)


def test_scale_is_the_formula(tokenizer, encode):
    names = ["as the paper", "down", "up"]
    tokens = tokenize(tokenizer, [spans(name) for name in names], CLIP_LENGTH)
    result = ScaleWeighting()(encode, tokens).numpy()
    hidden = encode(tokens.ids, torch.ones_like(tokens.ids)).numpy().astype(np.float64)
    for row, name in enumerate(names):
        weights = np.ones(CLIP_LENGTH)
        start = 1
        for text, weight in PROMPTS[name]:
            length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
            weights[start : start + length] = weight
            start += length
        scaled = hidden[row] * weights[:, None]
        expected = scaled * hidden[row].mean() / scaled.mean()
        np.testing.assert_allclose(result[row], expected, atol=1e-4)


def test_scale_leaves_an_unweighted_prompt_as_it_is(tokenizer, encode):
    tokens = tokenize(tokenizer, [spans("plain"), spans("up"), spans("empty")], CLIP_LENGTH)
    result = ScaleWeighting()(encode, tokens)
    hidden = encode(tokens.ids, torch.ones_like(tokens.ids))
    assert torch.equal(result[0], hidden[0]) and torch.equal(result[2], hidden[2])
    assert not torch.allclose(result[1], hidden[1])


def test_tokens_are_those_of_the_joined_text(tokenizer):
    names = ["as the paper", "cut in a lowered span", "empty"]
    tokens = tokenize(tokenizer, [spans(name) for name in names], CLIP_LENGTH)
    texts = ["".join(text for text, _ in PROMPTS[name]) for name in names]
    joined = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    assert torch.equal(tokens.ids, joined.input_ids)
    assert torch.equal(tokens.empty[0], tokens.ids[-1])
