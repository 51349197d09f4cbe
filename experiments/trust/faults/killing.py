"""kill -9, before and after every rename and in the middle of every write."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.trust.faults import jobs
from experiments.trust.faults.base import Child, Ended, Outcome, fault, holds, in_child
from experiments.trust.faults.breaking import Breaker

WEIGHTS = "classifier/model.safetensors"
FEW = 2  # touches that the quick form breaks, from all over the job
most: int | None = None  # that any fault breaks; None: as many as it says


def touches(work: Callable[[], Any], folder: Path) -> int:
    """Return how often a job touches the disk below a folder."""

    def counted() -> int:
        breaker = Breaker(folder, 0)
        breaker.install()
        try:
            work()
        except SystemExit as end:
            assert not end.code, end
        return breaker.num

    ended = in_child(counted, folder.with_name("counted.txt"))
    holds(ended.code == 0 and ended.value, "the job failed without a fault", ended)
    return ended.value


def break_at(work: Callable[[], Any], folder: Path, number: int, full: bool = False) -> Ended:
    """Do a job that is broken at a touch. One job touches the disk a little more than another."""

    def broken() -> None:
        Breaker(folder, number, full).install()
        work()

    return in_child(broken, folder.with_name("broken.txt"))


def chosen(total: int, few: int | None) -> list[int]:
    """Return the numbers of the touches to break at: all, or a few from all over."""
    few = min(few or total, most or total)
    if few >= total:
        return list(range(1, total + 1))
    return [1 + (2 * n + 1) * total // (2 * few) for n in range(few)]


def _generation(folder: Path, few: int | None) -> Outcome:
    expected = jobs.whole(whole_folder())
    counted = folder / "counted"
    counted.mkdir()
    total = touches(jobs.generation(counted), counted)
    numbers, again, stages = chosen(total, few), 0, Counter[str]()
    last = ""
    for number in numbers:
        place = folder / f"at{number}"
        place.mkdir()
        ended = break_at(jobs.generation(place), place, number)
        if ended.code == 0 and number > 0.9 * total:  # this time there were fewer
            continue
        holds(ended.code == -9, f"touch {number}: expected a kill, got {ended.code}", ended)
        stages[_stage(place)] += 1
        before = finished(place)
        ended = in_child(jobs.generation(place), place / "said.txt")
        holds(ended.code == 0, f"touch {number}: the second start failed", ended)
        jobs.same(place, expected)
        again += len(before - set(jobs.generated(place)))
        holds(finished(place) >= before, f"touch {number}: finished rows were lost")
        last = jobs.made_again(ended)
        shutil.rmtree(place)
    where = ", ".join(f"{num} in {stage}" for stage, num in stages.items())
    return Outcome(
        f"Killed; the same command goes on ({last})",
        f"{stages.total()} kills at {total} touches of the disk ({where}): {again} finished rows "
        "lost, at most 5 rows (the open shard) made twice, same bytes",
    )


def _stage(folder: Path) -> str:
    """Return the last stage that has finished rows."""
    return next((stage for stage in jobs.STAGES[::-1] if jobs.shards(folder, stage)), "dataset")


def finished(folder: Path) -> set[str]:
    """Return "stage/key" of all finished rows."""
    from sip.store.shards import read_columns

    return {
        f"{stage}/{key}"
        for stage in jobs.STAGES
        for shard in jobs.shards(folder, stage)
        for key in read_columns(shard, ["key"])["key"]
    }


def whole_folder() -> Path:
    """Return the folder of the job that nothing broke, one a process."""
    return Path(_ROOT.name) / "whole"


_ROOT = tempfile.TemporaryDirectory(prefix="sip-faults-")


@fault("kill -9 while generating, at a few touches of the disk", quick=True)
def generation_quick(folder: Path) -> Outcome:
    return _generation(folder, FEW)


@fault("kill -9 while generating: before and after renames, in half-written files")
def generation(folder: Path) -> Outcome:
    return _generation(folder, None)


@fault("kill -9 while generating into tar shards")
def generation_tar(folder: Path) -> Outcome:
    storage = "images.storage=webdataset"
    whole = folder / "whole"
    holds(in_child(jobs.generation(whole, storage), folder / "said.txt").code == 0, "it failed")
    expected = jobs.generated(whole)
    counted = folder / "counted"
    total = touches(jobs.generation(counted, storage), counted)
    numbers = chosen(total, total // 3)
    for number in numbers:
        place = folder / f"at{number}"
        ended = break_at(jobs.generation(place, storage), place, number)
        holds(ended.code == -9, f"touch {number}: no kill", ended)
        ended = in_child(jobs.generation(place, storage), place / "said.txt")
        holds(ended.code == 0, f"touch {number}: the second start failed", ended)
        jobs.same(place, expected)
        shutil.rmtree(place)
    did = f"{len(numbers)} kills at {total} touches"
    return Outcome("Killed; the same command goes on", f"{did}: nothing finished, same bytes")


def small_training(folder: Path) -> Callable[[], Any]:
    """Return a training of a few steps with a checkpoint before each, on made-up images."""

    def work() -> Any:
        from pytorch_lightning.loggers import CSVLogger

        from sip.classifier import resume
        from tests.classifier.made_up import make_splits, run

        resume.EVERY, resume.SHARE = 0.0, 1e9
        images = folder.with_name("images")
        images.mkdir(exist_ok=True)
        splits = make_splits(images)
        folder.mkdir(exist_ok=True)
        result = run(splits, folder, [CSVLogger(str(folder), name="", version="")])
        return result.history

    return work


def _training(folder: Path, few: int | None) -> Outcome:
    whole = folder / "whole"
    ended = in_child(small_training(whole), folder / "whole.txt")
    holds(ended.code == 0, "the unbroken training failed", ended)
    expected = (whole / WEIGHTS).read_bytes()
    counted = folder / "counted"
    total = touches(small_training(counted), counted)
    numbers, repeated = chosen(total, few), []
    for number in numbers:
        place = folder / f"at{number}"
        broken = break_at(small_training(place), place, number)
        holds(broken.code == -9, f"touch {number}: expected a kill, got {broken.code}", broken)
        again = in_child(small_training(place), folder / "again.txt")
        holds(again.code == 0, f"touch {number}: the second start failed", again)
        found = (place / WEIGHTS).read_bytes()
        holds(found == expected, f"touch {number}: other weights than an unbroken training's")
        holds(again.value == ended.value, f"touch {number}: another curve")
        repeated.append("going on from step" in again.said)
        shutil.rmtree(place)
    return Outcome(
        "Killed; the same command goes on from its checkpoint",
        f"{len(numbers)} kills at {total} touches ({sum(repeated)} went on from a checkpoint, "
        "the rest from step 0, before the first): same weights and curve; steps since the last "
        "checkpoint (60 s) taken twice",
    )


@fault("kill -9 while training: checkpoints, weights, predictions, curve")
def training(folder: Path) -> Outcome:
    return _training(folder, None)


@fault("kill -9 of a whole run of sip.train, at touches of its run folder")
def whole_run(folder: Path) -> Outcome:
    jobs.whole(whole_folder())
    data = folder / "whole"
    shutil.copytree(whole_folder() / "store", data / "store")
    ended = jobs.train(data)
    holds(ended.code == 0, "the unbroken run failed", ended)
    expected = _accuracy(data)
    counted = folder / "counted"
    shutil.copytree(data / "store", counted / "store")
    work = jobs.command("sip.train", jobs.overrides(counted, *jobs.TRAINING))
    total = touches(work, counted / "runs")
    numbers = chosen(total, total // 4)
    for number in numbers:
        place = folder / f"at{number}"
        shutil.copytree(data / "store", place / "store")
        work = jobs.command("sip.train", jobs.overrides(place, *jobs.TRAINING))
        broken = break_at(work, place / "runs", number)
        holds(broken.code == -9, f"touch {number}: expected a kill, got {broken.code}", broken)
        ended = jobs.train(place)
        holds(ended.code == 0, f"touch {number}: the second start failed", ended)
        holds(_accuracy(place) == expected, f"touch {number}: another result")
        shutil.rmtree(place)
    return Outcome(
        "Killed; the same command goes on, and the run is whole",
        f"{len(numbers)} kills at {total} touches: same logits and curve, nothing generated again",
    )


def _accuracy(folder: Path) -> Any:
    """Return the results of a finished run."""
    import json

    import pandas as pd

    (file,) = (folder / "runs").glob("*/summary.json")
    summary = json.loads(file.read_text())
    predictions = pd.read_parquet(file.parent / "predictions.parquet")
    curve = pd.read_csv(file.parent / "metrics.csv").sort_index(axis=1).to_csv()
    return summary["metrics"], predictions.logits.map(list).tolist(), curve


@fault("Ctrl-C twice while generating")
def interrupted_twice(folder: Path) -> Outcome:
    import signal
    import time

    jobs.whole(whole_folder())
    child: Child = jobs.start("sip.generate", folder, "images.num_steps=80")
    deadline = time.monotonic() + 240
    while "scores       cached" not in child.said.read_text():
        holds(time.monotonic() < deadline, "waited for 240 s")
        time.sleep(0.02)
    time.sleep(0.3)  # in the midst of a batch
    child.kill(signal.SIGINT)
    time.sleep(0.2)
    child.kill(signal.SIGINT)
    ended = child.wait()
    holds(ended.code == 130 and "Traceback" not in ended.said, f"got {ended.code}", ended)
    saw = ended.line("stopped: what was finished is kept")
    unfinished = list((folder / "store").glob("images/*/tmp/*"))
    kept = finished(folder)
    again = jobs.generate(folder, "images.num_steps=80")
    holds(again.code == 0 and finished(folder) >= kept, "the second start failed", again)
    holds(len(jobs.generated(folder)) == 3 * jobs.NUM_GENERATED, "not all rows are there")
    return Outcome(saw, f"the batch at hand; {len(unfinished)} unfinished shards left behind")
