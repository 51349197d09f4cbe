"""What list, du, verify and repair say of a store in a folder and in a bucket."""

import json
import os
from pathlib import Path

import pytest

from sip.core.errors import UserError
from sip.core.uri import Uri
from sip.keeping.commands import run
from sip.store.census import census, chosen
from sip.store.stage import Store
from tests.commands import run_module
from tests.composing import composed
from tests.keeping.made_up import KEYS, RECIPE, contents, finished_run, made, opened


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Two recipes of images, and captions of one; one row failed."""
    place = str(request.getfixturevalue("bucket") if request.param == "bucket" else tmp_path / "s")
    made(opened(place), failing=KEYS[:1])
    made(opened(place, recipe=RECIPE | {"steps": 8}), KEYS[:3])
    made(opened(place, "captions", {"class": "Captions"}), KEYS[:4])
    return place


def said(command: str, store: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Return what a command prints."""
    capsys.readouterr()
    paths = [f"paths.store={store}", f"paths.runs={os.path.abspath('runs')}"]
    run(composed(f"command={command}", *paths, *more, name="store"))
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_has_a_row_a_recipe(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    newest = opened(store).place.names()
    run_folder = finished_run(Path("runs/one"), images=RECIPE)
    os.utime(run_folder / "summary.json", (4e9, 4e9))
    rows = json.loads(said("list", store, capsys, "json=true"))
    by_name = {row["recipe"]: row for row in rows}
    four = by_name[opened(store).path.split("/")[1]]
    eight = by_name[opened(store, recipe=RECIPE | {"steps": 8}).path.split("/")[1]]
    assert [row["stage"] for row in rows] == ["captions", "images", "images"]
    assert (four["rows"], four["failed"], four["shards"], four["unreadable"]) == (10, 1, 5, 0)
    assert (eight["rows"], eight["failed"], eight["shards"]) == (3, 0, 2)
    assert four["differs_by"] == {"steps": 4} and eight["differs_by"] == {"steps": 8}
    assert rows[0]["differs_by"] == {}
    assert (four["runs"], four["last_use"]) == (1, 4e9)
    last = max(opened(store, recipe=RECIPE | {"steps": 8}).place.names())
    assert (eight["runs"], eight["last_use"]) == (0, int(last.split("-")[0]) / 1e9)
    assert len(newest) == 5
    table = said("list", store, capsys)
    assert table.splitlines()[-1].split()[:4] == ["all", "17", "1", "9"]


def test_bytes_are_those_of_the_files(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage = opened(store)
    place = stage.place
    if isinstance(place.root, Path):
        files = [file for file in place.root.rglob("shards/*/*")]
        expected = sum(file.stat().st_size for file in files)
    else:
        expected = sum(size for name, size in place.files() if name.startswith("shards/"))
        assert expected > 9 * 200
    (stage.tmp / "dead--1").mkdir(parents=True)
    (stage.tmp / "dead--1" / "rows.parquet").write_bytes(b"x" * 77)
    row = {row["path"]: row for row in json.loads(said("du", store, capsys, "json=true"))}[
        stage.path
    ]
    assert (row["shards"], row["tmp"], row["damaged"]) == (expected, 77, 0)
    assert "77 B" in said("du", store, capsys)


def test_verify_changes_nothing_and_repair_says_what_makes_rows_again(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = opened(store)
    shard = sorted(stage.place.names())[1]
    assert "nothing is damaged" in said("verify", store, capsys)
    file = stage.shards / shard / "images.tar"
    if isinstance(file, Uri):
        from sip.core import objects

        content = bytearray(objects.read(file))
        content[600] ^= 1
        objects.write(file, bytes(content))
    else:
        content = bytearray(file.read_bytes())
        content[600] ^= 1
        file.write_bytes(content)
    before = opened(store).place.names()
    with pytest.raises(UserError, match=rf"1 shard of .* damaged.*repair.*stages=\[{stage.path}\]"):
        said("verify", store, capsys)
    line = capsys.readouterr().out
    assert f"{stage.path}/shards/{shard}: 1 row damaged, first" in line
    assert opened(store).place.names() == before
    finished_run(Path("runs/one"), images=RECIPE)
    assert "sip.generate seed=3" in said("repair", store, capsys, f"stages=[{stage.path}]")
    assert shard not in opened(store).place.names()
    assert len(contents(opened(store))) == 9
    assert "nothing is damaged" in said("repair", store, capsys)


def test_stages_that_are_not_there_are_named(store: str) -> None:
    with pytest.raises(UserError, match=r"stages: must be stages of .*, got 'image'.*captions"):
        chosen(Store(store), ["image"])
    assert [place.stage for place in chosen(Store(store), ["images"])] == ["images", "images"]
    one = opened(store).path
    assert [place.path for place in chosen(Store(store), [one])] == [one]


def test_a_shard_that_cannot_be_counted_is_said(tmp_path: Path) -> None:
    stage = opened(tmp_path / "s")
    made(stage, KEYS[:4])
    shard = sorted(stage.place.names())[0]
    (tmp_path / "s" / stage.path / "shards" / shard / "rows.parquet").write_bytes(b"no")
    (tmp_path / "s" / stage.path / "recipe.json").write_text("{")
    seen = census(opened(tmp_path / "s").place)
    assert (seen.rows, seen.shards, seen.unreadable) == (2, 2, 1)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["list"], 0, "images"),
        (["du", "--json"], 0, '"path": "images/'),
        (["lst"], 2, "command: must be one of list, du, verify, repair"),
        ([], 2, "command: must be one of"),
        (["list", "paths.store=nowhere"], 2, "paths.store: must be a store, got nowhere"),
    ],
)
def test_words_of_the_command_line(words: list[str], code: int, text: str, tmp_path: Path) -> None:
    made(opened(tmp_path / "store"), KEYS[:2])
    done = run_module("sip.store", words, tmp_path / "said", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
