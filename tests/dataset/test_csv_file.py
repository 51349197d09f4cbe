"""Your own images in a list: parts, order, other columns, and rows that do not fit."""

import os
from pathlib import Path
from typing import Any

import pytest

from sip.core.errors import UserError
from sip.dataset.reader import say_made_parts
from tests.dataset.trees import source, write_image

EVERYTHING = {"val_fraction": 0, "test_fraction": 0}


def listed(tmp_path: Path, text: str | bytes, root: Path | None = None, **changes: Any) -> Any:
    """Return the data set of a list with this text; files 0.png ... 9.png are next to it."""
    for i in range(10):
        write_image(tmp_path / "images" / f"{i}.png", i)
    file = tmp_path / "images" / "list.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return source("csv", root, path=str(file), **changes)


def test_columns_of_a_list_with_parts(tmp_path: Path) -> None:
    text = "path,label,split\n0.png,tabby cat,train\n1.png,dog,training\n2.png,dog,validation\n"
    read = listed(tmp_path, text + "./3.png,tabby cat,test\n")
    assert read.class_names == ("dog", "tabby cat")
    rows = {part: read.samples(part) for part in ("train", "val", "test")}
    assert [(row.sample_id, row.label) for row in rows["train"]] == [("0.png", 1), ("1.png", 0)]
    assert [row.sample_id for row in (*rows["val"], *rows["test"])] == ["2.png", "3.png"]
    assert rows["test"][0].path == str(tmp_path / "images" / "3.png")


@pytest.mark.parametrize("sign", [",", ";", "\t"])
@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_delimiter_byte_order_mark_and_line_end(
    sign: str, head: bytes, end: str, tmp_path: Path
) -> None:
    lines = [["label", "n", "file"], ["a_b", "1", "0.png"], [], ["\u00fc", "2", "1.png"]]
    text = end.join(sign.join(line) for line in lines) + end
    read = listed(tmp_path, head + text.encode(), path_column="file", **EVERYTHING)
    assert read.class_names == ("a b", "\u00fc")
    assert [row.sample_id for row in read.samples("train")] == ["0.png", "1.png"]


def test_missing_parts_are_made_and_numbers_ordered(tmp_path: Path) -> None:
    text = "path,label\n" + "".join(f"{i}.png,{(2, 10)[i % 2]}\n" for i in range(10))
    read = listed(tmp_path, text, prompt_names={2: "two"})
    assert read.class_names == ("two", "10")
    assert [len(read.samples(part)) for part in ("train", "val", "test")] == [6, 2, 2]


def test_parts_that_are_made_are_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = "path,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(10))
    say_made_parts(listed(tmp_path, text))
    assert capsys.readouterr().err == (
        "dataset      parts made by split_seed: 2 val and 2 test, taken from train, which keeps 6; "
        "to generate from all: dataset.val_fraction=0 dataset.test_fraction=0\n"
    )
    say_made_parts(listed(tmp_path, text, **EVERYTHING))
    assert capsys.readouterr().err == ""


def test_generated_rows_are_not_tested_on(tmp_path: Path) -> None:
    text = "path,label,split,kind\n0.png,a,train,generated\n1.png,a,test,generated\n"
    with pytest.raises(UserError, match="test must contain real images only, got 1 .* first 1.png"):
        listed(tmp_path, text, val_fraction=0).samples("train")


