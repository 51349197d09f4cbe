"""Small grammars: what is measured on an image, and the sentences that state it.

A grammar lists attributes with a few phrasings for each of their levels. The levels of a measured
value are set by the 30 % and 70 % quantiles over the pool, so a caption carries what the class
name does not. Captioner, scorer and diffusion model all learn from these sentences.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

QUANTILES = (0.3, 0.7)
NUM_STATED = 3  # attributes that a caption states
CHUNK = 500  # images that are measured at a time


@dataclass(frozen=True)
class Attribute:
    """A property that is measured and stated.

    Attributes:
        name: Name of the attribute.
        phrases: Level -> phrasings; three levels (low, middle, high) if it is `ordinal`.
        before: Stands in front of every phrasing in a sentence.
        ordinal: Levels are set by quantiles of the measured number; else the number is the level.
    """

    name: str
    phrases: tuple[tuple[str, ...], ...]
    before: str = ""
    ordinal: bool = True


class Grammar(ABC):
    """Attributes, their thresholds, and sentences about them.

    Args:
        low, high: Attribute by attribute, what parts low from middle and middle from high.
    """

    kind: ClassVar[str]
    attributes: ClassVar[tuple[Attribute, ...]]
    openings: ClassVar[tuple[str, ...]]  # how a caption begins that does not name the class
    named: ClassVar[float]  # share of the captions that begin with the class, if it is known

    def __init__(self, low: Iterable[float], high: Iterable[float]) -> None:
        self.low, self.high = tuple(low), tuple(high)

    @staticmethod
    @abstractmethod
    def measure(pixels: Tensor) -> Tensor:
        """Measure all attributes: (N, 3, H, W), float32, in [0, 1] -> (N, A), float32."""

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """Return the grammar whose thresholds part these images, (N, C, H, W), uint8."""
        return cls.of_values(cls.measure_all(images))

    @classmethod
    def of_values(cls, values: Tensor) -> Self:
        """Return the grammar whose thresholds part measured values (N, A)."""
        low, high = torch.quantile(values, values.new_tensor(QUANTILES), dim=0)
        return cls(low.tolist(), high.tolist())

    @classmethod
    def measure_all(cls, images: Tensor) -> Tensor:
        """Measure many images (N, C, H, W), uint8, a few at a time -> (N, A), float32."""
        chunks = images.split(CHUNK)
        return torch.cat([cls.measure(part.expand(-1, 3, -1, -1).float() / 255) for part in chunks])

    def levels(self, values: Tensor) -> Tensor:
        """Turn measured values (N, A) into levels (N, A), int64."""
        low, high = values.new_tensor(self.low), values.new_tensor(self.high)
        ranked = (values > low).long() + (values > high).long()
        ordinal = torch.tensor([attribute.ordinal for attribute in self.attributes])
        return torch.where(ordinal, ranked, values.long())

    def describe(self, images: Tensor) -> Tensor:
        """Return the levels (N, A), int64, of images (N, C, H, W), uint8."""
        return self.levels(self.measure_all(images))

    def caption(self, levels: Tensor, rng: random.Random, name: str | None = None) -> str:
        """Write one sentence that is true of an image.

        Args:
            levels: (A,), int64.
            rng: Chooses attributes and phrasings.
            name: The class; None if it is not known or not to be named.
        """
        stated = rng.sample(range(len(self.attributes)), NUM_STATED)
        parts = []
        for number in stated:
            attribute = self.attributes[number]
            parts.append(attribute.before + rng.choice(attribute.phrases[int(levels[number])]))
        opening = rng.choice(self.openings) if name is None else f"{article(name)} {name}"
        return f"{opening}, {', '.join(parts)}"

    def claims(self, sentence: str) -> dict[str, int]:
        """Return what a sentence states: attribute -> level. Unknown phrases state nothing."""
        stated = [part.strip() for part in sentence.lower().split(",")]
        levels: dict[str, int] = {}
        for attribute in self.attributes:
            for level, phrases in enumerate(attribute.phrases):
                if any(part.removeprefix(attribute.before) in phrases for part in stated):
                    levels[attribute.name] = level
        return levels

    def place(self, name: str) -> int:
        """Return the column of an attribute."""
        return [attribute.name for attribute in self.attributes].index(name)

    def words(self) -> list[str]:
        """Return every phrase that captions are made of."""
        phrases = [p for a in self.attributes for level in a.phrases for p in level]
        return [*self.openings, *(a.before for a in self.attributes), *phrases, ","]

    def as_dict(self) -> dict[str, Any]:
        """Return it with plain JSON types; `sip.stack.sources.grammar_of` reads it."""
        names = [attribute.name for attribute in self.attributes]
        return {"kind": self.kind, "attributes": names, "low": self.low, "high": self.high}


def article(name: str) -> str:
    """Return "an" before a vowel, else "a"."""
    return "an" if name[:1].lower() in tuple("aeiou") else "a"
