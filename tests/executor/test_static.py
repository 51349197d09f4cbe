"""Numbered workers: who makes what, what they wait for, and what they take over."""

import os
import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from sip.core.errors import UserError
from sip.device.settings import Devices
from sip.executor import static
from sip.executor.local import Local
from sip.executor.static import Static
from sip.jobs.generate import Generation, generate
from sip.jobs.train_job import TrainJob
from sip.jobs.training import require
from sip.store import filling
from tests.commands import Job
from tests.docs.pages import DOCS, blocks, commands
from tests.executor.toy import BATCH, Toy, expected, numbers, rows, stage, together, work
from tests.kills import OVERRIDES, configuration, contents

NUM = 40


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget a cluster that the tests run on, and look often."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "JOB_COMPLETION"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(static, "POLL_EVERY", 0.01)


SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("index", "count", "variables", "place"),
    [
        (1, 4, {}, (1, 4)),
        (None, None, SLURM, (2, 4)),
        (None, None, SLURM | {"SLURM_ARRAY_TASK_STEP": "2"}, (1, 4)),
        (None, 8, {"JOB_COMPLETION_INDEX": "3"}, (3, 8)),
        (0, 2, SLURM, (0, 2)),
    ],
)
def test_a_worker_knows_its_number(
    monkeypatch: pytest.MonkeyPatch,
    index: int | None,
    count: int | None,
    variables: Mapping[str, str],
    place: tuple[int, int],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    executor = Static(index, count, 1.0)
    assert executor.place == place
    assert executor.is_first == (place[0] == 0) and executor.num_workers == place[1]


@pytest.mark.parametrize(
    ("index", "count", "words"),
    [
        (None, 4, "executor.index: must be known to executor=static, got null; set executor.in"),
        (None, 4, ", or start the command in a SLURM array or an indexed Kubernetes job"),
        (0, None, "executor.count: must be known to executor=static, got null; set executor.co"),
        (4, 4, "executor.index: must be less than executor.count=4, got 4; number the workers"),
    ],
)
def test_a_worker_without_a_number_is_refused(
    tmp_path: Path, index: int | None, count: int | None, words: str
) -> None:
    values = {"index": index, "count": count}
    changes = [f"executor.{name}={value}" for name, value in values.items() if value is not None]
    with pytest.raises(UserError, match=re.escape(words)):
        Generation(configuration(tmp_path, "executor=static", *changes))


def test_what_numbered_workers_cannot_do_is_refused(tmp_path: Path) -> None:
    chosen = ("executor=static", "executor.index=0", "executor.count=2")
    with pytest.raises(UserError, match=r"retry: must be null or failed with executor=static"):
        generate(configuration(tmp_path, *chosen, "retry=damaged"))
    with pytest.raises(UserError, match=r"trainer\.devices: must be 1 with executor=static, got 2"):
        Static(0, 2, 1.0).check(Devices(devices=2))
    for arm in ("sip", "none"):
        config = configuration(tmp_path, *chosen, f"augmentation={arm}", "logger=csv")
        with pytest.raises(UserError, match="executor: must be local or ray in sip.train"):
            require(TrainJob(config))


def test_worker_i_makes_every_nth_batch_and_holds_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *args: pytest.fail("a lock was taken"))
    toys = [Toy() for _ in range(3)]
    jobs = [
        partial(work, tmp_path, Static(index, 3, 60.0), toy, NUM) for index, toy in enumerate(toys)
    ]
    filled = together(jobs)
    assert [each.computed for each in filled] == [15, 13, 12]
    for index, toy in enumerate(toys):
        assert [batch[0] for batch in toy.batches] == list(range(index * BATCH, NUM, 3 * BATCH))
    assert not list(stage(tmp_path).folder.glob("claims/*"))


