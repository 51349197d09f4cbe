"""Ray: its driver with actors that are lost, and, where Ray is installed, with a real cluster."""

import os
import random
import re
import signal
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sip.core import spill
from sip.core.errors import UserError
from sip.core.interrupt import Stopped
from sip.device.settings import Devices
from sip.executor import driver
from sip.executor.pool import ActorPool
from sip.executor.ray import Ray
from sip.images.img2img import Img2Img
from sip.jobs.generate import Generation
from sip.pipeline.streaming import stream
from sip.scores.base import ToScore
from tests.commands import ROOT, Job
from tests.executor.fake_ray import FakeRay, Ref
from tests.executor.toy import Toy, expected, rows, stage, work
from tests.kills import OVERRIDES, configuration, contents

NUM = 40
NUM_KILLS = 40


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """Ray without processes, and without the package."""
    fake = FakeRay()
    monkeypatch.setattr(driver, "connected", lambda: fake)
    monkeypatch.setattr("sip.executor.ray.load", lambda: fake)
    return fake


def ray(most: int = 1, num_gpus: float | None = None) -> Ray:
    return Ray(*[ActorPool(1, most, 1.0, num_gpus)] * 3)


@pytest.mark.parametrize(("most", "capacity", "expected_most"), [(1, 9, 1), (4, 9, 4), (4, 2, 2)])
def test_a_pool_grows_to_its_size_or_what_the_cluster_has(
    tmp_path: Path, fake: FakeRay, most: int, capacity: int, expected_most: int
) -> None:
    fake.capacity = capacity
    fake.rank = lambda ref: ref.name == "make"
    assert work(tmp_path, ray(most), Toy(), NUM).computed == NUM
    assert fake.most == expected_most and len(fake.started) == most
    assert not fake.alive, "an actor is left"
    assert dict(rows(tmp_path)) == expected(NUM) and len(rows(tmp_path)) == NUM


def test_few_batches_start_few_actors(tmp_path: Path, fake: FakeRay) -> None:
    work(tmp_path, ray(8), Toy(), 9)  # 3 batches, of which an actor has two
    assert len(fake.started) == 2


@pytest.mark.parametrize(
    ("num_gpus", "uses_gpu", "expected_num"),
    [(None, False, 0), (None, True, 1), (0.25, True, 0.25)],
)
def test_actors_ask_for_their_share(
    num_gpus: float | None, uses_gpu: bool, expected_num: float
) -> None:
    assert ActorPool(1, 1, 0.5, num_gpus).resources(uses_gpu) == {
        "num_cpus": 0.5,
        "num_gpus": expected_num,
    }


def test_a_batch_that_ends_every_actor_ends_the_job(tmp_path: Path, fake: FakeRay) -> None:
    fake.lose = lambda ref: ref.name == "make" and 18 in ref.args[0]
    with pytest.raises(UserError, match=r"got the loss of 11 at the same batch, the last"):
        work(tmp_path, ray(2), Toy(), NUM)
    kept = dict(rows(tmp_path))
    assert kept and kept.items() < expected(NUM).items()
    fake.lose = lambda ref: ref.name == "ready"
    with pytest.raises(UserError, match="got the loss of 11 at its start"):
        work(tmp_path, ray(2), Toy(), NUM)


def test_a_stop_keeps_the_batches_in_flight(tmp_path: Path, fake: FakeRay) -> None:
    made = []

    def stop_at_the_third(ref: Ref) -> bool:
        if ref.name == "make":
            made.append(ref.args[0])
            if len(made) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
        return False

    fake.lose = stop_at_the_third
    with pytest.raises(Stopped):
        work(tmp_path, ray(2), Toy(), NUM)
    assert 3 <= len(made) <= 2 * driver.IN_FLIGHT + 2
    num_kept = len(made)
    assert len(rows(tmp_path)) == sum(map(len, made)) and not list(stage(tmp_path).tmp.iterdir())
    assert work(tmp_path, ray(2), Toy(), NUM).computed == NUM - sum(map(len, made[:num_kept]))
    assert dict(rows(tmp_path)) == expected(NUM) and len(rows(tmp_path)) == NUM


def test_what_has_no_model_is_made_by_the_driver(tmp_path: Path, fake: FakeRay) -> None:
    from sip.store.fill import fill
    from tests.executor.toy import BATCH, SHARD, numbers

    fill(stage(tmp_path), numbers(NUM), Toy(), BATCH, SHARD, executor=ray())
    assert dict(rows(tmp_path)) == expected(NUM) and not fake.started


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What a single process makes."""
    folder = tmp_path_factory.mktemp("whole")
    Generation(configuration(folder)).run()
    return contents(folder / "store")


def stages_of(fake: FakeRay) -> list[str]:
    """Note, and return later, the stage of each batch that was made."""
    made: list[str] = []

    def note(ref: Ref) -> bool:
        is_lost = fake.random.random() < 0.1
        if ref.name == "make" and not is_lost:
            made.append(ref.actor.inner._remote.stage)
        return is_lost

    fake.lose = note
    return made


def inputs_in_memory(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note, and return later, how many inputs of scores were in memory at each piece of work."""
    known: list[weakref.ref[ToScore]] = []
    num_alive: list[int] = []
    lose = fake.lose

    def make(*values: Any) -> ToScore:
        known.append(weakref.ref(one := ToScore(*values)))
        return one

    def note(ref: Ref) -> bool:
        num_alive.append(sum(one() is not None for one in known))
        return lose(ref)

    fake.lose = note
    monkeypatch.setattr(spill, "PART", 2)
    monkeypatch.setattr("sip.pipeline.streaming.ToScore", make)
    return num_alive


