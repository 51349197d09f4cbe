"""A disk that is full, read-only, or another one than that of the temporary files."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from experiments.trust.faults import jobs, killing
from experiments.trust.faults.base import (
    Ended,
    NotRunError,
    Outcome,
    fault,
    holds,
    in_child,
    one_line,
)

NOBODY = 65534
SHM = Path("/dev/shm")


@fault("full disk while generating, from the n-th write on (simulated)")
def full_disk(folder: Path) -> Outcome:
    expected = jobs.whole(killing.whole_folder())
    counted = folder / "counted"
    total = killing.touches(jobs.command("sip.generate", jobs.overrides(counted)), counted)
    lines: Counter[str] = Counter()
    numbers = killing.chosen(total, None)
    for number in numbers:
        place = folder / f"at{number}"
        work = jobs.command("sip.generate", jobs.overrides(place))
        ended = killing.break_at(work, place, number, full=True)
        if ended.code != 0:  # past the last write there is nothing to fail
            line = one_line(ended, "cannot")
            lines[line.replace(str(place), "...").partition(";")[0]] += 1
        kept = killing.finished(place)
        again = jobs.generate(place)
        holds(again.code == 0, f"touch {number}: the second start failed", again)
        holds(killing.finished(place) >= kept, f"touch {number}: finished rows were lost")
        jobs.same(place, expected)
        shutil.rmtree(place)
    most = lines.most_common(1)[0][0]
    return Outcome(
        f"{most}; make room or give another folder (paths.store=...), then start again",
        f"nothing finished ({lines.total()} places, one line each, no traceback)",
    )


@fault("full disk while training (simulated): going on without a checkpoint", quick=True)
def full_disk_in_training(folder: Path) -> Outcome:
    work = killing.small_training(folder / "run")

    def broken() -> None:
        import torch

        real = torch.save

        def full(what: object, file: object) -> None:
            real("something", file)
            raise OSError(28, os.strerror(28), str(folder))

        torch.save = full
        work()

    ended = in_child(broken, folder / "said.txt")
    holds(ended.code == 0, "the training did not go on", ended)
    holds(ended.said.count("without a new checkpoint") == 1, "said more than once", ended)
    holds((folder / "run" / "classifier" / "model.safetensors").exists(), "no weights")
    return Outcome(
        ended.line("without a new checkpoint").replace(str(folder), "..."),
        "nothing: the training ends; it cannot be resumed from steps without a checkpoint",
    )


@fault("full disk: a tmpfs of 48 kB holds the store")
def full_tmpfs(folder: Path) -> Outcome:
    expected = jobs.whole(killing.whole_folder())
    store = folder / "store"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(store)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NotRunError(f"no tmpfs: {error}") from error
    if done.returncode:
        raise NotRunError(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        line = one_line(jobs.generate(folder))
        num_kept = len(killing.finished(folder))
        subprocess.run(["mount", "-o", "remount,size=50m", str(store)], check=True)
        again = jobs.generate(folder)
        holds(again.code == 0, "the second start failed", again)
        jobs.same(folder, expected)
    finally:
        subprocess.run(["umount", str(store)], check=True)
    return Outcome(
        line.replace(str(folder), "..."), f"nothing finished ({num_kept} rows were kept)"
    )


@fault("read-only store, some rows missing", quick=True)
def read_only(folder: Path) -> Outcome:
    whole = killing.whole_folder()
    jobs.whole(whole)
    for name in ("store", "data"):
        shutil.copytree(whole / name, folder / name)
    shutil.rmtree(jobs.shards(folder, "images")[0])
    line = one_line(_as_nobody(folder), "cannot write to", "Permission denied")
    return Outcome(line.replace(str(folder), "..."), "nothing; said before anything is generated")


@fault("read-only store, all rows there")
def read_only_and_whole(folder: Path) -> Outcome:
    whole = killing.whole_folder()
    jobs.whole(whole)
    for name in ("store", "data"):
        shutil.copytree(whole / name, folder / name)
    ended = _as_nobody(folder)
    holds(ended.code == 0, "reading failed", ended)
    return Outcome(ended.line("images", "cached 10, computed 0"), "nothing: it is read")


def _as_nobody(folder: Path) -> Ended:
    """Generate as a user who may write to the run folder and nowhere else."""
    if os.getuid() != 0:
        raise NotRunError("needs root, to become another user")
    (folder / "runs").mkdir()
    os.chown(folder / "runs", NOBODY, NOBODY)
    for parent in (folder, *folder.parents):
        if not parent.stat().st_mode & stat.S_IXOTH and parent.owner() == "root":
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)

    def become() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.environ["HOME"] = str(folder / "runs")

    return jobs.generate(folder, before=become)


@fault("store and temporary files on two file systems")
def another_file_system(folder: Path) -> Outcome:
    expected = jobs.whole(killing.whole_folder())
    if not SHM.is_dir() or os.stat(SHM).st_dev == os.stat(folder).st_dev:
        raise NotRunError("/dev/shm is no other file system here")
    with tempfile.TemporaryDirectory(dir=SHM) as there:
        ended = jobs.train(Path(there), before=lambda: _temporary(folder))
        holds(ended.code == 0, "it failed", ended)
        jobs.same(Path(there), expected)
        left = list(folder.glob("tmp/*"))
        holds(not left, f"left in the folder of temporary files: {left}")
    return Outcome("nothing", "nothing")


def _temporary(folder: Path) -> None:
    (folder / "tmp").mkdir()
    os.environ["TMPDIR"] = str(folder / "tmp")
    tempfile.tempdir = None