def test_a_worker_takes_over_what_does_not_come(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    toy = Toy()
    started = time.monotonic()
    filled = work(tmp_path, Static(1, 3, 0.5), toy, NUM)
    assert filled.computed == NUM and time.monotonic() - started >= 0.5
    assert "no new row for 0.5 s: worker 1 makes the missing 27 rows" in capsys.readouterr().err
    # Its own batches first; then from a third of the way through the missing ones, and around.
    first = [batch[0] // BATCH for batch in toy.batches]
    assert first == [1, 4, 7, 10, 13, *[5, 6, 8, 9, 11, 12], *[0, 2, 3]][: len(first)]
    assert dict(rows(tmp_path)) == expected(NUM) and len(rows(tmp_path)) == NUM
    late = Toy()
    assert work(tmp_path, Static(0, 3, 0.5), late, NUM).cached == NUM and not late.batches


def test_patience_begins_again_with_each_new_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker needs longer than `patience` for all, but not for a batch."""
    monkeypatch.setattr(filling, "COMMIT_EVERY", 0.0)
    toys = Toy(), Toy(pause=0.5)
    jobs = [partial(work, tmp_path, Static(n, 2, 2.0), toys[n], NUM) for n in range(2)]
    together(jobs)
    assert sum(len(batch) for batch in toys[0].batches) == 21
    assert len(rows(tmp_path)) == NUM


def test_two_that_take_over_the_same_rows_commit_equal_ones(tmp_path: Path) -> None:
    """Workers 0 and 1 of 3 have no patience; the third is lost."""
    jobs = [partial(work, tmp_path, Static(n, 3, 0.0), Toy(), NUM) for n in range(2)]
    filled = together(jobs)
    made = rows(tmp_path)
    assert set(made) == set(expected(NUM).items()), "one differs from an unbroken job's"
    shown = stage(tmp_path)
    assert len(shown.keys()) == NUM and list(shown.read(numbers(NUM))) == list(numbers(NUM))
    assert all(len(each.rows) == NUM for each in filled)


def test_the_first_worker_goes_on_by_itself(tmp_path: Path) -> None:
    """What only the first worker asks for, such as embeddings for the metrics."""
    toy = Toy()
    assert work(tmp_path, Static(0, 5, 60.0).by_itself(), toy, NUM).computed == NUM
    # In order: not its own first, and the rest after its patience.
    assert [batch[0] for batch in toy.batches] == list(range(0, NUM, BATCH))


@pytest.mark.parametrize("age", [0.0, filling.ABANDONED_AFTER + 60])
@pytest.mark.parametrize("executor", ["local", "static"])
def test_an_unfinished_shard_without_a_claim_stays_for_a_day(
    tmp_path: Path, age: float, executor: str
) -> None:
    left = stage(tmp_path).tmp / "unclaimed-abc-1--000-1"
    left.mkdir(parents=True)
    (left / "k000.txt").write_bytes(b"0")
    for path in (left / "k000.txt", left):
        os.utime(path, (time.time() - age,) * 2)
    chosen = Local() if executor == "local" else Static(0, 1, 1.0)
    work(tmp_path, chosen, Toy(), NUM)
    assert left.exists() == (age == 0)
    for path in (left / "k000.txt", left) if left.exists() else ():
        os.utime(path, (0, 0))
    work(tmp_path, chosen, Toy(), NUM)  # nothing is missing now
    assert not left.exists()


def script() -> list[str]:
    """Return the arguments of the job script for SLURM in docs/scale.md."""
    (block,) = [each for each in blocks(DOCS / "scale.md") if each.title == "generate.sbatch"]
    assert "#SBATCH --array=0-" in block.text
    ((module, arguments),) = commands(block.text)
    assert module == "sip.generate"
    return arguments


def manifest() -> Any:
    """Return the Kubernetes job in docs/scale.md."""
    (block,) = [each for each in blocks(DOCS / "scale.md") if each.title == "generate.yaml"]
    return yaml.safe_load(block.text)


def start(folder: Path, arguments: Sequence[str], variables: Mapping[str, str], *more: str) -> Job:
    """Start a worker on a small set."""
    paths = [f"paths.{name}={folder / name}" for name in ("store", "runs", "data")]
    of_executor = [each for each in arguments if each.startswith("executor")]
    said = folder / "said" / "-".join(variables.values())
    return Job("sip.generate", [*OVERRIDES, *paths, *of_executor, *more], said, variables=variables)


def start_in_slurm(folder: Path, index: int, *more: str) -> Job:
    """Start a worker of two with the command of the docs."""
    variables = {"ID": str(index), "MIN": "0", "COUNT": "2"}
    variables = {f"SLURM_ARRAY_TASK_{name}": value for name, value in variables.items()}
    return start(folder, script(), variables, *more)


def wait_for_images(folder: Path, job: Job) -> None:
    deadline = time.monotonic() + 600
    while not list((folder / "store").glob("images/*/shards/*")):
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What a single process makes."""
    folder = tmp_path_factory.mktemp("whole")
    Generation(configuration(folder)).run()
    return contents(folder / "store")


@pytest.mark.slow
def test_a_killed_worker_and_a_stopped_one_leave_the_images_of_an_unbroken_job(
    tmp_path: Path, whole: dict[str, dict]
) -> None:
    jobs = [start_in_slurm(tmp_path, index) for index in range(2)]
    wait_for_images(tmp_path, jobs[0])
    jobs[1].send_signal(signal.SIGKILL)
    jobs[0].send_signal(signal.SIGTERM)
    said = jobs[0].communicate()[1]
    jobs[1].communicate()
    assert (jobs[0].returncode, jobs[1].returncode) == (143, -signal.SIGKILL), said
    assert "stopped: what was finished is kept; the same" in said
    assert not list((tmp_path / "runs").glob("generate-*/summary.json"))
    job = start_in_slurm(tmp_path, 0, "executor.patience=1")  # the other one does not come back
    said = job.communicate()[1]
    assert job.returncode == 0, said
    # The first worker's own stages, such as the embeddings for the metrics, wait for nobody.
    assert set(re.findall(r"^(\w+) +no new row for", said, re.MULTILINE)) == {"images"}
    assert len(list((tmp_path / "runs").glob("generate-*/summary.json"))) == 1
    for unfinished in (tmp_path / "store").glob("*/*/tmp/*"):  # of the one that was killed
        assert unfinished.name.startswith("unclaimed-")
        shutil.rmtree(unfinished)
    assert contents(tmp_path / "store") == whole


def test_the_kubernetes_job_of_the_docs_works(tmp_path: Path, whole: dict[str, dict]) -> None:
    job = manifest()
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["sip-generate"]
    assert f"executor.count={spec['completions']}" in container["args"]
    arguments = [each for each in container["args"] if not each.startswith("executor.count")]
    workers = [
        start(tmp_path, arguments, {"JOB_COMPLETION_INDEX": str(index)}, "executor.count=2")
        for index in range(2)
    ]
    said = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert all(re.search(r"images +cached 20, computed 20", text) for text in said), said
    assert len(list((tmp_path / "runs").glob("generate-*/summary.json"))) == 1
    assert contents(tmp_path / "store") == whole
