"""What a run would do, before it does it: rows, U-Net evaluations, time, space."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.text import counted, format_bytes, format_duration, text_table
from sip.dataset.base import Sample
from sip.device.settings import absent
from sip.images.balance import describe
from sip.pipeline.backoff import foresee
from sip.pipeline.components import StageName, trial_prompt
from sip.pipeline.offline import Offline, score_keys
from sip.prompts.base import Prompt
from sip.weights import hub
from sip.weights.missing import MissingWeightsError
from sip.weights.stacks import stack_remarks

if TYPE_CHECKING:
    from omegaconf import DictConfig

NUM_SIZED = 8  # images whose file size is measured
SPARE = 1.05  # of the bytes needed: rows, checksums, blocks of the file system
MAX_EXAMPLE = 76  # characters of a prompt that is shown
NO_WEIGHTS = "weights are missing"
NOTHING_TO_DO = "none, everything is cached"
ASSUMED_GUIDANCE = 2.0  # of a row whose caption is not there yet: with guidance, the costlier way


@dataclass(frozen=True)
class Plan:
    """What is there, what is to be made, and what that takes.

    Attributes:
        to_caption, to_score: Images.
        to_generate, cached, failed: Rows of the prompts; failed ones are cached too.
        evaluations: U-Net forward passes of the rows to generate; an upper bound where captions are
            still to come, since guidance may depend on them.
        exact: Whether the captions are there, and `evaluations` is exact.
        least: Those that are needed if every image is accepted at the next rate of its ladder;
            None without a ladder. With one, images, evaluations, time and bytes are upper bounds.
        seconds: Estimated from a short measurement on this device; 0 if there is nothing to do,
            None if it was not measured.
        bytes_needed, bytes_free: Bytes on the store's disk.
        num_devices: Devices that share the work.
        balance: Images of each class and original in words, with `images.balance=true`.
        example: A prompt, with a gap if its caption is not there yet; empty if there is none.
        unmeasured: Why the time was not measured.
    """

    to_caption: int
    to_score: int
    to_generate: int
    cached: int
    failed: int
    evaluations: int
    exact: bool
    seconds: float | None
    bytes_needed: int
    bytes_free: int
    num_devices: int
    balance: str = ""
    example: str = ""
    unmeasured: str = ""
    least: int | None = None

    @property
    def _evaluations(self) -> str:
        text = f"{self.evaluations:,}"
        if self.least is None or self.least == self.evaluations:
            return text
        return f"at most {text} ({self.least:,} if no further image is rejected)"

    def lines(self) -> dict[str, str]:
        """Return the plan as names and values."""
        devices = f" on {self.num_devices} devices" if self.num_devices > 1 else ""
        is_bound = self.least is not None and self.least < self.evaluations
        most = "" if self.exact or is_bound else "at most "
        needed, free = format_bytes(self.bytes_needed), format_bytes(self.bytes_free)
        return {
            "to caption, to score": f"{self.to_caption:,}, {self.to_score:,} images",
            "to generate": ("at most " if is_bound else "") + counted(self.to_generate, "image"),
            **({"balance": self.balance} if self.balance else {}),
            **({"example prompt": shorten(self.example, MAX_EXAMPLE)} if self.example else {}),
            "cached": counted(self.cached, "image")
            + (f", of which {self.failed:,} failed (retry=failed)" if self.failed else ""),
            "U-Net evaluations": f"{most}{self._evaluations}",
            "time to generate": self._time(f"{devices}, by a short measurement"),
            "disk": f"about {needed} needed, {free} free",
        }

    def line(self) -> str:
        """Return the plan in one line."""
        needed, free = format_bytes(self.bytes_needed), format_bytes(self.bytes_free)
        return (
            f"{self.to_generate:,} to generate, {self.cached:,} cached; {self._evaluations} U-Net "
            f"evaluations, time {self._time()}, {needed} of {free} free"
        )

    def _time(self, how: str = "") -> str:
        if self.seconds is None:
            return f"not measured: {self.unmeasured}"
        return f"about {format_duration(self.seconds)}{how}" if self.seconds else NOTHING_TO_DO

    def check_space(self, store: Path) -> None:
        """Refuse what does not fit on the disk.

        Raises:
            UserError: It does not.
        """
        if self.bytes_needed > self.bytes_free:
            needed, free = format_bytes(self.bytes_needed), format_bytes(self.bytes_free)
            raise UserError(
                f"{store}: about {needed} are needed for {self.to_generate:,} "
                f"images, {free} are free; make room, or set paths.store or a "
                "smaller images.format"
            )


def say_what_models_know(config: "DictConfig") -> None:
    """Say so if models are a trial, or the miniature ones get images other than digits."""
    model = str(config.images.get("model"))
    if model.startswith("sip/miniature/") and "digits" not in config.dataset["_target_"]:
        say(
            "models",
            "the miniature ones know only digits: a trial; for your images take others, "
            "as of profile=paper",
        )
    for remark in stack_remarks(chosen_models(config)):
        say("models", remark)


def without_device(config: "DictConfig") -> str:
    """Let a plan look at a configuration for a GPU that this machine lacks, on its CPU.

    Returns:
        Why no time is measured; empty if the device is there.
    """
    runtime = config.runtime
    if not absent(str(runtime.device)):
        return ""
    say("plan", f"this machine lacks runtime.device={runtime.device}; all but the time is planned")
    runtime.device = "cpu"
    return "the device is not on this machine"


def chosen_models(config: "DictConfig") -> list[str]:
    """Return the weights of the stages of generation, as the configuration names them."""
    models = (config[name].get("model") for name in ("captions", "scores", "images"))
    return [str(model) for model in models if model is not None]


@contextmanager
def nothing_downloaded() -> Iterator[None]:
    """Within it, missing weights are only reported, without asking the network."""
    before, hub.may_download = hub.may_download, False
    try:
        yield
    finally:
        hub.may_download = before


def missing_weights(
    offline: Offline | None, more: Mapping[str, Callable[[], None]]
) -> MissingWeightsError | None:
    """Return which weights a run needs and this disk lacks; None if it has them all.

    Args:
        offline: Its stages are looked at; None if nothing is generated.
        more: What else needs weights, and what raises the error if they are missing.

    Raises:
        UserError: Weights are there and cannot be used.
    """
    missing = offline.missing_weights() if offline else {}
    for name, require in more.items():
        try:
            require()
        except MissingWeightsError as error:
            missing[name] = error
    return MissingWeightsError.joined(missing) if missing else None


def make_plan(
    offline: Offline,
    samples: Sequence[Sample],
    num_devices: int = 1,
    unmeasured: str = "",
    class_names: Sequence[str] = (),
) -> Plan:
    """Look up what is there and measure a few rows of what is not.

    Args:
        offline: The stages.
        samples: The originals.
        num_devices: Devices that share the work.
        unmeasured: Why the time cannot be measured; empty if it can.
        class_names: By label, for the verdicts on what a ladder has generated; empty: not asked.
    """
    known = known_rows(offline, samples)
    to_caption, to_score = known.to_caption, known.to_score
    counts = offline.num_images(samples)
    prompts = offline.write(known.samples, known.captions, known.scores, counts)
    offline.generator.check(prompts)
    stage = offline.stage("images")
    ladders = foresee(offline, prompts, () if unmeasured else class_names)
    rows = {prompt.image_id: prompt for rungs in ladders.waiting for prompt in rungs}
    failed = stage.failed(rows)
    to_make = {*stage.missing(rows), *(failed if offline.retry_failed else ())}
    missing = [prompt for key, prompt in rows.items() if key in to_make]
    offline.examine(prompts)
    if to_caption:
        offline.foresee(samples)
    coming = sum(counts[sample.sample_id] for sample in known.coming)
    cost = offline.generator.num_evaluations
    first = {rungs[0].image_id for rungs in ladders.waiting if rungs}
    assumed = [cost(prompt) for prompt in _assumed(offline)]
    evaluations = sum(map(cost, missing)) + coming * sum(assumed)
    least = sum(cost(prompt) for prompt in missing if prompt.image_id in first)
    least += coming * max(assumed)
    to_generate = len(missing) + coming * len(assumed)
    busy = {"captions": to_caption, "scores": to_score, "images": to_generate}
    seconds: float | None = None if unmeasured else 0.0
    if not unmeasured and any(busy.values()):
        speed = offline.trials.speed(samples, {name for name, num in busy.items() if num})
        seconds = to_caption * speed.caption + to_score * speed.score
        seconds += evaluations * speed.evaluation + to_generate * speed.image
    folder = offline.store.root
    return Plan(
        to_caption=to_caption,
        to_score=to_score,
        to_generate=to_generate,
        cached=len(rows) - len(missing) + len(ladders.settled - rows.keys()),
        failed=len(failed),
        evaluations=evaluations,
        exact=not coming,
        seconds=None if seconds is None else seconds / num_devices,
        bytes_needed=int(to_generate * _bytes_per_image(offline, samples) * SPARE)
        if to_generate
        else 0,
        bytes_free=shutil.disk_usage(_existing(folder)).free,
        num_devices=num_devices,
        balance=describe(samples, counts) if offline.generator.balance else "",
        example=prompts[0].text if prompts else offline.example(samples[0]) if samples else "",
        unmeasured=unmeasured,
        least=None if offline.verdict is None else least,
    )


def show_plan(plan: Plan, missing: MissingWeightsError | None) -> None:
    """Print a plan, and the weights that are to be had before it can be carried out."""
    print(text_table(plan.lines()))
    if missing is not None:
        print(missing)


@dataclass(frozen=True)
class KnownRows:
    """The samples whose prompts can be written now, and how many others wait for which stage.

    Attributes:
        samples: Samples whose rows of captions and scores are there.
        captions, scores: Their rows; None if the prompts do not read them.
        to_caption, to_score: Images.
        coming: The samples whose prompts can be written after that.
    """

    samples: list[Sample]
    captions: list[list[str]] | None
    scores: list[list[float]] | None
    to_caption: int
    to_score: int
    coming: list[Sample]


def known_rows(offline: Offline, samples: Sequence[Sample]) -> KnownRows:
    """Look up the captions and scores that are there."""
    known, captions, scores = list(samples), None, None
    to_caption = to_score = 0
    coming: list[Sample] = []
    if offline.captioner:
        keys = [offline.captioner.key(sample) for sample in known]
        kept, missing = _there(offline, "captions", keys)
        coming = [known[n] for n in missing]
        to_caption = len(missing)
        known = [known[n] for n in kept]
        captions = offline.column("captions", [keys[n] for n in kept], "captions")
    if offline.scorer and captions is not None:
        keys = score_keys(known, captions)
        kept, missing = _there(offline, "scores", keys)
        coming += [known[n] for n in missing]
        to_score = len(coming)
        known, captions = [known[n] for n in kept], [captions[n] for n in kept]
        scores = offline.column("scores", [keys[n] for n in kept], "similarities")
    return KnownRows(known, captions, scores, to_caption, to_score, coming)


def _there(offline: Offline, name: StageName, keys: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the positions of the keys that have a good row, and of those to compute."""
    stage = offline.stage(name)
    missing, failed = set(stage.missing(keys)), set(stage.failed(keys))
    kept = [n for n, key in enumerate(keys) if key not in missing | failed]
    wanted = missing | failed if offline.retry_failed else missing
    return kept, [n for n, key in enumerate(keys) if key in wanted]


def _assumed(offline: Offline) -> list[Prompt]:
    """Return what an image is generated from whose caption is not there yet, on each rung."""
    backoff = offline.writer.backoff
    rates = [max(offline.writer.noise_rates)] if backoff is None else backoff.rates
    return [replace(trial_prompt(rate), guidance_scale=ASSUMED_GUIDANCE) for rate in rates]


def _bytes_per_image(offline: Offline, samples: Sequence[Sample]) -> float:
    """Return the mean size of originals in the form in which images are stored."""
    from sip.core.image_io import encode, read_rgb, to_tensor

    sizes = []
    for sample in samples[:: max(1, len(samples) // NUM_SIZED)][:NUM_SIZED]:
        try:
            image = read_rgb(sample.path, offline.generator.size)
        except ValueError:
            continue
        sizes.append(len(encode(to_tensor([image])[0], offline.generator.format)))
    return sum(sizes) / len(sizes) if sizes else 0.0


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
