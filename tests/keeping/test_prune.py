"""Only rows that no run needs are deleted, and only with --yes."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sip.core.errors import UserError
from sip.core.tars import read_checked
from sip.dataset.base import Sample
from sip.images.base import ImageRow
from sip.jobs.alone import alone
from sip.keeping.commands import run
from sip.keeping.needs import LOGGERS, Needs
from sip.keeping.prune import prune
from sip.pipeline.stored import StoredImage
from sip.prompts.base import Prompt
from sip.records.write import write_images
from sip.store.filling import UNCLAIMED
from sip.store.order import keeping
from sip.store.stage import Store
from sip.tracking.mlflow import ARTIFACTS
from tests.commands import run_module
from tests.composing import composed
from tests.keeping.made_up import KEYS, RECIPE, contents, finished_run, made, opened, payload

CAPTIONS, SCORES = {"class": "Captions"}, {"class": "Scores"}
HOUR = 3600.0


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Images of two recipes, captions of two, embeddings, an adapter; all made two hours ago."""
    monkeypatch.chdir(tmp_path)
    place = str(request.getfixturevalue("bucket") if request.param == "bucket" else tmp_path / "s")
    now = time.time_ns
    with monkeypatch.context() as patched:
        patched.setattr("sip.store.writer.time.time_ns", lambda: now() - int(2 * HOUR * 1e9))
        made(opened(place), failing=KEYS[:1])
        made(opened(place, recipe=RECIPE | {"steps": 8}), KEYS[:4])
        made(opened(place, "captions", CAPTIONS), KEYS[:2])
        made(opened(place, "captions", CAPTIONS | {"seed": 1}), KEYS[:2])
        embedded = ["sha-k5", "sha-k9", "sha-original", "sha-x"]
        made(opened(place, "embeddings", {"class": "E"}), embedded)
        made(opened(place, "adapters", {"class": "A"}), KEYS[:2])
    return place


def a_run(folder: Path, keys: Sequence[str], **recipes: Mapping[str, Any]) -> Path:
    """Write the folder of a finished run with these images on its list."""
    finished_run(folder, **recipes)
    sample = Sample("o", "/o.png", 0, "dog", "train", 8, 8, "sha-original")
    images = [
        StoredImage(
            Prompt("o", "/o.png", "sha-original", 0, "dog", 0, (), "", 1.0, 0.5, n, None, None),
            ImageRow(
                key, "o", 0, 8, 8, 1, 0.1, "ok", file=f"/x/{key}.png", file_sha256=f"sha-{key}"
            ),
        )
        for n, key in enumerate(keys)
    ]
    for image, key in zip(images, keys, strict=True):
        object.__setattr__(image.prompt, "image_id", key)
    write_images(folder / "images.parquet", {"train": [sample]}, images, Path("/x").absolute())
    return folder


