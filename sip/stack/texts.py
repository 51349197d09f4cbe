"""Captions of a pool's images: measured attributes, or the user's own captions.

One `Texts` knows the captions, the prompts and the scorer's statements of all images. The class
name is in them only if the pool is labelled.
"""

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from sip.core.errors import UserError
from sip.core.text import reason_of
from sip.stack.grammar import Grammar

LABEL_PROMPT = "a photo of a {label}"  # as in `conf/prompts/label_caption.yaml`
SILENT = -1  # of an attribute that a statement leaves out
COLUMNS = ("sample_id", "caption")
MAX_WORDS = 4000  # of own captions that are one token each; others are spelled


class Texts(ABC):
    """Captions of N images.

    Args:
        labels: (N,), int64; None if the pool is not labelled.
        names: The classes in words, by label; empty if it is not labelled.
        facts: (N, F), int64: what is true of each image, of which a statement gives a part.

    Attributes:
        length: Tokens that the text encoders read, start and end included.
    """

    length: int

    def __init__(self, labels: Tensor | None, names: Sequence[str], facts: Tensor) -> None:
        self.labels, self.names = labels, tuple(names) if labels is not None else ()
        known = torch.full((len(facts), 1), SILENT) if labels is None else labels[:, None]
        self.facts = torch.cat([known, facts], dim=1)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.facts)

    @abstractmethod
    def caption(self, row: int, rng: random.Random) -> tuple[str, list[int]]:
        """Return a caption of one image and what it states: the facts, or `SILENT`."""

    @abstractmethod
    def words(self) -> list[str]:
        """Return texts that hold the words of the captions."""

    def named(self, row: int) -> str:
        """Return the label's prompt of one image of a labelled pool."""
        assert self.labels is not None
        return LABEL_PROMPT.format(label=self.names[int(self.labels[row])])

    def prompt(self, row: int, rng: random.Random, shares: Sequence[int]) -> str:
        """Write a training prompt.

        Args:
            row: The image.
            rng: Chooses kind and caption.
            shares: In %: label and caption, label, caption, empty. Without labels: the last is
                the share of empty ones, and all others are captions.
        """
        caption, _ = self.caption(row, rng)
        if self.labels is None:
            return rng.choices((caption, ""), weights=(100 - shares[-1], shares[-1]))[0]
        named = self.named(row)
        kinds = (f"{named}, {caption}", named, caption, "")
        return rng.choices(kinds, weights=shares)[0]

    def statement(self, row: int, rng: random.Random) -> tuple[str, list[int]]:
        """Return a text for the scorer and what it states: caption, both (40 % each) or label."""
        caption, meaning = self.caption(row, rng)
        if self.labels is None:
            return caption, meaning
        named, label = self.named(row), int(self.labels[row])
        kind = rng.choices(("both", "label", "caption"), weights=(40, 20, 40))[0]
        if kind == "caption":
            return caption, meaning
        if kind == "label":
            return named, [label] + [SILENT] * (len(meaning) - 1)
        return f"{named}, {caption}", [label, *meaning[1:]]

    def vocabulary(self) -> list[str]:
        """Return every word that captions and label prompts can hold, in lower case, sorted."""
        texts = [*self.words(), *self.names, LABEL_PROMPT.format(label=""), "an", ","]
        return sorted({word for text in texts for word in text.lower().split()})


class Measured(Texts):
    """Sentences of a grammar.

    Args:
        grammar: What they say.
        levels: (N, A), int64, of each image.
    """

    length = 32  # the longest sentence with a label of two words has 31

    def __init__(
        self, grammar: Grammar, levels: Tensor, labels: Tensor | None, names: Sequence[str]
    ) -> None:
        super().__init__(labels, names, levels)
        self.grammar, self.levels = grammar, levels

    def caption(self, row: int, rng: random.Random) -> tuple[str, list[int]]:
        """Return a sentence, which mostly names the class if the grammar does so."""
        name, label = None, SILENT
        if self.labels is not None and self.grammar.named and rng.random() < self.grammar.named:
            label = int(self.labels[row])
            name = self.names[label]
        text = self.grammar.caption(self.levels[row], rng, name)
        claims = self.grammar.claims(text)
        return text, [label, *(claims.get(a.name, SILENT) for a in self.grammar.attributes)]

    def words(self) -> list[str]:
        """Return the grammar's phrases."""
        return self.grammar.words()


class Own(Texts):
    """The user's own captions, one or several an image.

    A caption counts as true of its own image and of those that have the very same captions.

    Args:
        captions: Captions of each image.
    """

    length = 64

    def __init__(
        self, captions: Sequence[Sequence[str]], labels: Tensor | None, names: Sequence[str]
    ) -> None:
        self.captions = [tuple(of_image) for of_image in captions]
        places = {texts: place for place, texts in enumerate(dict.fromkeys(self.captions))}
        facts = torch.tensor([[places[texts]] for texts in self.captions])
        super().__init__(labels, names, facts)

    def caption(self, row: int, rng: random.Random) -> tuple[str, list[int]]:
        """Return one of the image's captions."""
        return rng.choice(self.captions[row]), [SILENT, int(self.facts[row, 1])]

    def words(self) -> list[str]:
        """Return the commonest words of all captions."""
        counts = Counter(
            word for texts in self.captions for text in texts for word in text.lower().split()
        )
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return ranked[:MAX_WORDS]


def read_captions(path: str, sample_ids: Sequence[str]) -> list[list[str]]:
    """Return the captions of each image from a CSV file with the columns of `COLUMNS`.

    Raises:
        UserError: The file cannot be read, lacks a column, or has no caption for an image.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(
            f"caption_file: must be a CSV file with the columns {', '.join(COLUMNS)}, got {path} "
            f"({reason_of(error)[:200]})"
        ) from error
    if lacking := [column for column in COLUMNS if column not in table]:
        raise UserError(
            f"caption_file: must have the columns {', '.join(COLUMNS)}, got {path} with "
            f"{', '.join(table.columns)}; it lacks {', '.join(lacking)}"
        )
    captions: dict[str, list[str]] = {}
    for sample_id, caption in zip(*(table[column] for column in COLUMNS), strict=True):
        if text := " ".join(caption.split()):
            captions.setdefault(sample_id, []).append(text)
    if without := [sample_id for sample_id in sample_ids if sample_id not in captions]:
        raise UserError(
            f"caption_file: must have a caption for each of {len(sample_ids)} images of the pool, "
            f"got {path} with none for {len(without)}, first {without[0]}; add them, or leave "
            "caption_file=null for measured ones"
        )
    return [captions[sample_id] for sample_id in sample_ids]
