"""Tokenizers for a small vocabulary, in the classes and file formats of the large models."""

import json

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertTokenizer, CLIPTokenizer

from sip.miniature.attributes import vocabulary

CLIP_LENGTH = 32  # tokens; the longest caption with a label has 26
START, END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer() -> CLIPTokenizer:
    """Return a byte-level BPE in which every word of the grammar is one token.

    Words outside the grammar fall into single letters, so any prompt can be encoded.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([" ".join(vocabulary())] * 50, trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    tokens += [a + b for a, b in merges if a + b not in set(tokens)]
    vocab = {token: number for number, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    return CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=CLIP_LENGTH,
    )


def bert_tokenizer() -> BertTokenizer:
    """Return BLIP's word-piece tokenizer over the grammar's words and single letters."""
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789.-'")
    words = [w for v in vocabulary() for w in v.replace(",", " , ").split()]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    tokens = dict.fromkeys([*special, *sorted(set(words)), *letters, *(f"##{c}" for c in letters)])
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        do_lower_case=True,
        bos_token="[DEC]",
        additional_special_tokens=["[ENC]"],
        model_max_length=CLIP_LENGTH,
    )
