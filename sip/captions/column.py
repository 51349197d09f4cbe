"""Captions that the data set brings, in a column of its table; no model is loaded."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from sip.core.component import Component, Part, component, ignored, known_by, refuse
from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.ranges import Count
from sip.core.text import counted, join_first
from sip.dataset.base import Dataset, HasColumns, Sample
from sip.dataset.folders import say_once

NUM_SHOWN = 10  # rows that a message names
KEY = "captions.column"


@component
class ColumnCaptions(Component):
    """The captions of a column: a text, several in one text, or a list of texts.

    Args:
        dataset: The data set.
        column: Name of the column; of `dataset=webdataset` a key of the JSON, or the ending of a
            text member, such as "txt". Known by what it says.
        separator: What is between the captions of a text; None: a text is one caption.
        num_captions: The first captions that are kept; None: all.
        fallback: Caption of an image that has none, with the class name at `{label}`; None: such
            images are refused.
    """

    dataset: Part[Dataset] = ignored()
    column: str = known_by("content")
    separator: Annotated[str, Field(min_length=1)] | None
    num_captions: Count | None
    fallback: Annotated[str, Field(min_length=1)] | None

    def __post_init__(self) -> None:
        if self.fallback is not None and not self.fallback.strip():
            raise refuse("fallback", "text or null", self.fallback)

    @cached_property
    def _cells(self) -> Mapping[str, Any]:
        """Sample_id -> what the column holds."""
        if not isinstance(self.dataset, HasColumns):
            raise UserError(
                f"captions: must be of a captioner for a {type(self.dataset).__name__}, which has "
                "no columns, got column; set captions=blip, or dataset=csv, huggingface or "
                "webdataset"
            )
        return self.dataset.column_values(self.column, KEY)

    @cached_property
    def content(self) -> str:
        """Hash of what the column says."""
        return digest(sorted((name, repr(cell)) for name, cell in self._cells.items()))

    def require(self) -> None:
        """Make sure that the data set has the column.

        Raises:
            UserError: It has not.
        """
        assert self._cells is not None

    def stated(self, samples: Sequence[Sample]) -> list[list[str]]:
        """Return the captions of each sample, at least one, without repetitions.

        Raises:
            UserError: A cell holds no text, or none and there is no fallback; names the rows.
        """
        captions, bad = list[list[str]](), list[str]()
        for sample in samples:
            try:
                captions.append(self._captions(self._cells.get(sample.sample_id)))
            except ValueError as error:
                bad.append(f"{sample.sample_id} ({error})")
        if bad:
            raise UserError(
                f"{KEY}: must be texts or lists of texts, got {counted(len(bad), 'cell')} of "
                f"{self.column!r} with another value: {join_first(bad, NUM_SHOWN)}; fix them"
            )
        empty = [s.sample_id for s, row in zip(samples, captions, strict=True) if not row]
        if empty and self.fallback is None:
            raise UserError(
                f"{KEY}: must have a caption for each image, got none in "
                f"{counted(len(empty), 'row')} of {self.column!r}: {join_first(empty, NUM_SHOWN)}; "
                "fill them in, or set \"captions.fallback='a {label}'\""
            )
        if empty:
            text = f"{counted(len(empty), 'image')} without a caption in {self.column!r}"
            say_once(KEY, f"{text}, captioned {self.fallback!r}: {join_first(empty, NUM_SHOWN)}")
        fallback = self.fallback or ""
        return [
            row or [fallback.replace("{label}", sample.class_name)]
            for sample, row in zip(samples, captions, strict=True)
        ]

    def _captions(self, cell: Any) -> list[str]:
        """Return the captions of a cell, each in one line.

        Raises:
            ValueError: It holds something else.
        """
        texts = [] if cell is None else [cell] if isinstance(cell, str) else cell
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(repr(cell)[:40])
        if self.separator is not None:
            texts = [part for text in texts for part in text.split(self.separator)]
        lines = dict.fromkeys(" ".join(text.split()) for text in texts)
        return [line for line in lines if line][: self.num_captions]
