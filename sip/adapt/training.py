"""From images to the trained weights: loads the model, encodes, trains."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from sip.adapt.data import ExampleStream, Learnt, Spans, encode_images
from sip.adapt.fit import NAME, fit
from sip.adapt.method import DreamboothLora, Method
from sip.adapt.model import LoadedModel
from sip.adapt.module import AdaptModule
from sip.adapt.validation import Validation
from sip.adapt.watch import Watch
from sip.classifier.resume import Checkpoints
from sip.core.hashing import seed_of
from sip.core.progress import say
from sip.core.shapes import Size
from sip.images.naming import encoded_as
from sip.images.quiet import quiet
from sip.images.settings import DiffusionSettings
from sip.records.write import write_config
from sip.tracking.loggers import join_curves, keep_curves, log_results, make_loggers


@dataclass(frozen=True)
class Outcome:
    """What a training gives.

    Attributes:
        weights: The file that diffusers loads.
        sheet: PNG of the validation images.
        names: Class name -> what the text encoder reads in its place.
        steps, losses: The curve.
        seconds: Time of all starts.
    """

    weights: bytes
    sheet: bytes
    names: Mapping[str, str]
    steps: list[int]
    losses: list[float]
    seconds: float


class Prepared:
    """A loaded model with what is trained in it, and the stream of what it learns.

    Args:
        settings: The model.
        method: What is trained, and how.
        rows: Images.
        device: A torch device.
        seed: Decides everything random.
    """

    def __init__(
        self,
        settings: DiffusionSettings,
        method: Method,
        rows: Sequence[Learnt],
        device: str,
        seed: int,
    ) -> None:
        self.loaded = LoadedModel(settings, device)
        own = list(dict.fromkeys(row.class_name for row in rows if not row.is_prior))
        self.names = dict(method.names(own, self.loaded.tokenizers))
        with quiet():
            trained = method.trained(self.loaded.family, self.names, seed_of(seed, "adapter"))
        self.trained = trained
        size = Size.of(settings.size)
        prompts = list(dict.fromkeys(spans for row in rows for spans in self._read(row)))
        self.module = AdaptModule(
            trained,
            method,
            self.loaded.noise,
            prompts,
            settings.weighting,
            settings.samples_originals,
            size,
        ).to(device)
        latents = encode_images(self.loaded.family, rows, settings.size, method.flip_prob > 0)
        self.stream = ExampleStream(
            rows,
            latents,
            [self._read(row) for row in rows],
            prompts,
            length=method.steps * method.accumulate * method.batch_size,
            flip_prob=method.flip_prob,
            prior_weight=method.prior_weight if isinstance(method, DreamboothLora) else 0.0,
            num_times=self.loaded.noise.config.num_train_timesteps,
            num_channels=self.loaded.family.shape_of_latents(size)[0],
            seed=seed,
        )

    def _read(self, row: Learnt) -> tuple[Spans, ...]:
        """Return the prompts of an image as the text encoder reads them."""
        names = {} if row.is_prior else self.names
        return tuple(encoded_as(spans, row.class_name, names) for spans in row.texts)


def train(
    settings: DiffusionSettings,
    method: Method,
    rows: Sequence[Learnt],
    key: str,
    config: DictConfig,
    folder: Path,
    device: str,
) -> Outcome:
    """Train from the last checkpoint in the run folder, if there is one.

    Args:
        settings: The model.
        method: What is trained, and how.
        rows: Images.
        key: Their key.
        config: The whole configuration, for loggers and seed.
        folder: The run folder.
        device: A torch device.

    Raises:
        Stopped: A stop was requested; the next start goes on from here.
        UserError: As `fit`.
    """
    started = time.perf_counter()
    kept = Checkpoints(folder, key, NAME, method.accumulate)
    prepared = Prepared(settings, method, rows, device, config.seed)
    num = sum(weight.numel() for weight in prepared.trained.parameters())
    total = sum(weight.numel() for weight in prepared.loaded.family.parameters())
    say(NAME, f"{num:,} weights are trained, {num / total:.2%} of all")
    watch = Watch()
    shown = Validation(prepared.loaded, rows, method, prepared.names, settings.size, folder)
    keep_curves(folder, kept.path.exists())
    loggers = make_loggers(
        config.logger,
        folder,
        run_id=folder.name.rpartition("-")[2],
        name=folder.name,
        group=config.experiment,
        values=write_config(config, folder / "config.yaml"),
        job_type="adapter",
    )
    fit(
        prepared.module,
        prepared.stream,
        kept,
        device=device,
        dtype=settings.dtype,
        folder=folder,
        loggers=loggers,
        callbacks=[watch, shown],
    )
    sheet = folder / "validation.png"
    shown.sheet(sheet)
    log_results(loggers, {"train/loss": watch.losses[-1]}, folder, [])
    join_curves(folder)
    return Outcome(
        weights=prepared.trained.content(),
        sheet=sheet.read_bytes(),
        names=prepared.names,
        steps=watch.steps,
        losses=watch.losses,
        seconds=round(kept.earlier + time.perf_counter() - started, 1),
    )
