"""The jobs that are broken: generation, and training, by the very commands of a user.

What they load is loaded once: children are forks of this process, and take the models from it.
"""

import os
import runpy
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.trust.faults.base import Child, Ended, holds, in_child
from tests.kills import contents

BASE = (
    "dataset.shots=1",
    "images.num_steps=4",
    "prompts.noise_rate=0.5",
    "metrics=[]",
    "runtime.device=cpu",
    "runtime.num_threads=1",
    "runtime.loader_workers=0",
    "runtime.batch_size.captions=5",
    "runtime.batch_size.scores=5",
    "runtime.batch_size.images=5",
    "runtime.shard_size=5",
    "logger=csv",
)
NUM_GENERATED = 10
TRAINING = (
    "augmentation=sip",
    "backbone.name=test_resnet",
    "backbone.stem=null",
    "classifier.steps=8",
    "classifier.val_every=4",
    "classifier.warmup_steps=1",
    "classifier.batch_size=8",
    "train.leaks=false",
)
STAGES = ("captions", "scores", "images")
_loaded: list[tuple[Any, Any]] = []  # components, and what returns their loaded modules


def overrides(folder: Path, *more: str) -> list[str]:
    """Return the command line of a job in a folder."""
    paths = [f"paths.{name}={folder / name}" for name in ("store", "runs", "data")]
    values = dict(text.split("=", 1) for text in [*BASE, *paths, *more])  # the last one counts
    return [f"{key}={value}" for key, value in values.items()]


def command(module: str, arguments: Sequence[str]) -> Callable[[], None]:
    """Return a function that does what `python -m <module> <arguments>` does, models at hand."""

    def work() -> None:
        _take_loaded()
        sys.argv = [module, *arguments]
        sys.orig_argv = [sys.executable, "-m", module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)

    return work


def generate(folder: Path, *more: str, before: Callable[[], None] = lambda: None) -> Ended:
    """Run the generation command to its end; `before` is called in its process."""
    return _run("sip.generate", folder, overrides(folder, *more), before)


def train(folder: Path, *more: str, before: Callable[[], None] = lambda: None) -> Ended:
    """Run the training command to its end."""
    return _run("sip.train", folder, overrides(folder, *TRAINING, *more), before)


def start(module: str, folder: Path, *more: str, name: str = "said") -> Child:
    """Start a command; return its process."""
    more = (*TRAINING, *more) if module == "sip.train" else more
    work = command(module, overrides(folder, *more))
    return Child(work, folder / f"{name}.txt")


def _run(module: str, folder: Path, arguments: Sequence[str], before: Callable[[], None]) -> Ended:
    work = command(module, arguments)

    def prepared() -> None:
        before()
        work()

    return in_child(prepared, folder / "said.txt")


def generation(folder: Path, *more: str) -> Callable[[], None]:
    """Return a function that generates as the command does, without Hydra, in half of the time."""
    from sip.jobs.generate import Generation

    config = configuration(more).copy()
    for name in ("store", "runs", "data"):
        config.paths[name] = str(folder / name)

    def work() -> None:
        _take_loaded()
        Generation(config).run()

    return work


@cache
def configuration(more: tuple[str, ...]) -> DictConfig:
    """Return the composed configuration of a job."""
    from hydra import compose, initialize_config_dir

    from sip.core.paths import conf_folder

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides(Path("nowhere"), *more))


@cache
def whole(folder: Path) -> dict[str, dict]:
    """Load the models, generate in a folder without any fault, and return what was generated.

    In this very process, so that the next ones find everything loaded.
    """
    from sip.jobs.generate import Generation

    config = configuration(()).copy()
    for name in ("store", "runs", "data"):
        config.paths[name] = str(folder / name)
    job = Generation(config)
    keep(job.offline)
    with open(os.devnull, "w") as silent, redirect_stdout(silent), redirect_stderr(silent):
        job.run()
    return generated(folder)


def keep(offline: Any) -> None:
    """Keep the models of a job for other processes, once they are loaded."""
    models = offline.models
    models.drop = lambda name: None
    for name in STAGES:
        # Bound now: later the class's method asks for what is loaded.
        _loaded.append((offline.of_stage(name), partial(models.module, name)))


def _take_loaded() -> None:
    """Let the pipeline take loaded models, and measure no speed."""
    import sip.pipeline.models
    import sip.pipeline.trial

    load = sip.pipeline.models.Models.module

    def module(self: Any, name: Any) -> Any:
        component = self.components.of_stage(name)
        kept = [get for known, get in _loaded if known == component]
        return kept[0]() if kept and name in STAGES else load(self, name)

    sip.pipeline.models.Models.module = module
    speed = sip.pipeline.trial.Speed(0.1, 0.1, 0.1, 0.1)
    sip.pipeline.trial.Trials.speed = lambda *_: speed


def generated(folder: Path) -> dict[str, dict]:
    """Return what a store holds, by stage and key, with the bytes of the images.

    Raises:
        AssertionError: A row is there twice, or something unfinished is left.
    """
    return contents(folder / "store")


def same(folder: Path, expected: dict[str, dict]) -> None:
    """Raise `AssertionError` unless a store holds what an unbroken job makes, bit by bit."""
    found = generated(folder)
    other = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
    holds(not other, f"{len(other)} rows differ from an unbroken job's, first {other[:3]}")


def shards(folder: Path, stage: str) -> list[Path]:
    """Return the finished shards of a stage."""
    return sorted((folder / "store" / stage).glob("*/shards/*"))


def made_again(ended: Ended) -> str:
    """Return what the stages of a second start had cached and computed, for the table."""
    lines = [line.split() for line in ended.said.splitlines() if " cached " in line]
    numbers = {words[0]: (words[2].strip(","), words[4].strip(",")) for words in lines}
    return ", ".join(
        f"{stage} cached {cached}, computed {computed}"
        for stage, (cached, computed) in numbers.items()
        if stage in STAGES
    )


def flip(file: Path, at: float = 0.5, bit: int = 3) -> None:
    """Flip one bit of a file, at a share of its length."""
    data = bytearray(file.read_bytes())
    data[int(len(data) * at)] ^= 1 << bit
    file.write_bytes(data)


def silence_wandb() -> None:
    """Keep W&B offline and quiet."""
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
