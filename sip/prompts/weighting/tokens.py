"""Weighted prompts as tokens: which token belongs to which span, and what it weighs.

Shapes: B prompts, L tokens that the text encoder reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from sip.prompts.base import Span


@dataclass(frozen=True)
class Tokens:
    """Prompts cut to L tokens each: start, text, end, padding.

    Attributes:
        ids: (B, L), int64.
        weights: (B, L), float32; 1 for start, end and padding.
        empty: (1, L), int64: the prompt without text.
        lowered: One (row, first, last, weight) for each span that weighs less than 1 and has
            tokens in [first, last], 0 <= first <= last < L. As in compel 2.5, the end token
            falls into a span that was cut off at L.
    """

    ids: Tensor
    weights: Tensor
    empty: Tensor
    lowered: list[tuple[int, int, int, float]]


def clip_length(tokenizer: PreTrainedTokenizerBase, num_positions: int) -> int:
    """Return L: older conversions state no length for the tokenizer, and the encoder's counts."""
    return min(int(tokenizer.model_max_length), num_positions)


def tokenize(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[Span]], length: int
) -> Tokens:
    """Tokenize each span by itself and join the tokens; what is longer than L is cut off.

    Args:
        tokenizer: One with tokens for start and end.
        prompts: In spans.
        length: L; a tokenizer may state none, or one that is not the encoder's.
    """
    ids, weights, lowered = [], [], []
    num_text = length - 2
    for row, spans in enumerate(prompts):
        text_ids: list[int] = []
        text_weights: list[float] = []
        for span, span_ids in zip(spans, _span_ids(tokenizer, spans, num_text), strict=True):
            first = 1 + len(text_ids)
            text_ids += span_ids
            text_weights += [span.weight] * len(span_ids)
            if span.weight < 1 and span_ids and first <= num_text:
                last = min(len(text_ids), num_text + 1)
                lowered.append((row, first, last, span.weight))
        ids.append(_framed(tokenizer, text_ids[:num_text], length))
        weights.append(
            [1.0, *text_weights[:num_text], *[1.0] * (1 + max(0, num_text - len(text_ids)))]
        )
    return Tokens(
        ids=torch.tensor(ids, dtype=torch.long),
        weights=torch.tensor(weights, dtype=torch.float32),
        empty=torch.tensor([_framed(tokenizer, [], length)], dtype=torch.long),
        lowered=lowered,
    )


def tokenize_whole(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[Span]], length: int
) -> Tokens:
    """Tokenize each prompt's whole text, for tokenizers to which a cut makes a new word (T5).

    A token weighs what the span of its first letter weighs.

    Args:
        tokenizer: Must return the offsets of its tokens in the text.
        prompts: In spans.
        length: L; what is longer is cut off.
    """
    texts = ["".join(span.text for span in spans) for spans in prompts]
    settings = {"padding": "max_length", "max_length": length, "truncation": True}
    encoded = tokenizer([*texts, ""], return_offsets_mapping=True, **settings)
    ids = torch.tensor(encoded["input_ids"], dtype=torch.long)
    weights = torch.ones(len(prompts), length)
    lowered: list[tuple[int, int, int, float]] = []
    for row, spans in enumerate(prompts):
        starts = torch.tensor(encoded["offset_mapping"][row])[:, 0]
        is_text = torch.tensor(encoded["offset_mapping"][row])[:, 1] > 0
        begin = 0
        for span in spans:
            end = begin + len(span.text)
            inside = (is_text & (starts >= begin) & (starts < end)).nonzero()[:, 0]
            weights[row, inside] = span.weight
            if span.weight < 1 and len(inside):
                lowered.append((row, int(inside[0]), int(inside[-1]), span.weight))
            begin = end
    return Tokens(ids[:-1], weights, ids[-1:], lowered)


def _span_ids(
    tokenizer: PreTrainedTokenizerBase, spans: Sequence[Span], num_text: int
) -> list[list[int]]:
    if not spans:
        return []
    texts = [span.text for span in spans]
    encoded = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=num_text)
    return encoded["input_ids"]


def _framed(tokenizer: PreTrainedTokenizerBase, text_ids: list[int], length: int) -> list[int]:
    framed = [tokenizer.bos_token_id, *text_ids, tokenizer.eos_token_id]
    return framed + [tokenizer.pad_token_id] * (length - len(framed))
