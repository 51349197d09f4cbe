"""What befalls a training: memory, NaN, lost processes, Ctrl-C, and a W&B that fails."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.trust.faults import jobs, killing
from experiments.trust.faults.base import Ended, Outcome, fault, holds, one_line

OFFLINE = ("logger=wandb", "logger.max_images=2")


def _whole(folder: Path) -> None:
    """Begin with generated images, so that training is what is left to do."""
    import shutil

    jobs.whole(killing.whole_folder())
    shutil.copytree(killing.whole_folder() / "store", folder / "store")


def _run_folder(folder: Path) -> Path:
    (run,) = (folder / "runs").glob("*seed0*")
    return run


@fault("out of memory while generating: more than 2 images do not fit")
def generation_memory(folder: Path) -> Outcome:
    expected = jobs.whole(killing.whole_folder())

    def before() -> None:
        import torch

        from sip.images.engine import Engine

        real = Engine.rows

        def small(self: Engine, batch: Any) -> Any:
            if len(batch.prompts) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return real(self, batch)

        Engine.rows = small  # type: ignore[method-assign]

    ended = jobs.generate(folder, before=before)
    holds(ended.code == 0, "it failed", ended)
    holds(jobs.generated(folder).keys() == expected.keys(), "other rows")
    return Outcome(ended.line("do not fit into memory, going on with 2"), "nothing")


@fault("out of memory while training")
def training_memory(folder: Path) -> Outcome:
    def before() -> None:
        import torch

        from sip.classifier.module import Classifier

        def full(self: Classifier, *args: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        Classifier.training_step = full  # type: ignore[method-assign,assignment]

    _whole(folder)
    line = one_line(jobs.train(folder, before=before), "8 images", "memory", "batch_size")
    return Outcome(line, "steps since the last checkpoint; half a batch would be another training")


@fault("the loss becomes NaN", quick=True)
def not_finite(folder: Path) -> Outcome:
    _whole(folder)
    wild = ("classifier.lr=1e30", "classifier.warmup_steps=0")
    line = one_line(jobs.train(folder, *wild), "the loss is", "not_finite.json", "classifier.lr")
    run = _run_folder(folder)
    told = json.loads((run / "not_finite.json").read_text())
    holds(len(told["images"]) == 8, "not the whole batch")
    holds({"step", "seed", "augmentation", "lr"} <= told.keys(), f"it lacks facts: {told.keys()}")
    holds(not (run / "summary.json").exists(), "the run counts as finished")
    holds(not (run / ".unfinished.ckpt").exists(), "a checkpoint was spoilt")
    return Outcome(line.replace(str(folder), "..."), "nothing: no checkpoint holds what happened")


@fault("a process that reads images for the training is killed")
def worker(folder: Path) -> Outcome:
    from sip.backbone.saved import load_network

    _whole(folder)
    workers = ("runtime.loader_workers=1", "runtime.memory_gib=0")
    whole = jobs.train(folder, *workers, f"paths.runs={folder / 'unbroken'}")
    holds(whole.code == 0, "the unbroken training failed", whole)

    def before() -> None:
        from sip.classifier import resume
        from sip.classifier.data import Stream

        resume.EVERY, resume.SHARE = 0.0, 1e9
        real = Stream.__getitem__

        def deadly(self: Stream, position: int) -> Any:
            if position == 41:  # of the sixth batch
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, position)

        Stream.__getitem__ = deadly  # type: ignore[method-assign]

    ended = jobs.train(folder, *workers, before=before)
    line = one_line(ended, "a process that reads images was lost", "start again")
    again = jobs.train(folder, *workers)
    holds(again.code == 0, "the second start failed", again)
    went_on = again.line("going on from step")
    files = [next((folder / name).glob("*/classifier")) for name in ("runs", "unbroken")]
    ours, theirs = (load_network(file).state_dict() for file in files)
    holds(all(ours[key].equal(theirs[key]) for key in theirs), "other weights")
    return Outcome(line, f"steps since the last checkpoint ({went_on}): same weights")


@fault("Ctrl-C twice while training")
def interrupted_twice(folder: Path) -> Outcome:
    _whole(folder)
    long = ("classifier.steps=4000", "classifier.val_every=4000")
    child = jobs.start("sip.train", folder, *long)
    deadline = time.monotonic() + 240
    while not list((folder / "runs").glob("*/metrics.csv")):
        holds(time.monotonic() < deadline, "waited for 240 s")
        time.sleep(0.02)
    time.sleep(0.3)
    child.kill(signal.SIGINT)
    child.kill(signal.SIGINT)
    ended = child.wait()
    holds(ended.code == 130 and "Traceback" not in ended.said, f"got {ended.code}", ended)
    return Outcome(
        ended.line("stopped: what was finished is kept"), "steps since the last checkpoint at most"
    )


def _wandb(folder: Path, words: tuple[str, ...], *more: str, before: Callable[[], None]) -> Ended:
    """Train with a W&B that fails; see that local files are whole and that it was said once."""
    import pandas as pd

    _whole(folder)
    plain = jobs.train(folder, f"paths.runs={folder / 'plain'}")
    holds(plain.code == 0, "the unbroken training failed", plain)
    ended = jobs.train(folder, *OFFLINE, *more, before=before)
    holds(ended.code == 0, "the run did not go on", ended)
    holds(ended.said.count("going on without it") == 1, "not said once", ended)
    ended.line("going on without it", *words)
    run = _run_folder(folder)
    (other,) = (folder / "plain").glob("*seed0*")
    holds((run / "summary.json").exists(), "no summary")
    curves = [pd.read_csv(one / "metrics.csv") for one in (run, other)]
    holds(curves[0].equals(curves[1]), "another curve than without W&B")
    return ended


@fault("W&B out of reach (online, nobody answers)")
def wandb_unreachable(folder: Path) -> Outcome:
    def before() -> None:
        import wandb

        os.environ |= {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
        os.environ.pop("WANDB_MODE", None)
        real = wandb.init

        def init(*args: Any, settings: Any, **kwargs: Any) -> Any:
            settings.init_timeout = 5.0  # s, in place of 90
            return real(*args, settings=settings, **kwargs)

        wandb.init = init

    ended = _wandb(folder, (), "logger.mode=online", before=before)
    return Outcome(ended.line("going on without it"), "nothing: local files are whole")


@fault("W&B fails in the middle of a run")
def wandb_breaks(folder: Path) -> Outcome:
    def before() -> None:
        import wandb

        jobs.silence_wandb()
        wandb.init = lambda **_: Fake(fails="log")

    ended = _wandb(folder, ("gone away",), before=before)
    return Outcome(ended.line("going on without it"), "nothing: local files are whole")


@fault("W&B is slow: an upload that never ends")
def wandb_slow(folder: Path) -> Outcome:
    def before() -> None:
        import wandb

        jobs.silence_wandb()

        def init(settings: Any, **_: Any) -> Fake:
            return Fake(fails="finish", limit=settings.finish_timeout)

        wandb.init = init

    ended = _wandb(folder, ("600",), before=before)
    return Outcome(ended.line("going on without it"), "at most 10 minutes at the end of a run")


class Fake:
    """Stands for a W&B run; one of its methods fails.

    Args:
        limit: s that it was told to wait for an upload; it does not wait here.
    """

    id, name, offline = "fake", "fake", False

    def __init__(self, fails: str, limit: float = 0) -> None:
        self.fails, self.limit, self.summary, self.calls = fails, limit, {}, 0

    def __getattr__(self, name: str) -> Any:
        def call(*args: object, **kwargs: object) -> None:
            self.calls += 1
            if name == self.fails == "log" and self.calls > 3:
                raise BrokenPipeError("the service has gone away")
            if name == self.fails == "finish":
                if not self.limit:
                    raise AssertionError("nothing bounds the wait")
                raise TimeoutError(f"not uploaded within {self.limit:.0f} s")

        return call
