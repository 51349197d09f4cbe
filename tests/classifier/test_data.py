"""The stream of training pictures is a function of the seed and the position alone."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from sip.augmentation.offline.drawn import Drawn
from sip.augmentation.sample.none import AsIs
from sip.augmentation.sample.randaugment import RandAugment
from sip.classifier import data
from sip.classifier.base import Picture
from sip.classifier.data import Pictures, Stream, sources
from sip.common.errors import UserError


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Picture]:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    made = []
    for number in range(5):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (24, 16, 3), np.uint8)).save(path)
        made.append(Picture(f"p{number}", str(path), number % 3))
    return made


def stream(rows, transform=None, length=12, seed=0) -> Stream:
    return Stream(Pictures(rows, 16), transform or AsIs(), length, seed)


def test_every_picture_is_seen_once_a_pass(rows) -> None:
    order = stream(rows, length=13).order.tolist()
    assert len(order) == 13
    assert Counter(order[:5]) == Counter(order[5:10]) == Counter(range(5))
    assert order != stream(rows, length=13, seed=1).order.tolist()


def test_a_longer_stream_starts_with_the_shorter(rows) -> None:
    assert stream(rows, length=20).order[:12].tolist() == stream(rows).order.tolist()


def test_position_decides_the_changes_whatever_was_read_before(rows) -> None:
    transform = RandAugment(2, 9, 0)
    forwards = [stream(rows, transform)[position][0] for position in range(12)]
    other = stream(rows, transform)
    torch.manual_seed(99)
    backwards = [other[position][0] for position in reversed(range(12))][::-1]
    assert all(torch.equal(*pair) for pair in zip(forwards, backwards, strict=True))


def test_reading_leaves_the_global_random_state_alone(rows) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    stream(rows, RandAugment(2, 9, 0))[3]
    assert torch.equal(torch.rand(3), expected)


def test_pictures_are_bytes_decoded_once(rows, monkeypatch) -> None:
    calls = []
    real = data.decode
    monkeypatch.setattr(data, "decode", lambda *a: calls.append(a) or real(*a))
    pictures = Pictures(rows, 16)
    seen = [pictures[position] for position in (0, 1, 1, 4)]
    assert len(calls) == len(rows)
    assert seen[0][0].shape == (3, 16, 16)
    assert seen[0][0].dtype == torch.uint8
    assert [label for _, label in seen] == [0, 1, 1, 1]


def test_pictures_that_do_not_fit_are_read_one_by_one(rows, monkeypatch) -> None:
    kept = [Pictures(rows, 16)[position][0] for position in range(5)]
    monkeypatch.setattr(data, "MEMORY_BYTES", 100)
    pictures = Pictures(rows, 16)
    assert pictures.memory is None
    assert all(torch.equal(pictures[position][0], kept[position]) for position in range(5))


@dataclass(frozen=True)
class Variant:
    """A drawn picture."""

    sample_id: str
    path: str
    label: int
    source: str


@pytest.fixture(scope="module")
def all_rows(rows) -> list:
    """Three real pictures and a drawn one of each of the last two."""
    return [
        *rows[:3],
        *(Variant(f"d{n}", rows[n + 2].path, rows[n].label, f"p{n}") for n in (1, 2)),
    ]


def mixed(rows, mode: str, p: float = 0.5, length: int = 30) -> Stream:
    return Stream(Pictures(rows, 16), AsIs(), length, 0, Drawn(mode, p, 0.25, None))


def test_concatenated_pictures_are_seen_as_often_as_real_ones(all_rows) -> None:
    concat = mixed(all_rows, "concat")
    assert Counter(concat.order.tolist()) == Counter(dict.fromkeys(range(5), 6))
    assert concat.order.tolist() == stream(all_rows, length=30).order.tolist()
    assert (concat.pass_length, len(concat[0])) == (5, 2)


def test_a_variant_stands_in_for_its_original(all_rows) -> None:
    replaced, plain = mixed(all_rows, "replace", p=1.0), stream(all_rows[:3], length=30)
    originals = sources(all_rows)
    assert originals == [None, None, None, 1, 2]
    for shown, real in zip(replaced.order.tolist(), plain.order.tolist(), strict=True):
        assert shown == {0: 0, 1: 3, 2: 4}[real]
    assert replaced.pass_length == 3
    assert len(replaced) == len(plain)  # the same optimiser steps
    assert torch.equal(replaced[0][0], replaced.pictures[int(replaced.order[0])][0])


def test_weights_come_with_the_pictures(all_rows) -> None:
    weighted = mixed(all_rows, "weighted")
    loader = torch.utils.data.DataLoader(weighted, 10)
    weights = torch.cat([batch[2] for batch in loader])
    drawn = weighted.order >= 3
    assert torch.equal(weights, torch.where(drawn, 0.25, 1.0))


def test_a_variant_of_a_picture_that_is_not_in_train_is_refused(all_rows) -> None:
    with pytest.raises(UserError, match="1 are of others .*4.png.*; draw from the same split"):
        stream(all_rows[:2] + all_rows[3:])
