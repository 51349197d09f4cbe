"""Captions, scores and images at the same time, on an executor whose models are in other processes.

An original goes on to the next stage as soon as it is through with the one before, if its prompts
depend on nothing but its own captions and scores. All batches are those that the stages would make
one after the other, so that rows and bytes are the same.
"""

import time
from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sip.captions.base import StatedCaptions
from sip.captions.openai import OpenAi
from sip.core.spill import Spilled, SpilledMap
from sip.dataset.base import Sample
from sip.executor.driver import Line, drive
from sip.executor.ray import Ray
from sip.pipeline.components import StageName
from sip.pipeline.offline import Offline, score_keys
from sip.prompts.base import Prompt
from sip.scores.base import ToScore
from sip.store.filling import Filling

RESULT = {"captions": "captions", "scores": "similarities"}  # column of a stage


def stream(offline: Offline, samples: Sequence[Sample]) -> None:
    """Have what can be made at the same time made; the stages then find it in the store.

    Does nothing with an executor of this process, or if the prompts need more than that: a writer
    or a guidance rule that reads all captions or cosines, a ladder of noise rates, captions that
    are stated or asked for.

    Args:
        offline: The stages.
        samples: The originals.

    Raises:
        Stopped: SIGINT or SIGTERM was received; all rows that were made are committed.
        Exception: What making them raises.
    """
    stated = offline.captioner is None or isinstance(offline.captioner, StatedCaptions | OpenAi)
    per_original = getattr(offline.writer, "per_original", False)
    if not isinstance(offline.executor, Ray) or stated or not per_original:
        return
    samples, counts = offline.to_generate_from(samples)
    if samples:
        Overlapped(offline, offline.executor, samples, counts).run()


class StreamedStage:
    """One of the stages: what is wanted of it, and what is known.

    Args:
        offline: The stages.
        name: Name of the stage.
        num_full: Rows of a full batch.
    """

    def __init__(self, offline: Offline, executor: Ray, name: StageName, num_full: int) -> None:
        self.name, self.num_full = name, num_full
        self.stage = offline.stage(name)
        self.stage.refresh()
        self._wanted = SpilledMap[Any]()
        self.filling: Filling[Any] = Filling(
            self.stage,
            self._wanted,
            [],
            offline.runtime.shard_size,
            offline.generator.storage if name == "images" else "files",
            offline.retry_failed,
        )
        remote = offline.remote_stage(name, num_full)
        self.line = Line(self.filling, executor.pool(name), remote, self._take)
        self.results = SpilledMap[Any]()
        self._open: dict[Hashable, dict[str, Any]] = {}  # group -> inputs of a batch to be
        self.seconds = 0.0
        self._started = time.monotonic()

    def ask(self, key: str, value: Any, group: Hashable = None) -> None:
        """Ask for a row; its batch is sent when it is full."""
        if key in self._wanted:
            return
        rows = self._open.setdefault(group, {})
        self._wanted.put(key, value)
        rows[key] = value
        if len(rows) == self.num_full:
            self._send(self._open.pop(group))

    def close(self) -> None:
        """Send the batches that are not full; no more will come."""
        if not self.line.is_closed:
            for rows in self._open.values():
                self._send(rows)
            self._open.clear()
            self.line.is_closed = True

    def _send(self, rows: dict[str, Any]) -> None:
        missing = self.filling.extend(rows)
        if missing:
            self.line.waiting.append(missing)
        there = rows.keys() - set(missing)
        if self.name in RESULT and there:
            self._know(self.filling.read(sorted(there)))

    def _take(self, rows: Sequence[dict[str, Any]]) -> None:
        self._know(rows)
        self.seconds = round(time.monotonic() - self._started, 2)

    def _know(self, rows: Sequence[dict[str, Any]]) -> None:
        if self.name in RESULT:
            for row in rows:
                self.results.put(row["key"], row[RESULT[self.name]])


@dataclass(frozen=True)
class Scored:
    """An original with its captions, scored or to be scored; `key` is that of its scores."""

    sample: Sample
    captions: list[str]
    key: str


class Overlapped:
    """One run of `stream`.

    Args:
        offline: The stages.
        executor: Its executor.
        samples: The originals that have images.
        counts: As `Offline.num_images` returns them.
    """

    def __init__(
        self, offline: Offline, executor: Ray, samples: Sequence[Sample], counts: Mapping[str, int]
    ) -> None:
        self.offline = offline
        self.counts = counts
        sizes = offline.runtime.batch_size
        names: dict[StageName, Any] = {"captions": sizes.captions}
        if offline.scorer is not None:
            names["scores"] = sizes.scores
        names["images"] = min(sizes.images, sum(counts.values()))
        self.parts = {
            name: StreamedStage(offline, executor, name, size) for name, size in names.items()
        }
        captioner = offline.captioner
        assert captioner is not None
        self._key = captioner.key
        self._samples = samples
        self._num_captioned = 0  # of the samples, in their order
        self._scored = Spilled[Scored]()
        self._num_scored = 0
        self._new = Spilled[Prompt]()  # prompts whose images are missing

    def run(self) -> None:
        """Make what is missing."""
        captions = self.parts["captions"]
        self.offline.foresee(self._samples)
        with ExitStack() as stack:
            for name, part in self.parts.items():
                stack.enter_context(part.filling.begun(name, "image"))
            for sample in self._samples:
                captions.ask(self._key(sample), sample)
            captions.close()
            self._advance()
            drive([part.line for part in self.parts.values()], self._advance)
        for name, part in self.parts.items():
            part.stage.place.tidy()
            self.offline.ahead[name] = part.filling.computed, part.seconds
        self.offline.generator.examine(self._new)

    def _advance(self) -> None:
        """Send on what is known, in the order of the originals."""
        known = self.parts["captions"].results
        while self._num_captioned < len(self._samples):
            sample = self._samples[self._num_captioned]
            if (key := self._key(sample)) not in known:
                break
            self._num_captioned += 1
            if captions := known[key]:
                self._captioned(sample, captions)
        if "scores" in self.parts:
            self._advance_scores()
        if self._are_captioned and self._num_scored == len(self._scored):
            self.parts["images"].close()

    @property
    def _are_captioned(self) -> bool:
        return self._num_captioned == len(self._samples)

    def _captioned(self, sample: Sample, captions: list[str]) -> None:
        if "scores" not in self.parts:
            self._write(sample, captions, None)
            return
        (key,) = score_keys([sample], [captions])
        self._scored.append(Scored(sample, captions, key))
        self.parts["scores"].ask(key, ToScore(key, sample, captions))

    def _advance_scores(self) -> None:
        scores = self.parts["scores"]
        if self._are_captioned:
            scores.close()
        while self._num_scored < len(self._scored):
            one = self._scored[self._num_scored]
            if one.key not in scores.results:
                break
            self._num_scored += 1
            if similarities := scores.results[one.key]:
                self._write(one.sample, one.captions, similarities)

    def _write(self, sample: Sample, captions: list[str], similarities: list[float] | None) -> None:
        """Ask for the images of an original."""
        scores = None if similarities is None else [similarities]
        prompts = self.offline.write([sample], [captions], scores, self.counts)
        self.offline.generator.check(prompts)
        images, retry_failed = self.parts["images"], self.offline.retry_failed
        self._new.extend(one for one in prompts if images.stage.lacks(one.image_id, retry_failed))
        for prompt in prompts:
            images.ask(prompt.image_id, prompt, self.offline.generator.group(prompt))
