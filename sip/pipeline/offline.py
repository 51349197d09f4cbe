"""Generation: which stage reads which; makes only the rows that are wanted and missing.

    dataset -> captions -> scores -> prompts -> images -> filter -> classifier

The classifier pulls: an arm without generated images builds no captioner, and nothing of the
prompts is in its fingerprint. Every stage is asked for rows: the store has them, or they are made.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from omegaconf import DictConfig

from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.progress import say
from sip.core.stages import StageLog
from sip.dataset.base import Sample
from sip.device.settings import Devices, Runtime
from sip.images.base import Generator
from sip.pipeline.components import Components, StageName
from sip.pipeline.makers import images_maker
from sip.pipeline.models import Models
from sip.pipeline.trial import Trials
from sip.prompts.base import Prompt
from sip.scores.base import ToEmbed, ToScore
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


class Offline(Components):
    """The stages before the classifier: from samples to generated images.

    Args:
        config: The whole configuration.
    """

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self.store = Store(config.paths.store)
        self.devices = Devices.of(config.trainer) if "trainer" in config else Devices()
        self.models = Models(self, Runtime.of(config.runtime), self.devices)
        self.trials = Trials(self.models, self.store.root / "batch_sizes.json")
        self._rooms: dict[StageName, Room] = {}
        check_retry(config.retry)
        self.retry_failed = config.retry == "failed"

    @property
    def runtime(self) -> Runtime:
        """Device settings of this process."""
        return self.models.runtime

    def room(self, name: StageName) -> Room:
        """Return the rows of a stage in the store."""
        if name not in self._rooms:  # one of each, so that what it knows of the disk is kept
            recipe = self.of_stage(name).recipe()
            choice = recipe["class"].split(".")[-2]
            self._rooms[name] = self.store.room(name, choice, recipe)
        return self._rooms[name]

    def prompts(
        self, samples: Sequence[Sample], stages: StageLog
    ) -> tuple[list[Prompt], dict[str, Candidates]]:
        """Return the drawing list, and sample_id -> candidate captions with cosines."""
        captions: list[list[str]] | None = None
        scores: list[list[float]] | None = None
        if self.captioner:
            captions = self._captions(samples, stages)
            samples, captions = _with_result(captions, samples, captions)
        if self.scorer and captions:
            scores = self._scores(samples, captions, stages)
            samples, captions, scores = _with_result(scores, samples, captions, scores)
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
        if not samples:
            return []
        return self.writer.write(samples, captions, scores, self.generator.per_sample)

    def draw(self, prompts: Sequence[Prompt], stages: StageLog) -> Filled:
        """Draw those pictures of the list that are missing."""
        self.generator.check(prompts)
        wanted = {prompt.image_id: prompt for prompt in prompts}
        make = images_maker(self.models, wanted, self.room("images"))
        filled = self._fill("images", wanted, stages, make)
        self.models.drop("images")  # its memory is the classifier's
        return filled

    def pictures(self, samples: Sequence[Sample], stages: StageLog) -> list[Picture]:
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
        self, pictures: Mapping[str, str], stages: StageLog, drawn: Collection[str] = ()
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
        self._fill("embeddings", wanted, stages)
        if bad := self.room("embeddings").failed(wanted):
            raise UserError(
                f"embeddings: {len(bad)} of {len(wanted)} pictures could not be read, first "
                f"{pictures[bad[0]]}; mend them, and use retry=failed"
            )

    def embeddings(self, keys: Sequence[str]) -> np.ndarray:
        """Return the unit vectors, (N, D), float32, of pictures that `embed` has seen to."""
        return np.array(self.column("embeddings", keys, "embedding"), np.float32)

    def _fill(
        self, name: StageName, wanted: Mapping[str, Any], stages: StageLog, make: Any = None
    ) -> Filled:
        """Have the missing rows of a stage made.

        Args:
            name: Of the stage.
            wanted: Key -> input of each row.
            stages: Gets the counts and the time.
            make: As `fill` takes it; None for a stage that only reads images.
        """
        with stages.stage(name) as row:
            room = self.room(name)
            missing = any(room.missing(wanted)) or (self.retry_failed and room.failed(wanted))
            batches: int | list[list[str]] = 1
            if missing:
                batches = self.trials.batch_size(name, wanted.values())
                if name == "images":  # the whole list, so that a restart has the same batches
                    batches = _image_batches(wanted, batches, self.generator)
            filled = fill(
                room,
                wanted,
                make or self.models.maker(name),
                batches,
                self.runtime.shard_size,
                storage=self.generator.storage if name == "images" else "files",
                unit="image",
                retry_failed=self.retry_failed,
            )
            row.update(found=filled.found + filled.waited, made=filled.made)
        return filled

    def _captions(self, samples: Sequence[Sample], stages: StageLog) -> list[list[str]]:
        """Return the candidates of each sample; none if it cannot be read."""
        assert self.captioner is not None
        keys = [self.captioner.key(sample) for sample in samples]
        self._fill("captions", dict(zip(keys, samples, strict=True)), stages)
        self.models.drop("captions")  # its memory is for the next model
        return self.column("captions", keys, "captions")

    def _scores(
        self, samples: Sequence[Sample], captions: list[list[str]], stages: StageLog
    ) -> list[list[float]]:
        """Return the cosines of each sample's candidates; none if it cannot be read."""
        keys = score_keys(samples, captions)
        rows = map(ToScore, keys, samples, captions)
        self._fill("scores", {row.key: row for row in rows}, stages)
        self.models.drop("scores")
        return self.column("scores", keys, "similarities")

    def column(self, name: StageName, keys: Sequence[str], column: str) -> list[Any]:
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


def _with_result(found: Sequence[Any], *columns: Sequence[Any]) -> list[list[Any]]:
    """Return the columns without the rows that have no result."""
    return [[value for value, has in zip(c, found, strict=True) if has] for c in columns]
