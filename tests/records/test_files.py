"""A run folder of somebody else cannot have files read that are not the store's or the run's."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sip.core import tars
from sip.core.errors import DamagedError, UserError
from sip.records import parquet
from sip.records.files import file_in_store, listed_image
from sip.records.parquet import MAX_TEXT, iterate_rows, read_table
from sip.records.read import read_config, read_images, read_summary
from tests.dataset.trees import encoded


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").write_bytes(encoded(1, "PNG"))
    return folder


def row(file: str | None, **changes: Any) -> dict[str, Any]:
    plain = {"kind": "generated", "file": file, "sha256": sha256(encoded(1, "PNG"))}
    return plain | changes


def test_a_generated_image_is_read_from_the_store(store: Path, tmp_path: Path) -> None:
    image = listed_image(store, row("images/a.png"))
    assert image is not None and image.content() == encoded(1, "PNG")
    assert image.rgb().size == (10, 6)
    assert listed_image(store, row(None)) is None
    (tmp_path / "link").symlink_to(store)  # the store itself may be one
    assert listed_image(tmp_path / "link", row("images/a.png")) == image
    data = encoded(1, "PNG")
    (store / "images" / "b.tar").write_bytes(tars.member("a.png", data) + tars.END)
    member = listed_image(store, row(f"images/b.tar::512:{len(data)}"))
    assert member is not None and member.content() == data


@pytest.mark.parametrize("tail", ["", "::512:9"])
@pytest.mark.parametrize(
    "file", ["/etc/passwd.tar", "../secret.tar", "images/../../secret.tar", "out/secret.tar",
             "images/link.tar", "/dev/zero.tar", "a\0b.tar"]
)  # fmt: skip
def test_no_file_outside_of_the_store_is_read(store: Path, file: str, tail: str) -> None:
    (store.parent / "secret.tar").write_bytes(b"mine")
    (store / "images" / "link.tar").symlink_to(store.parent / "secret.tar")
    (store / "out").symlink_to(store.parent)
    with pytest.raises(UserError, match="file: must be a path in the store .*, got ") as caught:
        file_in_store(store, f"{file}{tail}")
    assert "\n" not in str(caught.value)


def test_what_is_no_image_of_the_run_is_damaged(store: Path) -> None:
    os.mkfifo(store / "pipe.png")
    (store / "text.png").write_text("TOP SECRET")
    (store / "huge.png").touch()
    os.truncate(store / "huge.png", tars.MAX_BYTES + 1)
    for name, changes, reason in (
        ("pipe.png", {}, "it is not a regular file"),
        ("images", {}, "it is not a regular file"),
        ("huge.png", {}, "bytes is more than"),
        ("none.png", {}, "No such file"),
        ("images/a.png", {"sha256": "0" * 64}, "its SHA-256 is not the one in the run's list"),
        ("text.png", {"sha256": sha256(b"TOP SECRET")}, "cannot identify image file"),
    ):
        image = listed_image(store, row(name, **changes))
        assert image is not None
        with pytest.raises(DamagedError, match=f"the generated image .*{reason}.*retry=damaged"):
            image.rgb()
    with pytest.raises(UserError, match="sha256: must be the checksum of 'images/a.png', got none"):
        listed_image(store, row("images/a.png", sha256=None))


def test_an_original_is_the_one_that_the_run_knew(store: Path, tmp_path: Path) -> None:
    grey = Image.new("L", (4, 4), 9)
    grey.save(tmp_path / "grey.png")
    for name, known in (("grey.png", sha256(grey.tobytes())), ("other.png", sha256(b"other"))):
        (tmp_path / "other.png").write_bytes(b"other")
        original = listed_image(store, row(f"../{name}", kind="real", sha256=known))
        assert original is not None and original.content() == (tmp_path / name).read_bytes()
    strange = listed_image(store, row("../grey.png", kind="real"))
    assert strange is not None
    with pytest.raises(DamagedError, match="the original .*grey.png is damaged.*put it back"):
        strange.rgb()


@pytest.mark.parametrize("name", ["summary.json", "config.yaml", "images.parquet"])
@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "device"])
def test_files_of_a_run_are_regular_and_its_own(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / name
    other = tmp_path / name
    other.write_text(json.dumps({"secret": "mine"}))
    {
        "pipe": lambda: os.mkfifo(file),
        "link": lambda: file.symlink_to(other),
        "folder": file.mkdir,
        "device": lambda: file.symlink_to("/dev/zero"),
    }[kind]()
    read = {"summary.json": read_summary, "config.yaml": read_config}
    with pytest.raises(UserError, match=f"{name}: must be ") as caught:
        read.get(name, lambda path: read_images(path.parent))(file)
    assert "\n" not in str(caught.value) and "mine" not in str(caught.value)
    with pytest.raises(UserError, match="must be a file of a run"):
        next(iterate_rows(file))
    shutil.rmtree(tmp_path / "run")


def test_a_small_table_cannot_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 4096, pa.int32()), ["x" * 2**20])
    pq.write_table(pa.table({"id": text}), file, compression="zstd", store_schema=False)
    assert file.stat().st_size < 20_000 < MAX_TEXT < 4096 * 2**20
    for read in (read_table, lambda path: list(iterate_rows(path))):
        with pytest.raises(UserError, match="must hold at most .* bytes of text"):
            read(file)
    pq.write_table(pa.table({"id": [["x"]]}), file)
    with pytest.raises(UserError, match="column id is of type list"):
        read_table(file)


def test_columns_are_chosen_and_required(tmp_path: Path) -> None:
    file = tmp_path / "images.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "label": [0, 1], "kind": ["real"] * 2}), file)
    assert list(iterate_rows(file, ["label"])) == [{"label": 0}, {"label": 1}]
    with pytest.raises(UserError, match=r"images\.parquet: must have the columns file, split"):
        next(iterate_rows(file, ["split", "label", "file"]))


def test_the_rows_of_a_long_table_are_streamed_but_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "images.parquet"
    pq.write_table(pa.table({"label": range(10)}), file)
    monkeypatch.setattr(parquet, "MAX_VALUES", 9)
    assert len(list(iterate_rows(file))) == 10
    with pytest.raises(UserError, match="must hold at most 9 values, got 10"):
        read_table(file)
    monkeypatch.setattr(parquet, "MAX_STREAMED", 9)
    with pytest.raises(UserError, match="must hold at most 9 values, got 10"):
        next(iterate_rows(file))


def test_texts_come_back_as_they_were(tmp_path: Path) -> None:
    table = pa.table({"a": ["x", None, "ü"], "n": [1, 2, None], "v": [[0.5], [], None]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").equals(table)
    assert list(iterate_rows(tmp_path / "t.parquet")) == table.to_pylist()
    kept = read_table(tmp_path / "t.parquet", columns=["a", "n"], filters=[("a", "=", "x")])
    assert kept.to_pylist() == [{"a": "x", "n": 1}]
