"""Jobs whose store is in a bucket: the same images as in a folder, and what reads them."""

from pathlib import Path

import pytest
from omegaconf import DictConfig

from sip.core import object_cache
from sip.core.errors import UserError
from sip.core.tars import read_bytes
from sip.export.main import Options, export
from sip.jobs.generate import Generation
from sip.jobs.train import train
from sip.jobs.train_job import TrainJob
from sip.records.read import read_run
from sip.store.stage import Store
from tests.composing import composed
from tests.s3 import S3Server

JOB = (
    "backbone=resnet_mini",
    "augmentation=sip",
    "dataset.shots=1",
    "images.num_steps=4",
    "metrics=[]",
    "logger=csv",
    "classifier.steps=4",
    "classifier.val_every=2",
    "classifier.warmup_steps=1",
    "runtime.device=cpu",
    "runtime.num_threads=1",
    "runtime.shard_size=4",
    "runtime.loader_workers=1",
    "runtime.memory_gib=0",
)


def run(config: DictConfig, loaded: Generation | None = None) -> Generation:
    """Do the job with the models of another one that is through."""
    job = Generation(config, show=lambda table: None)
    if loaded is not None:
        job.offline.models._modules |= loaded.offline.models._modules
    job.offline.models.drop = lambda name: None
    job.run()
    return job


def contents(job: Generation) -> dict[str, dict]:
    """Return "stage/key" -> row with the file's bytes, as it lies in the store."""
    found = {}
    for name in ("captions", "scores", "images"):
        stage = job.offline.stage(name)
        for key, row in stage.read(stage.keys()).items():
            row.pop("seconds", None)
            row["bytes"] = read_bytes(row.pop("file"), cached=False) if row.get("file") else None
            found[f"{stage.path}/{key}"] = row
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*.png")}


def test_jobs_work_from_a_bucket_as_from_a_folder(
    bucket: str, tmp_path: Path, s3_server: S3Server
) -> None:
    local = run(composed(*JOB, folder=tmp_path / "here"))
    there = composed(*JOB, f"paths.store={bucket}", "paths.cache_gib=0.5", folder=tmp_path / "s3")
    remote = run(there, loaded=local)
    assert contents(remote) == contents(local) and len(contents(local)) == 30
    assert remote.fingerprint == local.fingerprint
    again = run(there, loaded=local)
    assert {row["stage"]: row["computed"] for row in again.stages.rows}["images"] == 0
    assert (remote.folder / "contact_sheet.png").is_file()
    assert read_run(remote.folder).store == Store(bucket).root
    for job, name in ((local, "local"), (remote, "remote")):
        output = tmp_path / name
        export(Options(job.folder, output, "image_folder", ["train"], "as_used", False, 9, None))
    assert files(tmp_path / "local") == files(tmp_path / "remote") and files(tmp_path / "local")

    s3_server.requests.clear()
    assert train(there) is not None
    assert TrainJob(there).finished() is not None
    assert not [path for method, path in s3_server.requests if method == "PUT" and "images" in path]
    limit = 0.5 * 2**30
    assert 0 < sum(f.stat().st_size for f in object_cache.folder().rglob("objects/*")) < limit


@pytest.mark.parametrize("plan", ["false", "true"])
def test_a_secret_in_the_uri_is_refused_and_shown_nowhere(tmp_path: Path, plan: str) -> None:
    given = composed(*JOB, "paths.store='s3://KEY:hunter2@bucket/a'", f"plan={plan}",
                     folder=tmp_path)  # fmt: skip
    for job in (Generation, train):
        with pytest.raises(UserError, match="^paths.store: must be without user") as refused:
            job(given)
        assert "hunter2" not in str(refused.value)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_runs_are_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^paths.runs: must be a folder, got s3://bucket/runs"):
        Generation(composed(*JOB, "paths.runs=s3://bucket/runs", folder=tmp_path))
