"""Tokenizers for a small vocabulary, in the classes and file formats of the large models."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tokenizers import pre_tokenizers
from transformers import BertTokenizer, CLIPTokenizer

from sip.dataset.digits import CLASS_NAMES
from sip.stack.strokes import Strokes
from sip.stack.texts import LABEL_PROMPT, Measured

CLIP_LENGTH = Measured.length  # tokens; the longest caption of a digit with its label has 26
START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
PIECE = re.compile(r"[^\W\d_]+|\d|[^\s\w]+|_")  # as CLIP's tokenizer splits words
WORD = re.compile(r"\w+|[^\w\s]")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.-'"


def digit_words() -> list[str]:
    """Return every word that captions and label prompts of digits can hold, sorted."""
    texts = [*Strokes.openings, *CLASS_NAMES, LABEL_PROMPT.format(label=""), ",", "with"]
    phrases = (p for a in Strokes.attributes for level in a.phrases for p in level)
    return sorted({word for text in (*texts, *phrases) for word in text.split()})


def clip_tokenizer(words: Sequence[str] | None = None, length: int = CLIP_LENGTH) -> CLIPTokenizer:
    """Return a byte-level BPE in which every word is one token.

    Other words fall into single letters, so any prompt can be encoded.

    Args:
        words: Words in lower case; those of the digits' grammar if left out.
        length: Tokens of a text at most.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = merges_of(digit_words() if words is None else words)
    tokens = [*alphabet, *(letter + WORD_END for letter in alphabet)]
    tokens += [first + second for first, second in merges]
    vocab = {token: number for number, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    return CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=length,
    )


def merges_of(words: Iterable[str]) -> list[tuple[str, str]]:
    """Return the merges of byte-pair encoding after which every word is one token.

    The commonest pair is merged first, of equally common ones the first by name: a training
    that goes on elsewhere has the same tokens. (The package `tokenizers` leaves ties to chance.)
    """
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = sorted({piece for word in words for piece in PIECE.findall(word.lower())})
    letters = ["".join(text for text, _ in to_bytes.pre_tokenize_str(piece)) for piece in pieces]
    spelled = [[*word[:-1], word[-1] + WORD_END] for word in letters]
    counts = Counter(pair for word in spelled for pair in pairwise(word))
    places: dict[tuple[str, str], set[int]] = defaultdict(set)
    for place, word in enumerate(spelled):
        for pair in pairwise(word):
            places[pair].add(place)
    merges = []
    while counts:
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for place in sorted(places.pop(best)):
            counts.subtract(pairwise(spelled[place]))
            spelled[place] = _merged(spelled[place], best)
            counts.update(pairwise(spelled[place]))
            for pair in pairwise(spelled[place]):
                places[pair].add(place)
        counts = +counts  # pairs that are gone
    return merges


def _merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    """Return the symbols of a word with all places of a pair merged, from the left."""
    merged: list[str] = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def bert_tokenizer(words: Iterable[str] | None = None, length: int = CLIP_LENGTH) -> BertTokenizer:
    """Return BLIP's word-piece tokenizer over whole words and single letters.

    Args:
        words: Words in lower case; those of the digits' grammar if left out.
        length: Tokens of a text at most.
    """
    known = digit_words() if words is None else words
    pieces = [piece for word in known for piece in WORD.findall(word)]
    letters = dict.fromkeys([*LETTERS, *sorted({letter for piece in pieces for letter in piece})])
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    tokens = dict.fromkeys(
        [*special, *sorted(set(pieces)), *letters, *(f"##{letter}" for letter in letters)]
    )
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        do_lower_case=True,
        bos_token="[DEC]",  # noqa: S106, a token of the vocabulary
        additional_special_tokens=["[ENC]"],
        model_max_length=length,
    )
