"""Adapt a generator: what is learnt, the training, and the run folder that `images.lora` takes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from sip.adapt.data import Learnt, Spans, rows_key
from sip.adapt.method import DreamboothLora, Method, TextualInversion
from sip.config.build import build
from sip.config.provenance import choice, recorded
from sip.core.component import refuse
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.files import check_folders, plain_disk_errors, write_atomically
from sip.core.hashing import fingerprint_of
from sip.core.interrupt import graceful
from sip.core.stages import StageLog
from sip.core.tars import read_checked
from sip.core.text import counted, format_duration, key_of, text_table
from sip.dataset.base import Sample
from sip.dataset.reader import say_made_parts
from sip.dataset.remarks import say_remarks
from sip.device.settings import Runtime, set_threads
from sip.images.adapted import AdapterRecord
from sip.images.naming import encoded_as
from sip.images.settings import DiffusionSettings
from sip.pipeline.plan import nothing_downloaded
from sip.prompts.base import Span
from sip.records.write import write_config
from sip.store.fill import fill
from sip.store.filling import Add
from sip.store.stage import StageStore, Store
from sip.weights.missing import MissingWeightsError

if TYPE_CHECKING:
    from sip.adapt.prior import Prior
    from sip.adapt.training import Outcome

SHEET, CURVE = "validation.png", "loss.png"
ASSUMED = "a photo of a {label}"  # text of a plan if captions are still to come


class Adaptation:
    """One generator, adapted to the training part of a data set.

    Args:
        config: The whole configuration.
    """

    def __init__(self, config: DictConfig) -> None:
        from sip.adapt.model import require_model, require_precision, require_settings
        from sip.tracking.loggers import require_logger

        self.config = config
        check_folders(config.paths)
        self.stages = StageLog()
        self.method: Method = build(config.method)
        self.settings: DiffusionSettings = require_settings(build(config.images))
        self.dataset = build(config.dataset)
        self.runtime = Runtime.of(config.runtime)
        require_precision(self.method, self.settings, self.runtime.device)
        set_threads(self.runtime)
        require_logger(config.logger)
        if not isinstance(self.method, TextualInversion) and find_spec("peft") is None:
            raise UserError(f"method: needs the package peft; {install_extras('lora')}")
        self.missing: MissingWeightsError | None = None
        if not config.plan:
            require_model(self.settings, self.method)
            return
        try:
            with nothing_downloaded():
                require_model(self.settings, self.method)
        except MissingWeightsError as error:
            self.missing = error

    @cached_property
    def samples(self) -> Sequence[Sample]:
        """The images of the data set: its training part, with its shots."""
        with self.stages.stage("dataset") as row:
            samples: Sequence[Sample] = self.dataset.samples("train")
            row["cached"] = len(samples)
            say_made_parts(self.dataset)
            say_remarks(self.dataset)
        if not samples:
            raise UserError("dataset: must have training images to learn from, got none; add some")
        return samples

    @cached_property
    def class_names(self) -> list[str]:
        """Classes that have an image, in the order of their labels."""
        names = {sample.label: sample.class_name for sample in self.samples}
        return [names[label] for label in sorted(names)]

    @cached_property
    def prior(self) -> "Prior | None":
        """The images that the model must not forget; None for methods without."""
        if not isinstance(self.method, DreamboothLora):
            return None
        from sip.adapt.prior import Prior

        return Prior(self.config, self.method, self.class_names)

    @property
    def has_texts(self) -> bool:
        """Whether the texts follow from the templates, and need no captions."""
        return self.method.templates is not None

    def rows(self, assumed: bool = False) -> list[Learnt]:
        """Return what is learnt; makes the captions that the prompts read.

        Args:
            assumed: Make nothing; texts and files that are still to come are left out.
        """
        if self.has_texts:
            texts = [self._texts(self.method.texts(sample.class_name)) for sample in self.samples]
        elif assumed:
            texts = [self._texts([ASSUMED.format(label=s.class_name)]) for s in self.samples]
        else:
            texts = self._prompts()
        own = [
            Learnt(sample.path, sample.sha256, sample.class_name, spans)
            for sample, spans in zip(self.samples, texts, strict=True)
        ]
        return own + ([] if self.prior is None else self.prior.rows())

    def _texts(self, texts: Sequence[str]) -> tuple[Spans, ...]:
        return tuple((Span(text, 1.0),) for text in texts)

    def _prompts(self) -> list[tuple[Spans, ...]]:
        """Return the text of each image by the group `prompts`, in one span of weight 1.

        Raises:
            UserError: One does not name the class.
        """
        from sip.pipeline.offline import Offline

        offline = Offline(self.config)
        offline.require()
        prompts, _ = offline.prompts(self.samples, self.stages)
        first = {prompt.sample_id: prompt for prompt in reversed(prompts)}
        for prompt in first.values():
            spans = (Span(prompt.text, 1.0),)
            probe = {prompt.class_name: "\0"}
            if encoded_as(spans, prompt.class_name, probe) == spans:
                rule = "texts that name the class, as it is what is learnt"
                fix = "choose prompts=label_caption, or set method.templates"
                raise refuse("prompts", rule, prompt.text, fix)
        left = [sample.sample_id for sample in self.samples if sample.sample_id not in first]
        if left:
            raise UserError(
                f"adapt: each image must have a prompt, got none for {len(left)}, the first "
                f"{left[0]}; fix its captions, or set method.templates"
            )
        return [self._texts([first[sample.sample_id].text]) for sample in self.samples]

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Everything that decides the weights and is not in `rows_key`."""
        settings = self.settings
        vae = None if settings.autoencoder is None else settings.autoencoder.recipe()
        return {
            "method": self.method.recipe(),
            "model": settings.weights,
            "vae": vae,
            "dtype": settings.dtype,
            "size": settings.size,
            "weighting": settings.weighting.recipe(),
            "seed": self.config.seed,
        }

    @cached_property
    def stage(self) -> StageStore:
        """The adapters of this recipe in the store."""
        store = Store(self.config.paths.store)
        return store.stage("adapters", self.method.name, self.recipe)

    def folder(self, key: str) -> Path:
        """Return the run folder of what is learnt from images with a key."""
        fingerprint = fingerprint_of({"recipe": self.recipe, "rows": key})
        name = f"adapt-{choice('dataset')}-{self.method.name}-{fingerprint}"
        return Path(self.config.paths.runs) / name

    def run(self) -> None:
        """Train, or read what was trained before; write the run folder."""
        with graceful():
            rows = self.rows()
            key = rows_key(rows)
            folder = self.folder(key)
            with plain_disk_errors(folder, "paths.runs"):
                folder.mkdir(parents=True, exist_ok=True)

            def make(batches: Iterator[list[str]], add: Add) -> None:
                for _ in batches:
                    self._train(rows, key, folder, add)

            wanted = {name: name for name in (key, _sheet(key))}
            with self.stages.stage("adapters") as counts:
                filled = fill(self.stage, wanted, make, len(wanted), len(wanted), unit="file")
                counts.update(cached=filled.cached + filled.waited, computed=filled.computed)
        self._write(filled.rows, key, rows, folder)

    def _train(self, rows: Sequence[Learnt], key: str, folder: Path, add: Add) -> None:
        """Train, and hand the weights and the sheet over to the store."""
        from sip.adapt.training import train

        if self.prior is not None:
            rows = [row for row in rows if not row.is_prior] + self.prior.make(self.stages)
        outcome: Outcome = train(
            self.settings, self.method, rows, key, self.config, folder, self.runtime.device
        )
        add(
            {
                "key": key,
                "status": "ok",
                "payload": outcome.weights,
                "suffix": ".safetensors",
                "names": json.dumps(outcome.names),
                "steps": outcome.steps,
                "losses": outcome.losses,
                "seconds": outcome.seconds,
            }
        )
        add({"key": _sheet(key), "status": "ok", "payload": outcome.sheet, "suffix": ".png"})

    def _write(
        self,
        found: Mapping[str, Mapping[str, Any]],
        key: str,
        rows: Sequence[Learnt],
        folder: Path,
    ) -> None:
        """Write the run folder, and print what there is."""
        from sip.adapt.watch import plot_curve
        from sip.classifier.resume import Checkpoints

        row, sheet = found[key], found[_sheet(key)]
        with plain_disk_errors(folder, "paths.runs"):
            for name, there in ((self.method.file, row), (SHEET, sheet)):
                data = read_checked(there["file"], there["file_sha256"])
                write_atomically(folder / name, data)
            plot_curve(row["steps"], row["losses"], folder / CURVE)
            write_config(self.config, folder / "config.yaml")
            record = AdapterRecord(
                method=self.method.name,
                file=self.method.file,
                sha256=row["file_sha256"],
                base=self.settings.weights,
                model=self.settings.model,
                pipeline=self.settings.folder.pipeline,
                parameters=self.settings.memory().parameters,
                names=json.loads(row["names"]),
                classes=tuple(self.class_names),
                learnt=tuple(sorted({row.sha256 for row in rows if not row.is_prior})),
                steps=self.method.steps,
                seconds=row["seconds"],
                loss=row["losses"][-1],
                recipe=self.recipe | {"rows": key},
            )
            record.write(folder)
        Checkpoints(folder, key).remove()
        print(text_table(self._table(record, rows, folder)))

    def _table(self, record: AdapterRecord, rows: Sequence[Learnt], folder: Path) -> dict[str, str]:
        own = sum(not row.is_prior for row in rows)
        of = counted(len(record.classes), "class", "classes")
        prior = f", and {counted(len(rows) - own, 'class image')}" if len(rows) > own else ""
        shown = [f"{name} as {text}" for name, text in list(record.names.items())[:3]]
        return {
            "learnt": f"{counted(own, 'image')} of {of}{prior}",
            **({"names": ", ".join(shown)} if shown else {}),
            "steps": f"{record.steps:,}, {format_duration(record.seconds)}",
            "loss": f"{record.loss:.4f} at the end; {folder / CURVE}",
            "validation images": str(folder / SHEET),
            "weights": str(folder / record.file),
            "to generate": _command(folder),
        }


def _command(folder: Path) -> str:
    """Return the command that generates with an adapter, from the same images."""
    given = recorded()
    words = [word for word in given.overrides if not key_of(word).startswith("method")]
    return given.line("generate", [*words, f"images.lora={folder}"])


def _sheet(key: str) -> str:
    return f"{key}-sheet"
