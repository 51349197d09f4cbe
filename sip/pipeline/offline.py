"""Which room reads which; makes only what the classifier needs and does not find.

    dataset -> captions -> scores -> prompts -> images -> filter -> classifier

The classifier pulls: an arm that draws nothing builds no captioner, and nothing of the prompts is
in its fingerprint. Every room is asked for rows; the store has them or they are made.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from omegaconf import DictConfig

from sip.captions.base import Captioner
from sip.config.build import build
from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.progress import say
from sip.dataset.base import Sample
from sip.device.settings import Runtime
from sip.filter.base import Filter
from sip.images.base import Generator, LoadedGenerator
from sip.pipeline.makers import (
    Stages,
    ToEmbed,
    captions_maker,
    embeddings_maker,
    images_maker,
    scores_maker,
)
from sip.prompts.base import Prompt, PromptWriter
from sip.scores.base import Scorer
from sip.store.fill import Filled, fill
from sip.store.repair import check_retry
from sip.store.room import Room, Store

CHUNK = 4096  # rows that are read from the store at a time
Candidates = tuple[tuple[str, float], ...]  # captions with their cosines


@dataclass(frozen=True)
class Picture:
    """A drawn picture that training uses: its prompt and its row in the store."""

    prompt: Prompt
    row: dict[str, Any]
    candidates: Candidates


class Offline:
    """The rooms before the classifier: from samples to drawn pictures.

    Args:
        config: The whole configuration; each room's node is built here and nowhere else.
    """

    def __init__(self, config: DictConfig) -> None:
        self.store = Store(config.paths.store)
        self.writer: PromptWriter = build(config.prompts)
        self.generator: Generator = build(config.images)
        self.captioner: Captioner | None = None
        self.scorer: Scorer | None = None
        if "captions" in self.writer.reads or "scores" in self.writer.reads:
            self.captioner = build(config.captions)
        if "scores" in self.writer.reads:
            self.scorer = build(config.scores)
        self._scores_node = config.scores
        chosen: Filter = build(config.filter)
        self.filter = chosen if chosen.filters else None
        self.runtime = Runtime.of(config.runtime)
        self.batch_size = config.runtime.batch_size
        for name in ("captions", "scores", "images"):
            _check_size(f"batch_size.{name}", self.batch_size[name], "auto")
        self.shard_size = _check_size("shard_size", config.runtime.shard_size)
        self._rooms: dict[str, Room] = {}
        self._module: LoadedGenerator | None = None
        check_retry(config.retry)
        self.retry_failed = config.retry == "failed"

    def recipe(self) -> dict:
        """Return everything that decides what is drawn from a given sample."""
        rooms = {"captions": self.captioner, "scores": self.scorer}
        sieve = {}
        if self.filter is not None:
            sieve["filter"] = self.filter.recipe()
            if "embeddings" in self.filter.reads:
                sieve["embeddings"] = self.embedder.recipe()
        return {
            **{name: room.recipe() for name, room in rooms.items() if room is not None},
            "prompts": self.writer.recipe(),
            "images": self.generator.recipe(),
            "per_sample": self.generator.per_sample,
            **sieve,
        }

    @cached_property
    def embedder(self) -> Scorer:
        """The scorer whose unit vectors filters and metrics read, also where prompts need none."""
        return self.scorer or build(self._scores_node)

    def require(self) -> None:
        """Check before any work that the list can be drawn and that all weights are there.

        Raises:
            UserError: Some are missing; says which, where they were looked for, how to get them.
        """
        missing = []
        rooms: list[Any] = [self.captioner, self.scorer, self.generator]
        if self.filter is not None:
            self.filter.check(self.generator.per_sample)
            if self.scorer is None and "embeddings" in self.filter.reads:
                rooms.append(self.embedder)
        for room in rooms:
            try:
                if room is not None:
                    room.require()
            except UserError as error:
                missing.append(str(error))
        if missing:
            raise UserError("; ".join(missing))
        self.generator.check([trial_prompt(rate) for rate in self.writer.noise_rates])

    def room(self, name: str) -> Room:
        """Return the store's room "captions", "scores", "embeddings" or "images"."""
        implementation = self.implementation(name)
        if name not in self._rooms:  # one of each, so that what it knows of the disk is kept
            recipe = implementation.recipe()
            choice = recipe["class"].split(".")[-2]
            self._rooms[name] = self.store.room(name, choice, recipe)
        return self._rooms[name]

    def implementation(self, name: str) -> Any:
        """Return what makes the rows of a room; the scorer makes those of two."""
        if name == "embeddings":
            return self.embedder
        rooms = {"captions": self.captioner, "scores": self.scorer, "images": self.generator}
        assert rooms[name] is not None
        return rooms[name]

    def module(self) -> LoadedGenerator:
        """Return the generator, loaded for `runtime`; it stays loaded."""
        if self._module is None or self._module.runtime != self.runtime:
            self._module = self.generator.load(self.runtime)
        return self._module

    def prompts(
        self, samples: Sequence[Sample], stages: Stages
    ) -> tuple[list[Prompt], dict[str, Candidates]]:
        """Return the drawing list, and sample_id -> candidate captions with cosines."""
        captions: list[list[str]] | None = None
        scores: list[list[float]] | None = None
        if self.captioner:
            captions = self._captions(samples, stages)
            samples, captions = _where(captions, samples, captions)
        if self.scorer and captions:
            scores = self._scores(samples, captions, stages)
            samples, captions, scores = _where(scores, samples, captions, scores)
        with stages.stage("prompts") as row:
            prompts = self.write(samples, captions, scores)
            row["made"] = len(prompts)
        return prompts, candidates(samples, captions, scores)

    def write(
        self,
        samples: Sequence[Sample],
        captions: Sequence[Sequence[str]] | None,
        scores: Sequence[Sequence[float]] | None,
    ) -> list[Prompt]:
        """Return the drawing list of these samples."""
        return self.writer.write(samples, captions, scores, self.generator.per_sample)

    def draw(self, prompts: Sequence[Prompt], stages: Stages) -> Filled:
        """Draw those pictures of the list that are missing."""
        self.generator.check(prompts)
        wanted = {prompt.image_id: prompt for prompt in prompts}
        make = images_maker(self.generator, self.module, wanted, self.room("images"))
        return stages.filled("images", lambda: self._fill("images", wanted, make, prompts))

    def pictures(self, samples: Sequence[Sample], stages: Stages) -> list[Picture]:
        """Draw what is missing; return the drawn pictures in the order of the drawing list."""
        prompts, said = self.prompts(samples, stages)
        self.draw(prompts, stages)
        self.report_failures(prompts, samples)
        return [picture for picture in self.drawn(prompts, said) if picture.row["status"] == "ok"]

    def drawn(self, prompts: Sequence[Prompt], said: Mapping[str, Candidates]) -> Iterator[Picture]:
        """Yield the pictures of the list, failed ones too; few are in memory at a time."""
        room = self.room("images")
        for start in range(0, len(prompts), CHUNK):
            chunk = prompts[start : start + CHUNK]
            rows = room.read(prompt.image_id for prompt in chunk)
            for prompt in chunk:
                yield Picture(prompt, rows[prompt.image_id], said.get(prompt.sample_id, ()))

    def failures(self, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> Counter[str]:
        """Return how many pictures of these samples are missing, by reason."""
        room = self.room("images")
        keys = room.failed(dict.fromkeys(prompt.image_id for prompt in prompts))
        reasons = Counter(row["reason"] for row in room.read(keys).values())
        listed = {prompt.sample_id for prompt in prompts}
        unread = sum(sample.sample_id not in listed for sample in samples)
        if unread:
            reasons["unreadable"] += unread * self.generator.per_sample
        return reasons

    def report_failures(self, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> None:
        """Say how many pictures failed, and why.

        Raises:
            UserError: More than `images.max_failed` of them.
        """
        reasons = self.failures(prompts, samples)
        num, total = sum(reasons.values()), len(samples) * self.generator.per_sample
        if not num:
            return
        if reasons["unreadable"]:
            listed = {prompt.sample_id for prompt in prompts}
            paths = [sample.path for sample in samples if sample.sample_id not in listed]
            say("images", f"unreadable: {', '.join(paths[:5])}; mend or remove before training")
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        text = f"{num} of {total} pictures failed ({counts}); retry=failed tries them again"
        if num > self.generator.max_failed * total:
            raise UserError(
                f"images: {text}; images.max_failed={self.generator.max_failed:g} is the share "
                "that may fail; the others are kept"
            )
        say("images", text)

    def embed(
        self, pictures: Mapping[str, str], stages: Stages, drawn: Collection[str] = ()
    ) -> None:
        """See that the unit vectors of pictures are in the store; the embedder may stay loaded.

        Args:
            pictures: Hash of the content (`Sample.sha256`, or "file_sha256" of a row of images) ->
                path of the file.
            drawn: Those of the hashes that are of drawn pictures, whose files are checked.

        Raises:
            UserError: Some cannot be read, or are damaged.
        """
        wanted = {
            key: ToEmbed(key, path, key if key in drawn else None) for key, path in pictures.items()
        }
        make = embeddings_maker(self.embedder, self.runtime)
        rows = list(wanted.values())
        stages.filled("embeddings", lambda: self._fill("embeddings", wanted, make, rows))
        if bad := self.room("embeddings").failed(wanted):
            raise UserError(
                f"embeddings: {len(bad)} of {len(wanted)} pictures could not be read, first "
                f"{pictures[bad[0]]}; mend them, and use retry=failed"
            )

    def embeddings(self, keys: Sequence[str]) -> np.ndarray:
        """Return the unit vectors, (N, D), float32, of pictures that `embed` has seen to."""
        return np.array(self.column("embeddings", keys, "embedding"), np.float32)

    def size_of_batch(self, name: str, rows: Any) -> int:
        """Return `runtime.batch_size` of a room; "auto" is found by trial on some of the rows."""
        size = self.batch_size["scores" if name == "embeddings" else name]
        if size == "auto":
            from sip.pipeline.trial import auto_size

            return auto_size(self, name, rows)
        return int(size)

    def _fill(self, name: str, wanted: Mapping[str, Any], make: Any, rows: Sequence) -> Filled:
        """Have a room filled; `rows` are some or all of the inputs, to try batch sizes on."""
        room = self.room(name)
        missing = any(room.missing(wanted)) or (self.retry_failed and room.failed(wanted))
        batches: int | list[list[str]] = 1
        if missing:
            batches = self.size_of_batch(name, rows)
            if name == "images":  # the whole list, so that a restart finds the same batches
                batches = _image_batches(wanted, batches, self.generator)
        return fill(
            room,
            wanted,
            make,
            batches,
            self.shard_size,
            storage=self.generator.storage if name == "images" else "files",
            unit="image",
            retry_failed=self.retry_failed,
        )

    def _captions(self, samples: Sequence[Sample], stages: Stages) -> list[list[str]]:
        """Return the candidates of each sample; none where it cannot be read."""
        assert self.captioner is not None
        keys = [self.captioner.key(sample) for sample in samples]
        wanted = dict(zip(keys, samples, strict=True))
        make = captions_maker(self.captioner, self.runtime)
        stages.filled("captions", lambda: self._fill("captions", wanted, make, samples))
        self.captioner.clear()  # its memory is for the next model
        return self.column("captions", keys, "captions")

    def _scores(
        self, samples: Sequence[Sample], captions: list[list[str]], stages: Stages
    ) -> list[list[float]]:
        """Return the cosines of each sample's candidates; none where it cannot be read."""
        assert self.scorer is not None
        keys = score_keys(samples, captions)
        wanted = {item[0]: item for item in zip(keys, samples, captions, strict=True)}
        make = scores_maker(self.scorer, self.runtime)
        stages.filled("scores", lambda: self._fill("scores", wanted, make, samples))
        self.scorer.clear()
        return self.column("scores", keys, "similarities")

    def column(self, name: str, keys: Sequence[str], column: str) -> list[Any]:
        """Return one column of a room, row by row; few whole rows are in memory at a time."""
        room, values = self.room(name), []
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            rows = room.read(chunk)
            values += [rows[key][column] for key in chunk]
        return values


def score_keys(samples: Sequence[Sample], captions: Sequence[Sequence[str]]) -> list[str]:
    """Return the keys of the rows of scores."""
    pairs = zip(samples, captions, strict=True)
    return [digest(sample.sha256, list(said)) for sample, said in pairs]


def candidates(
    samples: Sequence[Sample],
    captions: Sequence[Sequence[str]] | None,
    scores: Sequence[Sequence[float]] | None,
) -> dict[str, Candidates]:
    """Return sample_id -> captions with their cosines; empty where they were not scored."""
    if not captions or not scores:
        return {}
    return {
        sample.sample_id: tuple(zip(captions[n], scores[n], strict=True))
        for n, sample in enumerate(samples)
    }


def _image_batches(
    wanted: Mapping[str, Prompt], batch_size: int, generator: Generator
) -> list[list[str]]:
    """Return the keys that are drawn together."""
    from sip.images.batches import group_rows

    batches = group_rows(wanted.values(), batch_size, generator.group)
    return [[prompt.image_id for prompt in batch] for batch in batches]


def _check_size(name: str, value: Any, *others: str) -> Any:
    """Return a number of rows.

    Raises:
        UserError: It is none.
    """
    if value in others or (type(value) is int and value >= 1):
        return value
    expected = " or ".join(["a number >= 1", *others])
    raise UserError(f"runtime.{name}: expected {expected}, came {value!r}")


def _where(found: Sequence[Any], *columns: Sequence[Any]) -> list[list[Any]]:
    """Return the columns without the rows for which nothing was found."""
    return [[value for value, has in zip(c, found, strict=True) if has] for c in columns]


def trial_prompt(noise_rate: float) -> Prompt:
    """Return a prompt of nothing, on which the generator can refuse the noise rate."""
    return Prompt("", "", "", 0, "", 0, (), "", 1.0, noise_rate, 0, None, None)
