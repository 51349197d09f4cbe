"""Which room reads which; makes only what the classifier needs and does not find.

    dataset -> captions -> scores -> prompts -> images -> classifier

The classifier pulls: an arm that draws nothing builds no captioner, and nothing of the prompts is
in its fingerprint. Every room is asked for rows; the store has them or they are made.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from sip.build import build
from sip.captions.base import Captioner
from sip.common.errors import UserError
from sip.common.images import to_png
from sip.common.seeds import digest
from sip.dataset.base import Sample
from sip.images.base import Drawn, Generator
from sip.prompts.base import Prompt, PromptWriter
from sip.scores.base import Scorer
from sip.store import Filled, Room, Store

Add = Callable[[dict[str, Any]], None]


@dataclass
class Stages:
    """What each stage found and made, and how long it took; also printed as it happens."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage; the caller fills in what was `found` and `made`."""
        row: dict[str, Any] = {"stage": name, "found": 0, "made": 0}
        started = time.monotonic()
        yield row
        row["seconds"] = round(time.monotonic() - started, 2)
        self.rows.append(row)
        say(name, f"found {row['found']}, made {row['made']}, {row['seconds']:.1f} s")

    def filled(self, name: str, work: Callable[[], Filled]) -> dict[str, dict]:
        """Run a stage that fills rows of the store; return the rows by key."""
        with self.stage(name) as row:
            filled = work()
            row.update(found=filled.found + filled.waited, made=filled.made)
        return filled.rows


