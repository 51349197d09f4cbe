"""Tokenizers for a small vocabulary, in the classes and file formats of the large models."""

import json
import re
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertTokenizer, CLIPTokenizer

from sip.dataset.digits import CLASS_NAMES
from sip.miniature.strokes import Strokes
from sip.miniature.texts import LABEL_PROMPT, Measured

CLIP_LENGTH = Measured.length  # tokens; the longest caption of a digit with its label has 26
START, END = "<|startoftext|>", "<|endoftext|>"
MAX_VOCABULARY = 8000  # tokens, at most, of own captions
WORD = re.compile(r"\w+|[^\w\s]")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.-'"


def digit_words() -> list[str]:
    """Return every word that captions and label prompts of digits can hold, sorted."""
    texts = [*Strokes.openings, *CLASS_NAMES, LABEL_PROMPT.format(label=""), ",", "with"]
    phrases = (p for a in Strokes.attributes for level in a.phrases for p in level)
    return sorted({word for text in (*texts, *phrases) for word in text.split()})


def clip_tokenizer(words: Sequence[str] | None = None, length: int = CLIP_LENGTH) -> CLIPTokenizer:
    """Return a byte-level BPE in which every word is one token, while they are few enough.

    Words that it was not made of fall into single letters, so any prompt can be encoded.

    Args:
        words: In lower case; those of the digits' grammar if left out.
        length: Tokens of a text at most.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator([" ".join(digit_words() if words is None else words)] * 50, trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    known = set(tokens)
    tokens += [a + b for a, b in merges if a + b not in known]
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


def bert_tokenizer(words: Iterable[str] | None = None, length: int = CLIP_LENGTH) -> BertTokenizer:
    """Return BLIP's word-piece tokenizer over whole words and single letters.

    Args:
        words: In lower case; those of the digits' grammar if left out.
        length: Tokens of a text at most.
    """
    known = digit_words() if words is None else words
    pieces = [piece for word in known for piece in WORD.findall(word)][:MAX_VOCABULARY]
    letters = dict.fromkeys([*LETTERS, *sorted({letter for piece in pieces for letter in piece})])
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    tokens = dict.fromkeys(
        [*special, *sorted(set(pieces)), *letters, *(f"##{letter}" for letter in letters)]
    )
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        do_lower_case=True,
        bos_token="[DEC]",
        additional_special_tokens=["[ENC]"],
        model_max_length=length,
    )
