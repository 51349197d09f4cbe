"""Prompts of your own: a table says which images are generated from which original, and how.

Ours. `sip.generate plan=true prompts_out=prompts.csv` writes such a table to begin with
(`sip.prompts.rows`).
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from sip.core.component import added, component, ignored, known_by
from sip.core.errors import UserError
from sip.core.hashing import digest, seed_of
from sip.core.progress import say
from sip.core.ranges import NotNegative
from sip.core.text import counted, join_first
from sip.dataset.base import Sample
from sip.dataset.files import real_path
from sip.prompts.base import Prompt, ranked_captions
from sip.prompts.guidance.base import GuidanceRule, fitted
from sip.prompts.label_caption import LabelCaption
from sip.prompts.rows import READERS, PromptRow, read_rows
from sip.prompts.writer import Chosen, guidance_scale


@component
class PromptTable(LabelCaption):
    """Each row of a file is an image to generate; what it leaves out is as of `LabelCaption`.

    An original without rows is not generated from. A row's seed, if the table has none, is that of
    the n-th image of its original.

    Args:
        file: A .csv or .parquet file, see `sip.prompts.rows`. Relative paths in its column `file`
            start from its folder.
        subset: Whether the table may have rows of originals that this run does not use, such as
            with few shots; they are passed over.
        gamma: An image with a `target` and no `label_share` has noise rate ** gamma of it.
    """

    file: str = known_by("content")
    subset: bool = ignored()
    gamma: NotNegative = added(neutral=0.5)

    @cached_property
    def _table(self) -> tuple[list[PromptRow], list[str]]:
        return read_rows(Path(self.file).expanduser())

    @property
    def _rows(self) -> list[PromptRow]:
        return self._table[0]

    @cached_property
    def content(self) -> str:
        """Hash of what the rows say."""
        return digest([row.values() for row in self._rows])

    @cached_property
    def _of_original(self) -> Mapping[str, list[PromptRow]]:
        """Sample_id, or path without links, as that of a sample -> its rows."""
        folder = Path(self.file).expanduser().parent
        found: dict[str, list[PromptRow]] = {}
        for row in self._rows:
            name = row.sample_id or real_path(folder / Path(row.file or "").expanduser())
            found.setdefault(name, []).append(row)
        return found

    def _rows_of(self, sample: Sample) -> Sequence[PromptRow]:
        by_id = self._of_original.get(sample.sample_id, [])
        by_file = self._of_original.get(os.path.abspath(sample.path), [])
        return sorted([*by_id, *by_file], key=lambda row: row.line)

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The lowest and the highest noise rate of the rows."""
        rates = {self.noise_rate if r.noise_rate is None else r.noise_rate for r in self._rows}
        return tuple(sorted({min(rates), max(rates)}))

    @property
    def mixes_classes(self) -> bool:
        """Whether a row has a target."""
        return any(row.target is not None for row in self._rows)

    @cached_property
    def _of_run(self) -> dict[str, list[int]]:
        """The classes of the run, name -> labels, once `check` knows them."""
        return {}

    @property
    def reads(self) -> frozenset[str]:
        """Stages that some row needs."""
        needed = super().reads
        if not needed or not any(self._needs_caption(row) for row in self._rows):
            return frozenset()
        return needed

    def _needs_caption(self, row: PromptRow) -> bool:
        if row.spans is None and row.caption is None and self._shows_caption:
            return True
        return row.similarity is None and self._needs_similarity(row)

    def _needs_similarity(self, row: PromptRow) -> bool:
        return self.guidance.needs_similarity and row.guidance_scale is None

    def counts(self, samples: Sequence[Sample]) -> dict[str, int]:
        """Return sample_id -> number of its rows."""
        return {sample.sample_id: len(self._rows_of(sample)) for sample in samples}

    def check(self, samples: Sequence[Sample]) -> None:
        """Check that the rows are of these originals, and say what is passed over.

        Raises:
            UserError: Rows are of others, and `subset` is false; or all of them are. Or a row's
                guidance scale can be told from nothing, its target is no class, or it asks for the
                same image as another row.
        """
        self._check_targets(samples)
        self._check_twice(samples)
        for row in self._rows:
            if row.caption and row.similarity is None and self._needs_similarity(row):
                raise UserError(
                    f"prompts.file: {self.file}: row {row.line}, column guidance_scale: must be "
                    "given where caption is and similarity is not, got nothing; add it, or choose "
                    "prompts/guidance=constant"
                )
        ids = {sample.sample_id for sample in samples}
        paths = {os.path.abspath(sample.path) for sample in samples}
        strays = [
            row
            for name, rows in self._of_original.items()
            for row in rows
            if name not in (paths if row.sample_id is None else ids)
        ]
        if strays and (not self.subset or len(strays) == len(self._rows)):
            row = strays[0]
            column, known = ("sample_id", ids) if row.sample_id else ("file", paths)
            fix = "" if self.subset else ", or set prompts.subset=true if others are listed too"
            raise UserError(
                f"prompts.file: {self.file}: row {row.line}, column {column}: must name an image "
                f"to train on, such as {min(known, default='')}, got "
                f"{row.sample_id or row.file} ({counted(len(strays), 'such row')}); fix the "
                f"table{fix}"
            )
        lacking = Counter(bool(self._rows_of(sample)) for sample in samples)[False]
        text = counted(len(self._rows) - len(strays), "row")
        text += f", {len(strays):,} of other originals" if strays else ""
        text += f", no row of {counted(lacking, 'original')}" if lacking else ""
        if unread := self._table[1]:
            text += f", not read: {join_first([_with_near(name) for name in unread])}"
        say("prompts", f"{Path(self.file).name}: {text}")

    def _check_targets(self, samples: Sequence[Sample]) -> None:
        """Note the classes; `write` may be asked for a part of the originals. Raises as `check`."""
        self._of_run.clear()
        self._of_run.update(_labels(samples))
        for row in self._rows if samples else ():
            if row.target is None or len(self._of_run.get(row.target, ())) == 1:
                continue
            near = get_close_matches(row.target, self._of_run, 1)
            fix = f"did you mean {near[0]}?" if near else "fix the table"
            rule = "the name of a class to train on"
            if row.target in self._of_run:
                rule, fix = "the name of one class only", "rename the classes"
            raise UserError(
                f"prompts.file: {self.file}: row {row.line}, column target: must be {rule}, got "
                f"{row.target}; {fix}"
            )

    def _check_twice(self, samples: Sequence[Sample]) -> None:
        """Refuse two rows of one image. Raises as `check`."""
        for sample in samples:
            earlier: dict[tuple[Any, ...], PromptRow] = {}
            for variant, row in enumerate(self._rows_of(sample)):
                if self.vary_captions and self._needs_caption(row):
                    continue
                other = earlier.setdefault(self._decisive(sample, variant, row), row)
                if other is not row:
                    raise UserError(
                        f"prompts.file: {self.file}: row {row.line}: must be another image than "
                        f"row {other.line}, got the same original, prompt, values and seed; give "
                        "another seed, or remove one"
                    )

    def _decisive(self, sample: Sample, variant: int, row: PromptRow) -> tuple[Any, ...]:
        """Return all that decides the image of a row of an original, and its label."""
        read_caption = row.spans is None and self._shows_caption
        return (
            *(row.spans, row.guidance_scale, row.label_share),
            row.caption if read_caption else None,
            row.similarity if self._needs_similarity(row) else None,
            self.negative_prompt if row.negative_prompt is None else row.negative_prompt,
            self.noise_rate if row.noise_rate is None else row.noise_rate,
            self._seed(sample, variant, row),
            sample.class_name if row.target is None else row.target,
        )

    def _seed(self, sample: Sample, variant: int, row: PromptRow) -> int:
        return seed_of(self.seed, sample.sha256, variant) if row.seed is None else row.seed

    def write(
        self,
        samples: Sequence[Sample],
        captions: Sequence[Sequence[str]] | None,
        similarities: Sequence[Sequence[float]] | None,
        per_sample: int,
    ) -> Sequence[Prompt]:
        """Return the prompts of the rows, in the order of the samples.

        Raises:
            ValueError: Captions or similarities that `reads` asks for are missing.
            UserError: The guidance rule gives no finite number.
        """
        reads = self.reads  # looks at all rows
        if reads and (captions is None or similarities is None):
            raise ValueError(f"this prompt reads {' and '.join(sorted(reads))}, got none")
        listed: list[tuple[Sample, int, PromptRow, Chosen]] = []
        for index, sample in enumerate(samples):
            rows = self._rows_of(sample)
            chosen: Sequence[Chosen] = [(None, None)] * len(rows)
            if reads and captions is not None and similarities is not None:
                ranked = ranked_captions(sample, captions[index], similarities[index])
                chosen = self.choose(ranked, len(rows))
            for variant, (row, best) in enumerate(zip(rows, chosen, strict=True)):
                listed.append((sample, variant, row, _stated(row, best)))
        cosines = [
            cosine
            for _, _, row, (_, cosine) in listed
            if cosine is not None and row.guidance_scale is None
        ]
        rule = fitted(self.guidance, cosines)
        labels = self._of_run or _labels(samples)
        return [self._prompt(*of_row, rule, labels) for of_row in listed]

    def _prompt(
        self,
        sample: Sample,
        variant: int,
        row: PromptRow,
        chosen: Chosen,
        rule: GuidanceRule,
        labels: Mapping[str, list[int]],
    ) -> Prompt:
        """Return a row's prompt."""
        caption, similarity = chosen
        scale = row.guidance_scale
        if scale is None:
            place = f"{sample.sample_id} of class {sample.class_name}"
            scale = guidance_scale(rule, place, similarity)
        target = sample.class_name if row.target is None else row.target
        shown = replace(sample, class_name=target)
        spans = self._filled(shown, caption) if row.spans is None else row.spans
        negative = self.negative_prompt if row.negative_prompt is None else row.negative_prompt
        noise_rate = self.noise_rate if row.noise_rate is None else row.noise_rate
        prompt = Prompt.of(
            sample,
            variant,
            spans=spans,
            negative_prompt=negative,
            guidance_scale=scale,
            noise_rate=noise_rate,
            seed=self._seed(sample, variant, row),
            caption=caption,
            similarity=similarity,
        )
        if row.target is None:
            return prompt
        share = noise_rate**self.gamma if row.label_share is None else row.label_share
        return prompt.towards(labels[row.target][0], row.target, share)


def _labels(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Return the names of the classes -> their labels."""
    found: dict[str, list[int]] = {}
    for label, name in sorted({(sample.label, sample.class_name) for sample in samples}):
        found.setdefault(name, []).append(label)
    return found


def _with_near(column: str) -> str:
    """Return the name of a column that is not read, with the one that may be meant."""
    near = get_close_matches(column, READERS, 1)
    return f"{column} (did you mean {near[0]}?)" if near else column


def _stated(row: PromptRow, best: Chosen) -> Chosen:
    """Return the caption and the cosine of a row: its own, or the best of its original."""
    if row.caption is not None:
        return row.caption, row.similarity
    if row.similarity is not None:
        best = best[0], row.similarity
    return best if row.spans is None else (None, best[1])  # no caption: it is not in the prompt