def say(name: str, text: str) -> None:
    """Print one line about a stage, under the progress bars."""
    print(f"{name:<12} {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Picture:
    """A drawn picture that training uses: its prompt and its row in the store."""

    prompt: Prompt
    row: dict[str, Any]
    candidates: tuple[tuple[str, float], ...]  # captions with their cosines


class Offline:
    """The rooms before the classifier: from samples to drawn pictures.

    Args:
        config: The whole configuration; each room's node is built here and nowhere else.
    """

    def __init__(self, config: DictConfig) -> None:
        self.store = Store(config.paths.store)
        self.runtime = config.runtime
        self.writer: PromptWriter = build(config.prompts)
        self.generator: Generator = build(config.images)
        self.captioner: Captioner | None = None
        self.scorer: Scorer | None = None
        if "captions" in self.writer.reads or "scores" in self.writer.reads:
            self.captioner = build(config.captions)
        if "scores" in self.writer.reads:
            self.scorer = build(config.scores)
        self.device = device(config.runtime.device)

    def recipe(self) -> dict:
        """Return everything that decides what is drawn from a given sample."""
        rooms = {"captions": self.captioner, "scores": self.scorer}
        return {
            **{name: room.recipe() for name, room in rooms.items() if room is not None},
            "prompts": self.writer.recipe(),
            "images": self.generator.recipe(),
            "per_sample": self.generator.per_sample,
        }

    def require(self) -> None:
        """Check before any work that the list can be drawn and that all weights are there.

        Raises:
            UserError: Some are missing; says which, where they were looked for, how to get them.
        """
        self.generator.num_evaluations(_trial_prompt(self.writer.noise_rate))
        missing = []
        for room in (self.captioner, self.scorer, self.generator):
            try:
                if room is not None:
                    room.require()
            except UserError as error:
                missing.append(str(error))
        if missing:
            raise UserError("; ".join(missing))

    def prompts(self, samples: Sequence[Sample], stages: Stages) -> tuple[list[Prompt], dict]:
        """Return the drawing list, and sample_id -> candidate captions with cosines."""
        captions = None
        if self.captioner:
            captions = self._captions(samples, stages)
            readable = [n for n, said in enumerate(captions) if said]
            if len(readable) < len(samples):
                say("captions", f"{len(samples) - len(readable)} failed; nothing is drawn of them")
            samples = [samples[n] for n in readable]
            captions = [captions[n] for n in readable]
        scores = self._scores(samples, captions, stages) if self.scorer and captions else None
        with stages.stage("prompts") as row:
            prompts = self.writer.write(samples, captions, scores, self.generator.per_sample)
            row["made"] = len(prompts)
        candidates = {
            sample.sample_id: tuple(zip(captions[n], scores[n], strict=True))
            for n, sample in enumerate(samples)
            if captions and scores
        }
        return prompts, candidates

    def pictures(self, samples: Sequence[Sample], stages: Stages) -> list[Picture]:
        """Draw what is missing; return the drawn pictures in the order of the drawing list."""
        prompts, candidates = self.prompts(samples, stages)
        wanted = {prompt.image_id: prompt for prompt in prompts}
        room = self._room("images", self.generator)

        def make(missing: list[Prompt], add: Add) -> None:
            self.generator.load(self.device)
            sources = {prompt.image_id: prompt for prompt in missing}

            def sink(drawn: list[Drawn]) -> None:
                for one in drawn:
                    add(_image_row(one, sources[one.image_id]))

            self.generator.draw(missing, self.runtime.batch_size.images, sink)

        rows = stages.filled(
            "images", lambda: room.fill_pushed(wanted, make, self.runtime.shard_size, unit="image")
        )
        failed = [row for row in rows.values() if row["status"] == "failed"]
        if failed:
            say("images", f"{len(failed)} failed, first: {failed[0]['error']}")
        return [
            Picture(prompt, rows[prompt.image_id], candidates.get(prompt.sample_id, ()))
            for prompt in prompts
            if rows[prompt.image_id]["status"] == "ok"
        ]

    def _room(self, name: str, implementation: Any) -> Room:
        recipe = implementation.recipe()
        return self.store.room(name, recipe["class"].split(".")[-2], recipe)

    def _captions(self, samples: Sequence[Sample], stages: Stages) -> list[list[str]]:
        captioner = self.captioner
        assert captioner is not None
        size = self.runtime.batch_size.captions

        def make(missing: list[Sample], add: Add) -> None:
            captioner.load(self.device)
            captioner.batch_size = size
            for start in range(0, len(missing), size):
                for row in _caption_rows(captioner, missing[start : start + size]):
                    add(row)

        wanted = {sample.sha256: sample for sample in samples}
        room = self._room("captions", captioner)
        rows = stages.filled(
            "captions",
            lambda: room.fill_pushed(wanted, make, self.runtime.shard_size, unit="image"),
        )
        return [list(rows[sample.sha256]["captions"]) for sample in samples]

    def _scores(
        self, samples: Sequence[Sample], captions: list[list[str]], stages: Stages
    ) -> list[list[float]]:
        scorer = self.scorer
        assert scorer is not None
        size = self.runtime.batch_size.scores
        keys = [digest(sample.sha256, said) for sample, said in zip(samples, captions, strict=True)]

        def make(missing: list[tuple[str, Sample, list[str]]], add: Add) -> None:
            scorer.load(self.device)
            scorer.batch_size = size
            for start in range(0, len(missing), size):
                batch = missing[start : start + size]
                similarities = scorer.score([m[1] for m in batch], [m[2] for m in batch])
                for (key, sample, said), cosines in zip(batch, similarities, strict=True):
                    add(
                        {
                            "key": key,
                            "sample_id": sample.sample_id,
                            "captions": said,
                            "similarities": cosines,
                            "status": "ok",
                            "error": None,
                        }
                    )

        wanted = {
            key: (key, sample, said)
            for key, sample, said in zip(keys, samples, captions, strict=True)
        }
        room = self._room("scores", scorer)
        rows = stages.filled(
            "scores", lambda: room.fill_pushed(wanted, make, self.runtime.shard_size, unit="image")
        )
        return [list(rows[key]["similarities"]) for key in keys]


def _caption_rows(captioner: Captioner, batch: list[Sample]) -> list[dict[str, Any]]:
    """Caption a batch; if a picture cannot be read, that one fails and the others do not."""

    def row(sample: Sample, captions: list[str], error: str | None) -> dict[str, Any]:
        return {
            "key": sample.sha256,
            "sample_id": sample.sample_id,
            "captions": captions,
            "status": "failed" if error else "ok",
            "error": error,
        }

    try:
        captions = captioner.caption(batch)
    except ValueError as error:
        if len(batch) == 1:
            return [row(batch[0], [], str(error))]
        return [r for sample in batch for r in _caption_rows(captioner, [sample])]
    return [row(sample, said, None) for sample, said in zip(batch, captions, strict=True)]


def _trial_prompt(noise_rate: float) -> Prompt:
    """Return a prompt of nothing, on which the generator can refuse the noise rate."""
    return Prompt("", "", "", 0, "", 0, (), "", 1.0, noise_rate, 0, None, None)


def _image_row(drawn: Drawn, prompt: Prompt) -> dict[str, Any]:
    row: dict[str, Any] = {
        "key": drawn.image_id,
        "sample_id": prompt.sample_id,
        "label": prompt.label,
        "width": None,
        "height": None,
        "unet_evaluations": drawn.unet_evaluations,
        "seconds": round(drawn.seconds, 4),
        "status": drawn.status,
        "error": drawn.error,
        "payload": None,
        "suffix": ".png",
    }
    if drawn.pixels is not None:
        height, width = drawn.pixels.shape[1:]
        row.update(width=width, height=height, payload=to_png(drawn.pixels))
    return row


def device(choice: str) -> str:
    """Return the torch device that `runtime.device` names.

    Raises:
        UserError: A GPU is asked for and there is none.
    """
    import torch

    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if choice.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"runtime.device={choice}: torch {torch.__version__} sees no GPU; use runtime.device="
            "cpu, or install torch with the CUDA version of your driver"
        )
    return choice