@pytest.mark.parametrize("place", [".", "sub", "sub/..", "..", "{}", "/", "{}/sub/"])
def test_ids_are_relative_to_the_folder_however_it_is_written(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    place = place.format(tmp_path)
    for name in ("0.png", "sub/1.png", "subject.png"):
        write_image(tmp_path / name, 1)
    files = [tmp_path / name for name in ("0.png", "sub/1.png", "subject.png")]
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{file},a\n" for file in files))
    read = source("csv", place, path="list.csv", **EVERYTHING)
    expected = [os.path.relpath(file, place) for file in files]
    assert [row.sample_id for row in read.samples("train")] == expected


def test_paths_start_from_the_root(tmp_path: Path) -> None:
    absolute = write_image(tmp_path / "elsewhere" / "x.png", 99)
    text = f"path,label\nimages/0.png,a\n{absolute},b\n"
    read = listed(tmp_path, text, root=tmp_path, **EVERYTHING)
    assert [row.sample_id for row in read.samples("train")] == ["images/0.png", "elsewhere/x.png"]


BAD = {
    "empty": ("path,label\n0.png,\n,a\n", "2 cells .* line 2, label: is empty, line 3, path: is"),
    "gone": (
        "path,label\n0.png,a\nx.png,a\n",
        "1 cell .* line 3, path: x.png does not exist .relative "
        "paths start from /.*; fix these rows, or set dataset.root to the images' folder",
    ),
    "part": ("path,label,split\n0.png,a,pred\n", "line 2, split: must be train, .* got 'pred'"),
    "twice": ("path,label\n0.png,a\n./0.png,b\n", "line 3, path: the same file as in line 2"),
    "cells": ("path,label\n0.png,a,b\n", "line 2, more cells than the header has columns"),
    "cut": ("path,label,split\n0.png,a\n", "line 2, fewer cells than the header has columns"),
    "short": ("path,label\n0.png\n", "line 2, label: is empty"),
    "class": (
        "path,label,split\n0.png,a,train\n1.png,b,test\n",
        "line 3, label: no training image has 'b'",
    ),
    "header": ("0.png,a\n1.png,b\n", "path_column: must be one of 0.png, a in .*got 'path'"),
    "nothing": ("", "path_column: must be one of no columns in"),
    "latin": ("path,label\n0.png,\u00fc\n".encode("latin1"), "must be a CSV file in UTF-8"),
    "missing": (
        "path,label\n0.png,nan\n1.png,-1\n2.png,N/A\n",
        "3 cells .* line 2, label: is nan, which stands for no label, line 3, label: is -1, .* N/A",
    ),
    "numbers": ("path,label\n0.png,01\n1.png,1\n", "written in one way, got '01' and '1'"),
    "columns": ("path,label,label\n0.png,a,b\n", "must differ in names, got 'label' twice"),
    "slashes": ("path,label\nx\\0.png,a\n", r"0.png does not exist \(write / in place of"),
    "long": (f"path,label\n{'x' * 300}.png,a\n", "line 2, path: x+.png does not exist"),
    "tilde": ("path,label\n~no user/0.png,a\n", "line 2, path: ~no user/0.png does not exist"),
    "quote": ('path,label\n0.png,a\n1.png,"b\n2.png,a\n', "a CSV file .*unexpected end of data"),
    "lines": ('path,label\n0.png,"a\n1.png,"\n', "label: has several lines .close the quotes"),
    "utf16": ("path,label\n0.png,a\n".encode("utf-16"), "in UTF-8, got .*list.csv .*saved so"),
    "zero": (b"path,label\n0.png,a\0\n1.png,\0\n", "must have words for its prompt"),
}


@pytest.mark.parametrize("case", BAD)
def test_rows_that_do_not_fit_are_named_by_line_and_column(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    with pytest.raises(UserError, match=message) as error:
        listed(tmp_path, text, **EVERYTHING).samples("train")
    assert "\n" not in str(error.value)


def test_whole_numbers_are_the_same_as_decimals(tmp_path: Path) -> None:
    read = listed(tmp_path, "path,label\n0.png,10.0\n1.png,2\n2.png,2.0\n", **EVERYTHING)
    assert read.class_names == ("2", "10")
    assert [row.label for row in read.samples("train")] == [1, 0, 0]


def test_the_delimiter_is_the_one_that_gives_the_columns(tmp_path: Path) -> None:
    text = "path;label;size, mm, px\n0.png;a;1\n1.png;b;2\n"
    assert listed(tmp_path, text, **EVERYTHING).class_names == ("a", "b")


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(UserError, match="must be a CSV file .*it is not a regular file"):
        source("csv", None, path=str(tmp_path / "list.csv")).samples("train")


def test_a_missing_list_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dataset.path: must be a CSV file .*No such file"):
        source("csv", None, path=str(tmp_path / "no.csv")).samples("train")


def test_files_that_do_not_exist_can_be_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    text = "path,label\n0.png,a\nx.png,a\n1.png,b\n"
    read = listed(tmp_path, text, broken="skip", **EVERYTHING)
    assert [row.sample_id for row in read.samples("train")] == ["0.png", "1.png"]
    assert "passed over 1 row: line 3, path: x.png does not exist" in capsys.readouterr().err


def test_a_list_without_training_images_says_so(tmp_path: Path) -> None:
    read = listed(tmp_path, "path,label,split\n0.png,cat,test\n1.png,dog,val\n")
    with pytest.raises(UserError, match="must list images to train on, got none; name the part of"):
        read.samples("test")


def test_files_of_another_column_are_found_as_those_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "images"))
    read = listed(tmp_path, "path,label,mask\n0.png,cat,~/5.png\n1.png,cat,6.png\n2.png,cat,\n")
    files = read.column_files("mask", ["0.png", "1.png", "2.png"], "images.masks.column")
    assert files == {f"{n}.png": str(tmp_path / "images" / f"{n + 5}.png") for n in (0, 1)}
