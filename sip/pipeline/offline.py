"""Generation: which stage reads which; makes only the rows that are wanted and missing.

    dataset -> captions -> scores -> prompts -> images -> filter -> classifier

The classifier pulls: an arm without generated images builds no captioner, and nothing of the
prompts is in its fingerprint. Every stage is asked for rows: the store has them, or they are made.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from omegaconf import DictConfig

from sip.captions.base import StatedCaptions
from sip.captions.openai import OpenAi
from sip.config.build import build
from sip.core.component import refuse
from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.spill import ByKey, Joined, KeyNumbers, Spilled
from sip.core.stages import StageLog
from sip.dataset.base import Sample
from sip.device.settings import Devices, Runtime, absent
from sip.executor.base import Executor
from sip.executor.local import Local
from sip.executor.remote import RemoteMake
from sip.images.balance import Equal, balanced
from sip.images.base import Generator, ImageRow
from sip.pipeline.components import ASSUMED_COSINE, Components, StageName
from sip.pipeline.failures import failures, report_failures, without_prompt
from sip.pipeline.makers import images_maker
from sip.pipeline.models import Models
from sip.pipeline.remote import RemoteStage
from sip.pipeline.stored import Candidates, StoredImage, candidates
from sip.pipeline.trial import Trials
from sip.prompts.base import Prompt
from sip.scores.base import ToEmbed, ToScore
from sip.store.fill import Filled, fill
from sip.store.repair import check_retry
from sip.store.stage import StageStore, Store

Row = TypeVar("Row")


class Offline(Components):
    """The stages before the classifier: from samples to generated images.

    Args:
        config: The whole configuration.
    """

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self.store = Store(config.paths.store)
        self.devices = Devices.of(config.trainer) if "trainer" in config else Devices()
        # Commands with a configuration of their own have no choice of it.
        self.executor: Executor = build(config.executor) if "executor" in config else Local()
        runtime = config.runtime
        if self.executor.is_remote and absent(str(runtime.device)):  # the actors' machines have it
            runtime = {**runtime, "device": "cpu"}
        if self.executor.is_remote and "auto" in config.runtime.batch_size.values():
            fix = "set runtime.batch_size.captions, scores and images"
            raise refuse("runtime.batch_size", "numbers with executor=ray", "auto", fix)
        self._config = config
        self.models = Models(self, Runtime.of(runtime), self.devices)
        self.trials = Trials(self.models, self.store.work / "batch_sizes.json")
        self._stages: dict[StageName, StageStore] = {}
        self._examined = KeyNumbers()  # of variant and sample_id
        self._checked = False
        # Of `sip.pipeline.streaming`: rows that were made already, and seconds.
        self.ahead: dict[StageName, tuple[int, float]] = {}
        check_retry(config.retry)
        self.retry_failed = config.retry == "failed"

    @property
    def runtime(self) -> Runtime:
        """Device settings of this process."""
        return self.models.runtime

    @property
    def num_processes(self) -> int:
        """How many processes make rows, on all machines together."""
        return self.executor.num_workers * self.devices.num_processes(self.runtime.device)

    def stage(self, name: StageName) -> StageStore:
        """Return the rows of a stage in the store."""
        if name not in self._stages:  # one of each, so that what it knows of the disk is kept
            recipe = self.of_stage(name).recipe()
            choice = recipe["class"].split(".")[-2]
            self._stages[name] = self.store.stage(name, choice, recipe)
        return self._stages[name]

    def prompts(
        self, samples: Sequence[Sample], stages: StageLog
    ) -> tuple[Sequence[Prompt], Mapping[str, Candidates]]:
        """Return the prompts, and sample_id -> candidate captions with cosines."""
        captions: Sequence[list[str]] | None = None
        scores: Sequence[list[float]] | None = None
        samples, counts = self.to_generate_from(samples)
        if self.captioner:
            captions = self._captions(samples, stages)
            samples, captions = _with_result(captions, samples, captions)
        if self.scorer and captions:
            scores = self._scores(samples, captions, stages)
            samples, captions, scores = _with_result(scores, samples, captions, scores)
        with stages.stage("prompts") as row:
            prompts = self.write(samples, captions, scores, counts)
            row["computed"] = len(prompts)
        return prompts, candidates(samples, captions, scores)

    def write(
        self,
        samples: Sequence[Sample],
        captions: Sequence[Sequence[str]] | None,
        scores: Sequence[Sequence[float]] | None,
        counts: Mapping[str, int] | None = None,
    ) -> Sequence[Prompt]:
        """Return the prompts of these samples.

        Args:
            samples: Each with its row in `captions` and `scores`, as far as the prompts read them.
            captions, scores: Captions and scores of the samples.
            counts: As `num_images` returns them, of these samples and others; None: of these.
        """
        if not samples:
            return []
        counts = counts or self.num_images(samples)
        if isinstance(counts, Equal):
            prompts = self.writer.write(samples, captions, scores, counts.num)
            return self.generator.completed(prompts, samples)
        if getattr(self.writer, "per_original", False):  # a large class needs few of each
            written = (
                self.writer.write([one], _row(captions, n), _row(scores, n), counts[one.sample_id])
                for n, one in enumerate(samples)
            )
            return self.generator.completed(Spilled(chain.from_iterable(written)), samples)
        most = max(counts[sample.sample_id] for sample in samples)
        prompts = self.writer.write(samples, captions, scores, most)
        if any(prompt.variant >= counts[prompt.sample_id] for prompt in prompts):
            prompts = Spilled(one for one in prompts if one.variant < counts[one.sample_id])
        return self.generator.completed(prompts, samples)

    def to_generate_from(
        self, samples: Sequence[Sample]
    ) -> tuple[Sequence[Sample], Mapping[str, int]]:
        """Return the originals that have images, and the number of images of each.

        Raises:
            UserError: Prompts cannot be written for the originals, or their masks are missing.
        """
        if not self._checked:
            self.writer.check(samples)
            self._checked = True
        counts = self.num_images(samples)
        if not all(counts.values()):
            samples = Spilled(sample for sample in samples if counts[sample.sample_id])
        self.generator.companions_of(samples)  # what is missing is named before any work
        return samples, counts

    def num_images(self, samples: Sequence[Sample]) -> Mapping[str, int]:
        """Return sample_id -> number of images to generate from it."""
        generator = self.generator
        if (counts := self.writer.counts(samples)) is not None:
            return counts
        if generator.balance:
            return balanced(samples, generator.per_sample, generator.max_per_sample)
        return Equal(samples, generator.per_sample)

    def generate(self, prompts: Sequence[Prompt], stages: StageLog, keep: bool = False) -> Filled:
        """Generate those images of the prompts that are missing.

        Args:
            prompts: What to generate.
            stages: Gets the counts and the time.
            keep: Keep the model loaded, for the next call.
        """
        self.generator.check(prompts)
        self.examine(prompts)
        wanted = ByKey((prompt.image_id for prompt in prompts), prompts)
        filled = self._fill("images", wanted, stages)
        if not keep:
            self.models.drop("images")  # its memory is the classifier's
        return filled

    def examine(self, prompts: Sequence[Prompt]) -> None:
        """Examine the prompts whose images are missing, each once."""
        stage = self.stage("images")
        stage.refresh()
        new = Spilled[Prompt]()
        for prompt in prompts:
            if stage.lacks(prompt.image_id, self.retry_failed):
                key = f"{prompt.variant} {prompt.sample_id}"
                if self._examined.put(key, 1) is None:  # a lower noise rate has the same text
                    new.append(prompt)
        self.generator.examine(new)

    def foresee(self, samples: Sequence[Sample]) -> None:
        """Check, before captions or scores are made, what would end the work after them.

        Raises:
            UserError: The adapter is another model's, the model reads no whole class name, or a
                prompt cannot be used as it is weighted.
        """
        first = list({sample.class_name: sample for sample in reversed(samples)}.values())
        try:
            prompts = self.write(first, [[""]] * len(first), [[ASSUMED_COSINE]] * len(first))
            captioned = self.write(first, [["photo"]] * len(first), [[ASSUMED_COSINE]] * len(first))
        except (UserError, ValueError):  # a writer that needs captions: examined after them
            prompts = captioned = []
        self.generator.check(captioned)
        self.generator.foresee(prompts)

    def images(
        self, prompts: Sequence[Prompt], captions: Mapping[str, Candidates]
    ) -> Iterator[StoredImage]:
        """Yield the images of prompts, failed ones too; few are in memory at a time.

        Args:
            prompts: All of them have been generated.
            captions: sample_id -> candidates, as `prompts` returns them.
        """
        rows = self.stage("images").each(prompt.image_id for prompt in prompts)
        kind, unread = self.generator.kind, self.generator.unread
        for prompt, row in zip(prompts, rows, strict=True):
            known = captions.get(prompt.sample_id, ())
            yield StoredImage(prompt, ImageRow(**row), known, kind=kind, unread=unread)

    def failures(self, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> Counter[str]:
        """Return how many images of these samples are missing, by reason."""
        return failures(
            self.stage("images"),
            self.num_images(samples),
            prompts,
            samples,
            self._uncaptioned(samples),
        )

    def without_prompt(
        self, prompts: Sequence[Prompt], samples: Sequence[Sample]
    ) -> Mapping[str, tuple[str, str | None]]:
        """Return sample_id -> why an original that should have a prompt has none, and the error."""
        counts = self.num_images(samples)
        return without_prompt(counts, prompts, samples, self._uncaptioned(samples))

    def report_failures(self, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> None:
        """Print how many images failed, and why.

        Raises:
            UserError: More than `images.max_failed` of them.
        """
        counts = self.num_images(samples)
        uncaptioned = self._uncaptioned(samples)
        report_failures(self.stage("images"), self.generator, counts, prompts, samples, uncaptioned)

    def _uncaptioned(self, samples: Sequence[Sample]) -> dict[str, str]:
        """Return sample_id -> why a service gave no caption for the image."""
        if not isinstance(self.captioner, OpenAi):
            return {}
        stage, key_of = self.stage("captions"), self.captioner.key
        rows = stage.read(stage.failed(map(key_of, samples)))
        errors = {key: row["error"] for key, row in rows.items() if row["requests"]}
        return {s.sample_id: errors[key] for s in samples if (key := key_of(s)) in errors}

    def embed(
        self, images: Mapping[str, str], stages: StageLog, generated: Collection[str] = ()
    ) -> None:
        """Have the unit vectors of images made; the embedder stays loaded.

        Args:
            images: Hash of the content (`Sample.sha256`, or `ImageRow.file_sha256`) -> path.
            stages: Gets the counts and the time.
            generated: Those of the hashes that are of generated images, whose files are checked.

        Raises:
            UserError: Some cannot be read, or are damaged.
        """
        wanted = {
            key: ToEmbed(key, path, key if key in generated else None)
            for key, path in images.items()
        }
        self._fill("embeddings", wanted, stages)
        if bad := self.stage("embeddings").failed(wanted):
            raise UserError(
                f"embeddings: {len(bad)} of {len(wanted)} images could not be read, first "
                f"{images[bad[0]]}; fix them, and use retry=failed"
            )

    def embeddings(self, keys: Sequence[str]) -> np.ndarray:
        """Return the unit vectors, (N, D), float32, of images that `embed` was called with."""
        return np.array([*self.column("embeddings", keys, "embedding")], np.float32)

    def _fill(self, name: StageName, wanted: Mapping[str, Any], stages: StageLog) -> Filled:
        """Compute the missing rows of a stage.

        Args:
            name: Name of the stage.
            wanted: Key -> input of each row.
            stages: Gets the counts and the time.
        """
        with stages.stage(name) as row:
            stage = self.stage(name)
            ahead = self.ahead.pop(name, None)
            retry_failed = self.retry_failed and ahead is None
            stage.refresh()
            missing = any(stage.lacks(key, retry_failed) for key in wanted)
            batches: int | Iterable[list[str]] = 1
            make = self.models.maker(name)
            if name == "captions" and isinstance(self.captioner, OpenAi):
                from sip.captions.asking import asks

                num_processes = self.num_processes
                make = asks(self.captioner, stage, num_processes)
            elif missing:
                size = num_full = batches = self.trials.batch_size(name, wanted.values())
                if name == "images":  # of the whole list, so that a restart has the same batches
                    num_full = _largest(_image_batches(wanted, size, self.generator), size)
                    batches = _image_batches(wanted, size, self.generator)
                    make = images_maker(self.models, wanted, stage, num_full)
                if self.executor.is_remote:
                    make = RemoteMake(make, self.remote_stage(name, num_full))
            filled = fill(
                stage,
                wanted,
                make,
                batches,
                self.runtime.shard_size,
                storage=self.generator.storage if name == "images" else "files",
                unit="image",
                retry_failed=retry_failed,
                executor=self.executor,
            )
            made, row["seconds"] = ahead or (0, 0.0)
            row.update(cached=filled.cached + filled.waited - made, computed=filled.computed + made)
        return filled

    def remote_stage(self, name: StageName, num_full: int) -> RemoteStage:
        """Return what makes the rows of a stage in another process."""
        return RemoteStage.of(name, self._config, num_full)

    def _captions(self, samples: Sequence[Sample], stages: StageLog) -> Sequence[list[str]]:
        """Return the candidates of each sample; none if it cannot be read."""
        assert self.captioner is not None
        if isinstance(self.captioner, StatedCaptions):
            with stages.stage("captions") as row:
                row["cached"] = len(samples)
                return self.captioner.stated(samples)
        keys = Spilled(map(self.captioner.key, samples))
        if any(self.stage("captions").missing(keys)):
            self.foresee(samples)
        self._fill("captions", ByKey(keys, samples), stages)
        if isinstance(self.captioner, OpenAi):
            from sip.captions.asking import tidy

            tidy(self.stage("captions"))
        self.models.drop("captions")  # its memory is for the next model
        return self.column("captions", keys, "captions")

    def _scores(
        self, samples: Sequence[Sample], captions: Sequence[list[str]], stages: StageLog
    ) -> Sequence[list[float]]:
        """Return the cosines of each sample's candidates; none if it cannot be read."""
        keys = score_keys(samples, captions)
        if any(self.stage("scores").missing(keys)):  # captions may have been there, or be stated
            self.foresee(samples)
        self._fill("scores", ByKey(keys, Joined(ToScore, keys, samples, captions)), stages)
        self.models.drop("scores")
        return self.column("scores", keys, "similarities")

    def column(self, name: StageName, keys: Iterable[str], column: str) -> Spilled[Any]:
        """Return one column of a stage, row by row."""
        return Spilled(row[column] for row in self.stage(name).each(keys, [column]))


