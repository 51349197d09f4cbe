"""Places that a setting names: folders, and prefixes of buckets without a secret in them."""

import os
from pathlib import Path

import pytest

from sip.core.errors import UserError
from sip.core.uri import Uri, joined, place_of, relative


def test_a_uri_is_joined_like_a_path() -> None:
    place = place_of("s3://bucket/a/prefix/")
    assert (
        place == Uri("s3", "bucket/a/prefix") and str(place / "x/y") == "s3://bucket/a/prefix/x/y"
    )
    assert (place / "x").name == "x" and (place / "x").parent == place
    assert place_of(place) is place and place.absolute() is place


@pytest.mark.parametrize(
    "text", ["store", "/a/store", "file:///a/store", "file://localhost/a", "odd:name/s3:/x"]
)
def test_what_is_no_uri_of_a_store_is_a_folder(text: str) -> None:
    assert place_of(text) == Path(text.removeprefix("file://").removeprefix("localhost"))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("s3://KEY:hunter2@bucket/a", "must be without user and password"),
        ("s3://hunter2@bucket/a", "must be without user and password"),
        ("abfss://hunter2:x@account/a", "must be without user and password"),
        ("s3://bucket/a?access_key=K&secret_key=hunter2", "must be only bucket and prefix"),
        ("gs://bucket/a#hunter2", "must be only bucket and prefix"),
        ("https://hunter2@server/bucket", "must be a folder or a place in an object store"),
        ("file://hunter2/store", "must be a whole path behind file://, as in file:///data/store"),
        ("file://hunter2", "must be a whole path behind file://"),
        ("file://", "must be a whole path behind file://"),
        ("s3://", "must have a bucket"),
        ("s3:///a", "must have a bucket"),
        ("s3://bucket/../other", "must have a bucket and a prefix of plain names"),
        ("s3://bucket//a", "must have a bucket and a prefix of plain names"),
    ],
)
def test_a_uri_with_more_than_a_place_is_refused_without_showing_it(text: str, rule: str) -> None:
    with pytest.raises(UserError, match=f"^paths.store: {rule}") as refused:
        place_of(text)
    assert "hunter2" not in str(refused.value) and "\n" not in str(refused.value)


def test_an_account_of_azure_is_no_password() -> None:
    assert str(place_of("abfss://box@account.dfs.core.windows.net/a")).startswith("abfss://box@")


def test_files_are_named_relative_to_the_store() -> None:
    bucket, folder = Uri("s3", "bucket/a"), Path("/store")
    file = "s3://bucket/a/images/x/images.tar::512:9"
    assert relative(file, bucket) == "images/x/images.tar::512:9"
    assert joined(bucket, "images/x/images.tar::512:9") == file
    assert relative("/data/a.png", bucket) == joined(bucket, "/data/a.png") == "/data/a.png"
    assert relative("/data/a.png", folder) == "../data/a.png"
    odd = ("/store", "/store/", "/", "/store/..", "/store/a/../b.png", "/store//a/b.png", "b.png")
    for path in ("/store/a/b.png", "/store/b.png", "/b.png", "/x/y.tar::5:6", *odd):
        assert relative(path, folder) == os.path.relpath(path, folder)
        assert relative(path, Path("/store/x")) == os.path.relpath(path, "/store/x")
    assert joined(folder, "../data/a.png") == "/store/../data/a.png"
