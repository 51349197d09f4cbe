"""The generation job as a user runs it: plan, failures, signals, several processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sip.core.errors import UserError
from tests.commands import Job, run_module
from tests.kills import Generation, configuration, contents

ROOT = Path(__file__).parents[2]
QUICK = (
    "dataset.shots=2",
    "images.num_steps=4",
    "runtime.device=cpu",
    "runtime.num_threads=1",
    "runtime.batch_size.images=5",
    "runtime.batch_size.captions=5",
    "runtime.shard_size=5",
)


def arguments_of(folder: Path, arguments: Sequence[str]) -> list[str]:
    paths = [f"paths.{name}={folder / name}" for name in ("store", "runs", "data")]
    flags = [argument for argument in arguments if argument.startswith("-")]
    changes = [argument for argument in arguments if not argument.startswith("-")]
    return [*flags, *QUICK, *paths, *changes]


def generate(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = run_module("sip.generate", arguments_of(folder, arguments), folder / "said")
    assert done.returncode == code, done.stdout + done.stderr
    return done


def start(folder: Path, *arguments: str) -> Job:
    return Job("sip.generate", arguments_of(folder, arguments), folder / "said")


def start_several(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a job that starts others."""
    return subprocess.Popen(
        [sys.executable, "-m", "sip.generate", *arguments_of(folder, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shards(folder: Path) -> list[Path]:
    return list((folder / "store").glob("images/*/shards/*"))


def wait_for_shards(folder: Path, number: int, job: Job | subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(shards(folder)) < number:
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that ran from start to end."""
    folder = tmp_path_factory.mktemp("whole")
    generate(folder)
    return folder


def test_the_folder_lists_what_was_generated(whole: Path) -> None:
    (folder,) = (whole / "runs").glob("generate-digits-img2img-*")
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["num_real"], summary["num_generated"], summary["failures"]) == (20, 20, {})
    rows = pd.read_parquet(folder / "images.parquet")
    generated = rows[rows.kind == "generated"]
    assert len(generated) == 20 and (rows.kind == "real").sum() == 20
    assert summary["unet_evaluations"] == generated.unet_evaluations.sum() == 20 * 2 * 2
    assert all((whole / "store" / file).is_file() for file in generated.file)
    assert (folder / "contact_sheet.png").is_file()
    assert sorted(pd.read_parquet(folder / "quality.parquet").id) == sorted(generated.id)
    assert 0 < summary["metrics"]["generated/consistency_label"] <= 1


def test_everything_is_found_again_and_the_plan_says_so(whole: Path) -> None:
    before = contents(whole / "store")
    plan = generate(whole, "plan=true").stdout
    assert re.search(r"to generate +0 images", plan) and re.search(r"cached +20 images", plan)
    assert re.search(r"time to generate +none, everything is cached", plan)
    assert "U-Net evaluations" not in plan
    said = generate(whole).stderr
    assert "images       cached 20, computed 0" in said and "lists images in" not in said
    assert contents(whole / "store") == before


def test_a_folder_that_lists_another_store_from_now_on_is_named(
    tmp_path: Path, whole: Path
) -> None:
    shutil.copytree(whole / "store", tmp_path / "store")
    shutil.copytree(whole / "runs", tmp_path / "runs")
    (folder,) = (tmp_path / "runs").iterdir()
    said = generate(tmp_path).stderr
    assert f"{folder} lists images in {whole / 'store'}; from now on those in" in said
    assert f"those in {tmp_path / 'store'}; another paths.runs" in said


def test_a_plan_makes_nothing_and_counts_right(tmp_path: Path, whole: Path) -> None:
    printed = generate(tmp_path, "plan=true").stdout
    assert re.search(r"to caption, to score +20, 20 images", printed)
    assert re.search(r"U-Net evaluations +at most 80\b", printed)
    assert re.search(r"time to generate +about [\d.]+ s, by a short measurement", printed)
    assert re.search(r"disk +about [\d.]+ kB needed, .* free", printed)
    assert not shards(tmp_path) and not (tmp_path / "runs").exists()
    more = generate(whole, "plan=true", "images.per_sample=2").stdout
    assert re.search(r"to generate +20 images", more) and re.search(r"cached +20 images", more)
    assert re.search(r"U-Net evaluations +80\b", more)


def test_prompts_written_to_a_table_give_the_same_images(tmp_path: Path, whole: Path) -> None:
    file = tmp_path / "prompts.csv"
    printed = generate(whole, "plan=true", f"prompts_out={file}")
    assert "20 rows in" in printed.stderr and re.search(r"cached +20 images", printed.stdout)
    mine = ("prompts=table", f"prompts.file={file}")
    assert "images       cached 20, computed 0" in generate(whole, *mine).stderr
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], lines[1].replace(",0.5,", ",0.7,"), *lines[3:]]))
    fewer = generate(whole, *mine).stderr
    assert "prompts.csv: 19 rows, no row of 1 original" in fewer
    assert "images       cached 18, computed 1" in fewer
    assert "captions " not in fewer  # no captioner is built
    newest = max(
        (whole / "runs").glob("generate-*/summary.json"), key=lambda file: file.stat().st_mtime
    )
    summary = json.loads(newest.read_text())
    assert (summary["num_real"], summary["num_generated"], summary["failures"]) == (19, 19, {})
    refused = generate(whole, "prompts_out=list.txt", code=2).stderr
    assert "prompts_out: must be the name of a .csv or .parquet file" in refused


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)],
)
def test_a_signal_ends_the_job_in_good_order(
    tmp_path: Path, whole: Path, number: int, code: int
) -> None:
    job = start(tmp_path, "images.num_steps=40")
    wait_for_shards(tmp_path, 1, job)
    job.send_signal(number)
    _, printed = job.communicate(timeout=120)
    assert job.returncode == code, printed
    assert "finishing the current batch" in printed
    assert (
        printed.strip().splitlines()[-1].startswith("stopped: what was finished is kept; the same")
    )
    assert "Traceback" not in printed
    made = len(contents(tmp_path / "store"))
    assert 0 < len(shards(tmp_path)) < 4
    again = generate(tmp_path, "images.num_steps=40").stderr
    assert re.search(r"images +cached (5|10|15), computed (15|10|5)\b", again)
    assert len(contents(tmp_path / "store")) > made


LONG = ("dataset.shots=4", "images.num_steps=40", "runtime.batch_size.images=2")


def start_two(folder: Path) -> subprocess.Popen[str]:
    """Start a job of two processes, long enough for the second one to take part."""
    several = ("trainer.devices=2", "trainer.strategy=ddp", "runtime.shard_size=2")
    return start_several(folder, *LONG, *several)


@pytest.mark.slow  # the one of SLURM shares the work, too
def test_two_processes_share_the_work(tmp_path: Path) -> None:
    job = start_two(tmp_path)
    _, printed = job.communicate(timeout=400)
    assert job.returncode == 0, printed
    assert printed.count("images       cached") == 1  # only the first process speaks
    cached, computed = map(
        int, re.search(r"images +cached (\d+), computed (\d+)", printed).groups()
    )
    assert cached + computed == 40 and 0 < computed < 40
    single = tmp_path / "single"
    generate(single, *LONG, "runtime.shard_size=2")
    assert contents(tmp_path / "store") == contents(single / "store")


def claims(folder: Path) -> list[Path]:
    return list((folder / "store").glob("images/*/claims/*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["first", "second"])
def test_a_lost_process_does_not_stop_the_other(tmp_path: Path, lost: str) -> None:
    job = start_two(tmp_path)
    deadline = time.monotonic() + 300
    while len(claims(tmp_path)) < 2:
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()
        time.sleep(0.02)
    (child,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    at_work = {name.name: json.loads(name.read_text())["keys"] for name in claims(tmp_path)}
    os.kill(job.pid if lost == "first" else int(child), signal.SIGKILL)
    _, printed = job.communicate(timeout=400)  # the pipe closes when the last process ends
    assert job.returncode == (-signal.SIGKILL if lost == "first" else 0), printed
    assert all(at_work.values())  # both had rows to make, of which one made none or some
    single = tmp_path / "single"
    generate(single, *LONG, "runtime.shard_size=2")
    assert contents(tmp_path / "store") == contents(single / "store")  # and no row twice


def contents_of_images(folder: Path) -> set[str]:
    from sip.store.shards import read_columns

    return {key for shard in shards(folder) for key in read_columns(shard, ["key"])["key"]}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Own images, 12 of 2 classes to train on, of which three cannot be read."""
    rng = np.random.default_rng(0)
    for number in range(16):
        part = "train" if number < 12 else ("val", "test")[number // 2 % 2]
        path = tmp_path / "own" / part / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(path)
        if number == 3:
            path.write_bytes(path.read_bytes()[:200])  # truncated
        if number == 4:
            path.write_bytes(b"")
        if number == 7:
            path.write_text("not an image")
    return tmp_path / "own"


def test_broken_images_are_refused_or_passed_over(tmp_path: Path, own: Path) -> None:
    data = ["dataset=image_folder", f"dataset.root={own}", "dataset.shots=null"]
    printed = generate(tmp_path, *data, code=1).stderr
    (line,) = printed.strip().splitlines()[-1:]
    assert line.startswith("error: dataset: images must be readable, got 3 of 16 that are not: ")
    assert "train/cat/4.png (cannot identify image file), train/dog/3.png (" in line
    assert "dataset.broken=skip" in line and " at 0x" not in printed and "Traceback" not in printed
    assert not (tmp_path / "store" / "captions").exists()
    printed = generate(tmp_path, *data, "dataset.broken=skip").stderr
    assert "left out 3 images of train that cannot be read: train/cat/4.png (" in printed
    assert "captions     cached 0, computed 9" in printed
    (folder,) = (tmp_path / "runs").glob("generate-*/summary.json")
    assert json.loads(folder.read_text())["num_real"] == 9


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("retry=all", "retry: must be null, failed or damaged, got 'all'"),
        ("runtime.shard_size=0", "runtime.shard_size: must be a whole number >= 1, got 0"),
        ("runtime.batch_size.images=abc", "images: must be a whole number >= 1 or auto, got 'abc'"),
        ("trainer.devices=0", "trainer.devices: must be a whole number >= 1 or auto, got 0"),
        ("prompts_out=/no/place/a.csv", "prompts_out: must be in a folder that is there or one "),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Generation(configuration(tmp_path, override))


def test_slurm_is_found_and_its_processes_share_the_work(tmp_path: Path) -> None:
    several = ("trainer.devices=2", "trainer.strategy=ddp", "runtime.shard_size=2")
    jobs = []
    for rank in ("0", "1"):
        slurm = {
            "JOB_ID": str(10_000 + os.getpid() % 10_000),
            "JOB_NAME": "sip",
            "NTASKS": "2",
            "NTASKS_PER_NODE": "2",
            "PROCID": rank,
            "LOCALID": rank,
            "NODEID": "0",
            "NODELIST": "localhost",
        }
        variables = {f"SLURM_{name}": value for name, value in slurm.items()}
        quick = arguments_of(tmp_path, [*several, "runtime.batch_size.images=2"])
        jobs.append(Job("sip.generate", quick, tmp_path / f"said{rank}", variables=variables))
    printed = [job.communicate(timeout=200)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], printed
    assert "images       cached" in printed[0] and "images       cached" not in printed[1]
    plan = r"^plan +\d+ to generate, \d+ cached; (?:\d+ U-Net evaluations, )?time "
    assert [len(re.findall(plan, text, re.MULTILINE)) for text in printed] == [1, 0]
    assert len(contents_of_images(tmp_path)) == 20


@pytest.mark.slow
def test_the_slurm_launcher_runs_jobs_with_its_local_executor(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    launcher = ("-m", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5")
    job = start_several(tmp_path, *launcher, "seed=0,1", "dataset.shots=1")
    _, printed = job.communicate(timeout=200)
    assert job.returncode == 0, printed
    runs = list((tmp_path / "runs").glob("generate-*/summary.json"))
    assert len(runs) == 2
    assert len(contents_of_images(tmp_path)) in range(10, 21)  # what both generated is there once