def _row(rows: Sequence[Row] | None, number: int) -> list[Row] | None:
    """Return one row as a list; None of none."""
    return None if rows is None else [rows[number]]


def score_keys(samples: Sequence[Sample], captions: Sequence[Sequence[str]]) -> Sequence[str]:
    """Return the keys of the rows of scores."""
    pairs = zip(samples, captions, strict=True)
    return Spilled(digest(sample.sha256, list(candidates)) for sample, candidates in pairs)


def _image_batches(
    wanted: Mapping[str, Prompt], batch_size: int, generator: Generator
) -> Iterator[list[str]]:
    """Yield the keys that are generated together."""
    from sip.images.batches import group_rows

    for batch in group_rows(wanted.values(), batch_size, generator.group):
        yield [prompt.image_id for prompt in batch]


def _largest(batches: Iterable[Sequence[str]], most: int) -> int:
    """Return the size of the largest batch, none of which has more than `most` rows."""
    largest = 0
    for batch in batches:
        largest = max(largest, len(batch))
        if largest == most:
            break
    return largest


def _with_result(found: Sequence[Any], *columns: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the columns without the rows that have no result; the same ones if all have one."""
    if all(found):
        return list(columns)
    return [Spilled(value for value, has in zip(c, found, strict=True) if has) for c in columns]