def test_stages_overlap_and_the_store_is_that_of_one_process(
    tmp_path: Path, fake: FakeRay, whole: dict[str, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stages_of(fake)
    num_alive = inputs_in_memory(fake, monkeypatch)
    # The last stage works whenever it has a batch.
    fake.rank = lambda ref: -("captions", "scores", "images").index(ref.actor.inner._remote.stage)
    job = Generation(configuration(tmp_path, "executor=ray", "executor.images.max_size=2"))
    job.run()
    assert contents(tmp_path / "store") == whole
    assert 0 < max(num_alive) < 12, "the driver holds what it has sent"
    assert "captions" in made[made.index("images") :], "no overlap"
    log = {row["stage"]: (row["cached"], row["computed"]) for row in job.stages.rows}
    assert (log["captions"], log["scores"], log["images"]) == ((0, 20), (0, 20), (0, 40))
    made.clear()
    Generation(configuration(tmp_path, "executor=ray")).run()
    assert not made, "what is in the store was made again"


def test_what_cannot_be_generated_ends_the_work_before_any_image(
    tmp_path: Path, fake: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stages_of(fake)
    few = ("executor=ray", "dataset.shots=1", "images.per_sample=1")
    job = Generation(configuration(tmp_path, *few, "prompts.noise_rate=0.25"))
    stream(job.offline, samples := job.samples()[:2])
    made.clear()
    late = f"prompts.template='{'thick, leaning, wide, heavy, ' * 5}{{label}}, {{caption}}'"
    with pytest.raises(UserError, match="class name within the 32 tokens"):
        stream(Generation(configuration(tmp_path, *few, late)).offline, samples)
    assert not made
    seen: list[int] = []
    monkeypatch.setattr(Img2Img, "examine", lambda self, prompts: seen.append(len(prompts)))
    for _ in range(2):  # then the images are there
        stream(Generation(configuration(tmp_path, *few)).offline, samples)
    assert seen == [2, 0]


def test_a_rule_that_reads_all_cosines_waits_for_them(tmp_path: Path, fake: FakeRay) -> None:
    made = stages_of(fake)
    quantile = "prompts.guidance.scaling=quantile"
    Generation(configuration(tmp_path, "executor=ray", quantile, "metrics=[]")).run()
    assert made == sorted(made, key=["captions", "scores", "images"].index)


def test_what_ray_cannot_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(tmp_path, "executor=ray", "runtime.batch_size.images=auto")
    with pytest.raises(UserError, match="runtime.batch_size: must be numbers with executor=ray"):
        Generation(config)
    with pytest.raises(UserError, match=r"trainer\.devices: must be 1 with executor=ray, got 2"):
        ray().check(Devices(devices=2))
    config = configuration(tmp_path, "executor=ray", "executor.images.min_size=3")
    with pytest.raises(UserError, match=r"executor.images.max_size: must be at least min_size, 3"):
        Generation(config)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"executor=ray: must have the package ray, got none; pip"):
        Generation(configuration(tmp_path, "executor=ray"))


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that runs no actors, and two nodes."""
    pytest.importorskip("ray", reason="pip install -e '.[ray]' brings it")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=2)
    yield made
    made.shutdown()


def actors() -> list[int]:
    """Return the process ids of the actors on this machine."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if place.read_bytes().startswith(b"ray::Actor"):
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_kills_of_actors_nodes_and_driver_change_nothing(tmp_path: Path, cluster: Any) -> None:
    """NUM_KILLS at random moments; each job that ends is compared with an unbroken one."""
    clock, kills, num, job = random.Random(0), Counter[str](), 300, 0
    environment = os.environ | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.executor.ray_driver", str(tmp_path / str(job))]
        said = open(tmp_path / "said.txt", "ab")  # noqa: SIM115
        return subprocess.Popen([*command, str(num), "1.0"], env=environment, stderr=said)

    process = start()
    while True:
        time.sleep(clock.uniform(0.2, 2.0))
        if process.poll() is not None:
            assert process.returncode == 0, (tmp_path / "said.txt").read_text()[-3000:]
            made = rows(tmp_path / str(job))
            assert dict(made) == expected(num) and len(made) == num, f"job {job} differs"
            if kills.total() >= NUM_KILLS:
                break
            job += 1
            process = start()
            continue
        alive = actors()
        if kills.total() >= NUM_KILLS or not alive:
            continue
        kind = clock.choice(["actor", "actor", "node", "driver"])
        if kind == "actor":
            with suppress(ProcessLookupError):
                os.kill(clock.choice(alive), signal.SIGKILL)
        elif kind == "node":
            cluster.remove_node(clock.choice(list(cluster.worker_nodes)), allow_graceful=False)
            cluster.add_node(num_cpus=2)
        else:
            process.kill()
            process.wait()
            process = start()
        kills[kind] += 1
    print(f"{dict(kills)} in {job + 1} jobs")
    assert set(kills) == {"actor", "node", "driver"}


@pytest.mark.slow
def test_a_cluster_of_this_machine_makes_the_images_of_one_process(
    tmp_path: Path, whole: dict[str, dict]
) -> None:
    pytest.importorskip("ray", reason="pip install -e '.[ray]' brings it")
    paths = [f"paths.{name}={tmp_path / name}" for name in ("store", "runs", "data")]
    chosen = ["executor=ray", "executor.images.max_size=2", "executor.images.num_cpus=0.5"]
    job = Job("sip.generate", [*OVERRIDES, *paths, *chosen], tmp_path / "said")
    said = job.communicate(timeout=1200)[1]
    assert job.returncode == 0, said
    assert re.search(r"images +cached 0, computed 40", said)
    assert contents(tmp_path / "store") == whole