def said(store: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    paths = [f"paths.store={store}", f"paths.runs={Path('runs').absolute()}"]
    run(composed("command=prune", *paths, *more, name="store"))
    return capsys.readouterr().out


def keys_of(store: str) -> dict[str, list[str]]:
    """Return the keys of all rows, by stage and what tells its recipe from the other ones."""
    names = {
        "four": opened(store),
        "eight": opened(store, recipe=RECIPE | {"steps": 8}),
        "captions": opened(store, "captions", CAPTIONS),
        "captions of seed 1": opened(store, "captions", CAPTIONS | {"seed": 1}),
        "embeddings": opened(store, "embeddings", {"class": "E"}),
        "adapters": opened(store, "adapters", {"class": "A"}),
    }
    return {name: sorted(stage.keys()) for name, stage in names.items()}


def test_rows_of_runs_stay(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(Path("runs/one"), ["k5", "k6"], images=RECIPE, captions=CAPTIONS, scores=SCORES)
    a_run(Path("runs/two"), ["k6", "k9"], images=RECIPE)
    before = keys_of(store)
    files = {key: row["file"] for key, row in opened(store).read(KEYS).items()}
    text = said(store, capsys)
    assert "2 runs of" in text and "nothing was deleted" in text and "--yes" in text
    assert f"{opened(store).path}: 6 of 10 rows not needed" in text
    assert keys_of(store) == before
    assert "deleted: 13 rows" in said(store, capsys, "yes=true")
    assert keys_of(store) == {
        "four": ["k0", "k5", "k6", "k9"],  # k0 failed: made again, it would fail again
        "eight": [],
        "captions": ["k0", "k1"],
        "captions of seed 1": [],
        "embeddings": ["sha-k5", "sha-k9", "sha-original"],
        "adapters": ["k0", "k1"],
    }
    assert contents(opened(store))["k5"] == payload("k5")
    assert read_checked(files["k6"], None) == payload("k6"), "the run's list leads to it"
    assert "deleted: 0 rows" in said(store, capsys, "yes=true")
    assert "every row is needed" in said(store, capsys)
    assert made(opened(store)) == 6


def test_young_rows_stay(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(Path("runs/one"), ["k5"], images=RECIPE)
    text = said(store, capsys, "yes=true", "older_than=3")
    assert "deleted: 0 rows" in text and "8 more are too young" in text
    made(opened(store), ["new"])
    said(store, capsys, "yes=true")
    assert keys_of(store)["four"] == ["k0", "k5", "new"]


def test_nothing_is_deleted_that_is_not_known(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = keys_of(store)

    def refused(match: str, *more: str) -> None:
        with pytest.raises(UserError, match=match):
            said(store, capsys, "yes=true", *more)
        assert keys_of(store) == before

    refused(r"paths.runs: must hold finished runs, got none in .*/runs")
    one = a_run(Path("runs/one"), ["k5"], images=RECIPE)
    Path("runs/generate-digits-img2img-1").mkdir()
    refused("generate-digits-img2img-1: must be a finished run, got a folder without summary.json")
    Path("runs/generate-digits-img2img-1").rmdir()
    assert ARTIFACTS in LOGGERS
    Path(f"runs/{ARTIFACTS}").mkdir()  # of the logger: no run
    refused("^also: must hold finished runs, got none in also: ", "also=[also]")
    refused("^also: must hold finished runs, got none in other: ", "also=other")
    with alone(Path("runs").absolute(), "0123456789"):
        refused(r"runs: process \d+ on .* works on a run")
    place = opened(store).place
    claims = place.claims()
    with claims.locked():
        claims.claimed()
        claims.take(["k77"])
    refused(r"process \d+ on .* works on it; start again")
    claims.release()
    with keeping(place):
        refused(r"process \d+ on .* works on it")
    (place.tmp / f"{UNCLAIMED}1-0--9").mkdir()
    refused("a worker of executor=static works on it")
    (place.tmp / f"{UNCLAIMED}1-0--9").rmdir()
    claims = place.claims()
    with claims.locked():
        claims.claimed()
        claims.take(["k77"])
    with pytest.raises(UserError, match="works on it"):  # one that began behind the first look
        prune(place, Needs(), 9e9)
    claims.release()
    (one / "images.parquet").write_bytes(b"no")
    refused("images.parquet: must be a Parquet file")
    (one / "summary.json").write_text("{")
    refused("summary.json: must be a run's summary")
    refused("older_than: must be hours >= 0, got -1", "older_than=-1")


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_a_wrong_number_of_threads_is_one_line(command: str, tmp_path: Path) -> None:
    words = [f"command={command}", "num_workers=0", f"paths.store={tmp_path}"]
    with pytest.raises(UserError, match="^num_workers: must be a whole number >= 1, got 0$"):
        run(composed(*words, name="store"))


def test_an_adapter_is_no_unfinished_run(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(Path("runs/one"), ["k5"], images=RECIPE)
    Path("runs/adapt-1").mkdir()
    Path("runs/adapt-1/adapter.json").write_text("{}")
    Path("runs/.hydra").mkdir()
    assert "1 run of" in said(store, capsys)


def test_runs_in_further_folders_count(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(Path("runs/one"), ["k5"], images=RECIPE)
    a_run(Path("old/two"), ["k1"], images=RECIPE | {"steps": 8})
    said(store, capsys, "yes=true", "also=[old]")
    assert keys_of(store)["eight"] == ["k1"]


def test_a_run_that_begins_stops_it(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sip.keeping import commands

    a_run(Path("runs/one"), ["k5"], images=RECIPE)
    needs_of = commands.needs_of

    def then_begins(runs: Sequence[Path]) -> Any:
        found = needs_of(runs)
        Path("runs/generate-new").mkdir()
        return found

    before = keys_of(store)
    monkeypatch.setattr(commands, "needs_of", then_begins)
    with pytest.raises(UserError, match="runs began or ended"):
        said(store, capsys, "yes=true")
    assert keys_of(store) == before


def test_the_commands_from_the_command_line(tmp_path: Path) -> None:
    made(opened(tmp_path / "store"), failing=KEYS[:1])
    a_run(tmp_path / "runs" / "one", ["k5"], images=RECIPE)

    def words(*arguments: str) -> str:
        done = run_module("sip.store", arguments, tmp_path / "said", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "5 small shards joined to 1" in words("compact")
    assert "10 rows copied to" in words("export", "to=copy")
    assert "nothing was deleted" in words("prune", "older_than=0")
    assert "deleted: 8 rows" in words("prune", "older_than=0", "--yes")
    assert "8 rows copied to" in words("import", "from=copy", "stages=[images]")
    assert json.loads(words("list", "--json"))[0]["rows"] == 10
    for arguments, text in (
        (["export"], "to: must be a store; say to=FOLDER"),
        (["import", "from=store"], "from: must be another store than paths.store"),
        (["import", "from=nowhere"], "from: must be a store, got"),
        (["compact", "shard_size=0"], "shard_size: must be a whole number >= 1, got 0"),
    ):
        done = run_module("sip.store", arguments, tmp_path / "said", cwd=tmp_path)
        assert done.returncode == 2 and text in done.stderr, done.stderr
    assert os.path.isdir(tmp_path / "store") and len(Store(tmp_path / "store").places()) == 1
