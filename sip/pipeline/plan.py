"""What a run would do, before it does it: rows, U-Net evaluations, time, space."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from textwrap import shorten
from typing import TYPE_CHECKING

from sip.captions.openai import OpenAi
from sip.captions.vision_language import VisionLanguage
from sip.core.errors import UserError
from sip.core.files import free_bytes
from sip.core.progress import say, write_lines
from sip.core.shapes import Size
from sip.core.spill import ByKey, Spilled
from sip.core.text import counted, format_bytes, format_duration, format_space, text_table
from sip.core.uri import Place
from sip.dataset.base import Sample
from sip.device.settings import absent
from sip.images.balance import describe
from sip.pipeline.backoff import foresee
from sip.pipeline.known import known_rows
from sip.pipeline.offline import Offline
from sip.pipeline.planned import PlannedRows, at_most, by_size
from sip.pipeline.rows import assumed_prompts, coming_images, known_images, readings, timed
from sip.store.shards import bytes_on_disk
from sip.weights import hub
from sip.weights.memory import NeedsMemory
from sip.weights.missing import MissingWeightsError
from sip.weights.stacks import stack_remarks

if TYPE_CHECKING:
    from omegaconf import DictConfig

NUM_SIZED = 8  # images whose file size is measured
MAX_EXAMPLE = 76  # characters of a prompt that is shown
NO_WEIGHTS = "weights are missing"
NOTHING_TO_DO = "none, everything is cached"


@dataclass(frozen=True)
class Plan:
    """What is there, what is to be made, and what that takes.

    Attributes:
        to_caption, to_score: Images.
        to_generate, cached, failed: Rows of the prompts; failed ones are cached too.
        evaluations: U-Net forward passes of the rows to generate; an upper bound where captions are
            still to come, since guidance may depend on them.
        exact: Whether the captions are there, and `evaluations` is exact.
        least: Those that are needed if every image is accepted at the next rate of its ladder, and
            at the lowest one if its class's start is still to be learned; None without a ladder.
            With one, images, evaluations, time and bytes are upper bounds.
        seconds: Estimated from a short measurement on this device; 0 if there is nothing to do,
            None if it was not measured.
        bytes_needed, bytes_free: Bytes on the store's disk.
        num_devices: Devices that share the work.
        balance: Images of each class and original in words, with `images.balance=true`.
        example: A prompt, with a gap if its caption is not there yet; empty if there is none.
        unmeasured: Why the time was not measured.
        work: The same row by row, for the total of a sweep.
        requests: What is asked of a service that captions, whose time nobody can measure before.
        memory: "captioner" and "generator" -> memory of the model that is to be loaded, in words.
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
    bytes_free: float
    num_devices: int
    balance: str = ""
    example: str = ""
    unmeasured: str = ""
    least: int | None = None
    work: tuple[PlannedRows, ...] = ()
    requests: str = ""
    memory: Mapping[str, str] = field(default_factory=dict)

    @property
    def _evaluations(self) -> str:
        return at_most(self.evaluations, self.least)

    def lines(self) -> dict[str, str]:
        """Return the plan as names and values."""
        devices = f" on {self.num_devices} devices" if self.num_devices > 1 else ""
        is_bound = self.least is not None and self.least < self.evaluations
        most = "" if self.exact or is_bound else "at most "
        bound = "at most " if is_bound else most
        control = sum(rows.control * len(rows.keys) for rows in self.work)
        space = format_space(self.bytes_needed, self.bytes_free, " needed, {} free")
        return {
            "to caption, to score": f"{self.to_caption:,}, {counted(self.to_score, 'image')}",
            **({"requests": self.requests} if self.requests else {}),
            "to generate": ("at most " if is_bound else "") + counted(self.to_generate, "image"),
            **{f"memory of {name}": text for name, text in self.memory.items()},
            **({"balance": self.balance} if self.balance else {}),
            **({"example prompt": shorten(self.example, MAX_EXAMPLE)} if self.example else {}),
            "cached": counted(self.cached, "image")
            + (f", of which {self.failed:,} failed (retry=failed)" if self.failed else ""),
            **({"sizes": sizes} if (sizes := by_size(self.work)) else {}),
            **({"U-Net evaluations": f"{most}{self._evaluations}"} if self.evaluations else {}),
            **({"ControlNet evaluations": f"{bound}{control:,}"} if control else {}),
            "time to generate": self._time(f"{devices}, by a short measurement"),
            "disk": f"about {space}",
        }

    def line(self) -> str:
        """Return the plan in one line."""
        space = format_space(self.bytes_needed, self.bytes_free, " of {} free")
        evaluations = f"{self._evaluations} U-Net evaluations, " if self.evaluations else ""
        return (
            f"{self.to_generate:,} to generate, {self.cached:,} cached; {evaluations}"
            f"time {self._time()}, {space}"
        )

    def _time(self, how: str = "") -> str:
        if self.seconds is None:
            return f"not measured: {self.unmeasured}"
        return f"about {format_duration(self.seconds)}{how}" if self.seconds else NOTHING_TO_DO

    def check_space(self, store: Place) -> None:
        """Refuse what does not fit on the disk.

        Raises:
            UserError: It does not.
        """
        if self.bytes_needed > self.bytes_free:
            needed, free = format_bytes(self.bytes_needed), format_bytes(self.bytes_free)
            images = counted(self.to_generate, "image")
            raise UserError(
                f"paths.store: must have about {needed} free for {images}, got {free} in {store}; "
                "delete what is not needed, or set another paths.store or a smaller images.format"
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
    samples, counts = offline.to_generate_from(samples)
    known = known_rows(offline, samples)
    prompts = offline.write(known.samples, known.captions, known.scores, counts)
    offline.generator.check(prompts)
    stage = offline.stage("images")
    asked = () if unmeasured else class_names
    ladders = foresee(offline, prompts, asked, is_whole=not known.coming)
    rows = ByKey((prompt.image_id for prompt in ladders.rungs), ladders.rungs)
    to_make = partial(stage.lacks, retry_failed=offline.retry_failed)
    offline.examine(prompts)
    if known.coming:
        offline.foresee(samples)
    first: Container[str] = rows
    if ladders.needed is not None:
        first = {
            min(rungs, key=offline.generator.num_evaluations).image_id
            for rungs in ladders.needed
            if rungs and all(to_make(one.image_id) for one in rungs)
        }
    missing = Spilled(prompt for key, prompt in rows.items() if to_make(key))
    images = [
        *known_images(offline, missing, first),
        *coming_images(offline, samples, known.coming),
    ]
    work = [*images, *readings(offline, known)]
    to_generate = sum(len(rows.keys) for rows in images)
    bytes_each = _bytes_per_image(offline, samples) if to_generate else 0.0
    if not unmeasured and work:
        work = timed(offline, work, samples, num_devices)
    work = [replace(rows, bytes=bytes_each) if rows.kind == "generate" else rows for rows in work]
    cached = Spilled(key for key in rows if not to_make(key))
    for key in sorted(ladders.settled):
        if key not in rows or to_make(key):
            cached.append(key)
    return Plan(
        to_caption=len(known.to_caption),
        to_score=len(known.to_score),
        to_generate=to_generate,
        cached=len(cached),
        failed=len(stage.failed(cached)),
        evaluations=sum(rows.evaluations * len(rows.keys) for rows in images),
        exact=not known.coming,
        seconds=None if unmeasured else sum((rows.seconds or 0) * len(rows.keys) for rows in work),
        bytes_needed=int(to_generate * bytes_each),
        bytes_free=free_bytes(offline.store.root),
        num_devices=num_devices,
        balance=describe(samples, counts) if offline.generator.balance else "",
        example=prompts[0].text if prompts else offline.example(samples[0]) if samples else "",
        unmeasured=unmeasured,
        least=None
        if offline.verdict is None
        else sum(rows.least * len(rows.keys) for rows in images),
        work=(*work, PlannedRows("cached", str(stage.folder), cached)),
        requests=offline.captioner.foreseen(len(known.to_caption))
        if isinstance(offline.captioner, OpenAi) and known.to_caption
        else "",
        memory=_memory(offline, bool(known.to_caption), to_generate > 0),
    )


def _memory(offline: Offline, captions: bool, generates: bool) -> dict[str, str]:
    """Return the memory of the models that are to be loaded, in words."""
    lines = {}
    if captions and isinstance(offline.captioner, VisionLanguage):
        lines["captioner"] = offline.captioner.memory_line()
    if generates and isinstance(offline.generator, NeedsMemory):
        lines["generator"] = offline.generator.memory().line()
    return lines


def most_evaluations(offline: Offline, samples: Sequence[Sample]) -> int:
    """Return the U-Net evaluations of all images of these samples if none is in the store.

    With a ladder of noise rates, an upper bound: each image is generated at every rate.
    """
    cost = sum(map(offline.generator.num_evaluations, assumed_prompts(offline)))
    return cost * sum(offline.num_images(samples).values())


def show_plan(plan: Plan, missing: MissingWeightsError | None) -> None:
    """Print a plan, and the weights that are to be had before it can be carried out."""
    write_lines(text_table(plan.lines()))
    if missing is not None:
        write_lines(missing)


def _bytes_per_image(offline: Offline, samples: Sequence[Sample]) -> float:
    """Return what an original takes on the disk, on average, if it is stored as images are."""
    from sip.core.image_io import encode, read_rgb, to_tensor

    sizes = []
    for sample in samples[:: max(1, len(samples) // NUM_SIZED)][:NUM_SIZED]:
        try:
            size = offline.generator.stored_size(Size(sample.width, sample.height))
            image = read_rgb(sample.path, size or offline.generator.size)
        except ValueError:
            continue
        sizes.append(len(encode(to_tensor([image])[0], offline.generator.format)))
    storage = offline.stage("images").place.storage(offline.generator.storage)
    return sum(bytes_on_disk(size, storage) for size in sizes) / len(sizes) if sizes else 0.0
