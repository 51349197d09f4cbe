"""Training images in columns are the images that they stand for, in little memory."""

import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sip.classifier.base import TrainingImage
from sip.classifier.rows import OPTIONAL, TrainingRows, column, sources
from sip.core.errors import UserError
from sip.core.hashing import digest, digest_of_rows
from sip.core.spill import Spilled
from sip.dataset.base import Sample

HASH = "ab" * 32


def test_rows_in_columns_are_the_rows() -> None:
    rng = random.Random(0)
    real = [
        Sample(f"a/b {n}.png", f"/x/{n % 3}/ü{n}.png", n % 4, "c", "train", 8, 8, f"{n:064x}")
        for n in range(40)
    ]
    real[3] = replace(real[3], sha256="")
    plain = [
        TrainingImage(f"{n:024x}", f"/s/{n}/i.tar::{n}:9", n % 4, f"a/b {n % 40}.png", f"{n:064x}")
        for n in range(70)
    ]
    mixed = [
        replace(one, probability=rng.random(), source_label=n % 5, label_share=0.25)
        if n % 3
        else one
        for n, one in enumerate(plain)
    ]
    names = (*("sample_id", "path", "label", "source", "file_sha256", "sha256"), *OPTIONAL)
    for generated in (plain, mixed, []):
        rows, given = TrainingRows(iter(real), iter(generated)), [*real, *generated]
        assert len(rows) == len(given)
        for row, one in zip(rows, given, strict=True):
            for name in names:
                assert getattr(row, name) == getattr(one, name, OPTIONAL.get(name)), name
        assert [*sources(rows)] == sources(given) and sources(rows)[-3:] == sources(given)[-3:]
        for name, default in ("label", None), ("source_label", None), ("label_share", 1.0):
            assert [*column(rows, name, default)] == column(given, name, default)
        assert [row.path for row in rows[-2:]] == [one.path for one in given[-2:]]
        with pytest.raises(IndexError):
            rows[len(rows)]
    strange = TrainingImage("z", "/z.png", 0, "not in train")
    with pytest.raises(UserError, match="got 1 of other images .*/z.png.; generate from"):
        sources(TrainingRows(real, [*plain, strange]))


def test_rows_in_columns_take_little_memory() -> None:
    def real() -> Iterator[Sample]:
        for n in range(20_000):
            yield Sample(f"a/b/{n:08d}.png", f"/data/a/{n:08d}.png", 0, "b", "train", 8, 8, HASH)

    def generated() -> Iterator[TrainingImage]:
        for n in range(20_000):
            file = f"/store/{n // 512}/images.tar::{n}:400"
            yield TrainingImage(f"{n:024x}", file, 0, f"a/b/{n:08d}.png", HASH)

    first = TrainingRows(Spilled(real())[:3])  # what is imported late is there
    tracemalloc.start()
    rows = TrainingRows(real(), generated())
    used = tracemalloc.get_traced_memory()[0] / 20_000
    tracemalloc.stop()
    assert len(rows) == 40_000 and len(first) == 3 and used < 170  # as objects: 1,300


def test_a_list_has_one_hash_however_it_is_read() -> None:
    for rows in ([], [["a", 1]], [["ü", 1], {"b": None}, 2.5]):
        assert digest_of_rows(iter(rows)) == digest(rows)
        assert digest_of_rows(iter(rows), ["a"], 1) == digest(["a"], 1, rows)
