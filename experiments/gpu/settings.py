"""The arguments of the day, `key=value`, and what is known of its steps before they run."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class SettingsError(Exception):
    """An argument is wrong; one line."""


@dataclass(frozen=True)
class Step:
    """One step of the day.

    Attributes:
        name: As in `steps=`.
        title: As in the table.
        limit: Seconds it may take, when the day has at least 9 minutes.
        least: Seconds without which it is not begun.
        needs_data: It reads CIFAR-10 from `data=`.
        is_elastic: It also takes the time that no later step is going to need.
        target: "module:function", called with a `Job`.
    """

    name: str
    title: str
    limit: float
    least: float
    needs_data: bool
    is_elastic: bool
    target: str


STEPS = (
    Step("tests", "GPU tests", 90, 20, False, False, "experiments.gpu.gpu_tests:run"),
    Step("generation", "generation", 150, 60, False, False, "experiments.gpu.generation:run"),
    Step("natural", "natural-image stack", 240, 60, True, True, "experiments.gpu.natural:run"),
    Step("training", "training speed", 60, 30, False, False, "experiments.gpu.training:run"),
    Step("resnet18", "ResNet-18, CIFAR-10", 120, 40, True, True, "experiments.gpu.resnet18:run"),
)
TINY_LIMIT, TINY_LEAST = 60.0, 1.0  # s; the tiny form needs a few seconds of them
TINY_TRAINING = 2.0  # s of training in the tiny form of steps 3 and 5


@dataclass(frozen=True)
class Settings:
    """Settings of the command line.

    Attributes:
        output: Folder of the results; made if it is not there.
        minutes: Of the whole day, start-up included.
        data: Folder with `train.parquet` and `test.parquet` of CIFAR-10, or None.
        device: "cuda" or "cpu".
        tiny: Run every step in miniature: figures that show nothing but that the code runs.
        steps: Names of those that run, in the order of `STEPS`.
        resume: Folder with the natural-image stack's weights to continue from; `output` if None.
        prepare: Print what must travel to the GPU machine, and run nothing.
        wheels: Folder with wheels that travel, for `prepare`.
        missing: Packages that the GPU machine lacks, for `prepare`.
    """

    output: Path = Path("gpu_day")
    minutes: float = 9.0
    data: Path | None = None
    device: str = "cuda"
    tiny: bool = False
    steps: tuple[str, ...] = tuple(step.name for step in STEPS)
    resume: Path | None = None
    prepare: bool = False
    wheels: Path | None = None
    missing: tuple[str, ...] = (
        *("diffusers", "hydra-core", "omegaconf"),
        *("pydantic", "pydantic_core", "annotated-types", "typing-inspection"),
        "antlr4-python3-runtime",
    )

    def chosen(self) -> tuple[Step, ...]:
        """Return the steps that are to run, most valuable first."""
        return tuple(step for step in STEPS if step.name in self.steps)


def parse(words: Sequence[str]) -> Settings:
    """Return the settings that the arguments name.

    Raises:
        SettingsError: A key is unknown or a value is out of its range.
    """
    values: dict[str, object] = {}
    known = list(Settings.__dataclass_fields__)
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}=...?" if near else ""
            raise SettingsError(
                f"{key}: must be key=value with a key of {', '.join(known)}, got {word!r}{hint}"
            )
        values[key] = _value(key, text)
    settings = Settings(**values)  # type: ignore[arg-type]
    wrong = [name for name in settings.steps if name not in {step.name for step in STEPS}]
    if wrong:
        names = ", ".join(step.name for step in STEPS)
        raise SettingsError(f"steps: must be names of {names}, got {wrong[0]!r}")
    return settings


def _value(key: str, text: str) -> object:
    if key in ("tiny", "prepare"):
        if text not in ("true", "false"):
            raise SettingsError(f"{key}: must be true or false, got {text!r}")
        return text == "true"
    if key == "minutes":
        try:
            minutes = float(text)
        except ValueError:
            minutes = 0.0
        if not 0 < minutes < 24 * 60:
            raise SettingsError(f"minutes: must be a number in (0, 1440), got {text!r}")
        return minutes
    if key == "device":
        if text not in ("cuda", "cpu"):
            raise SettingsError(f"device: must be cuda or cpu, got {text!r}")
        return text
    if key in ("steps", "missing"):
        return tuple(filter(None, text.strip("[]").split(",")))
    return Path(text).absolute()
