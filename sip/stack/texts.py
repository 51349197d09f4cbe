"""What is said of the images of a pool: measured attributes, or the user's own captions.

One `Texts` knows the captions, the prompts and the scorer's statements of all images. The class
name is in them only where the pool is labelled.
"""

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from sip.core.errors import UserError
from sip.stack.grammar import Grammar

LABEL_PROMPT = "a photo of a {label}"  # as `conf/prompts/label_caption.yaml` has it
SILENT = -1  # where a statement says nothing
COLUMNS = ("sample_id", "caption")
MAX_WORDS = 4000  # of own captions that are one token each; others are spelled


class Texts(ABC):
    """Captions of N images.

    Args:
        labels: (N,), int64; None where the pool is not labelled.
        names: The classes in words, by label; none where it is not labelled.
        facts: (N, F), int64: what is true of each image, of which a statement says a part.

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
        """Return a caption of one image and what it says: the facts, or `SILENT`."""

    @abstractmethod
    def words(self) -> list[str]:
        """Return texts that hold the words of the captions."""

    def named(self, row: int) -> str:
        """Return the label's prompt of one image of a labelled pool."""
        assert self.labels is not None
        return LABEL_PROMPT.format(label=self.names[int(self.labels[row])])

    def prompt(self, row: int, rng: random.Random) -> str:
        """Write a training prompt: label and caption 55 %, label 18 %, caption 12 %, empty 15 %.

        Without labels: caption 85 %, empty 15 %.
        """
        said, _ = self.caption(row, rng)
        if self.labels is None:
            return rng.choices((said, ""), weights=(85, 15))[0]
        named = self.named(row)
        kinds = (f"{named}, {said}", named, said, "")
        return rng.choices(kinds, weights=(55, 18, 12, 15))[0]

    def statement(self, row: int, rng: random.Random) -> tuple[str, list[int]]:
        """Return a text for the scorer and what it says: label, caption (40 % each) or both."""
        said, meaning = self.caption(row, rng)
        if self.labels is None:
            return said, meaning
        named, label = self.named(row), int(self.labels[row])
        kind = rng.choices(("both", "label", "caption"), weights=(40, 20, 40))[0]
        if kind == "caption":
            return said, meaning
        if kind == "label":
            return named, [label] + [SILENT] * (len(meaning) - 1)
        return f"{named}, {said}", [label, *meaning[1:]]

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
        """Return a sentence, which mostly names the class where the grammar does so."""
        name, label = None, SILENT
        if self.labels is not None and self.grammar.named and rng.random() < self.grammar.named:
            label = int(self.labels[row])
            name = self.names[label]
        text = self.grammar.caption(self.levels[row], rng, name)
        said = self.grammar.claims(text)
        return text, [label, *(said.get(a.name, SILENT) for a in self.grammar.attributes)]

    def words(self) -> list[str]:
        """Return the grammar's phrases."""
        return self.grammar.words()


class Own(Texts):
    """The user's own captions, one or several an image.

    A caption counts as true of its own image and of those that have the very same captions.

    Args:
        captions: Of each image.
    """

    length = 64

    def __init__(
        self, captions: Sequence[Sequence[str]], labels: Tensor | None, names: Sequence[str]
    ) -> None:
        self.captions = [tuple(said) for said in captions]
        places = {said: place for place, said in enumerate(dict.fromkeys(self.captions))}
        facts = torch.tensor([[places[said]] for said in self.captions])
        super().__init__(labels, names, facts)

    def caption(self, row: int, rng: random.Random) -> tuple[str, list[int]]:
        """Return one of the image's captions."""
        return rng.choice(self.captions[row]), [SILENT, int(self.facts[row, 1])]

    def words(self) -> list[str]:
        """Return the commonest words of all captions."""
        found = Counter(
            word for said in self.captions for text in said for word in text.lower().split()
        )
        ranked = sorted(found, key=lambda word: (-found[word], word))
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
            f"caption_file: expected a CSV file with the columns {', '.join(COLUMNS)}, came {path} "
            f"({' '.join(str(error).split())[:200]})"
        ) from error
    if lacking := [column for column in COLUMNS if column not in table]:
        raise UserError(
            f"caption_file: expected the columns {', '.join(COLUMNS)} in {path}, came "
            f"{', '.join(table.columns)}; it lacks {', '.join(lacking)}"
        )
    said: dict[str, list[str]] = {}
    for sample_id, caption in zip(*(table[column] for column in COLUMNS), strict=True):
        if text := " ".join(caption.split()):
            said.setdefault(sample_id, []).append(text)
    if without := [sample_id for sample_id in sample_ids if sample_id not in said]:
        raise UserError(
            f"caption_file: expected a caption for each of {len(sample_ids)} images of the pool "
            f"in {path}, {len(without)} have none, first {without[0]}; add them, or leave "
            "caption_file=null for measured ones"
        )
    return [said[sample_id] for sample_id in sample_ids]
