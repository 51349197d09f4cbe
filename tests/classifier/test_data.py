"""The stream of training images is a function of the seed and the position only."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from sip.augmentation.offline.generated import GeneratedMode
from sip.augmentation.sample.flip_crop import FlipCrop
from sip.classifier import loading
from sip.classifier.base import TrainingImage
from sip.classifier.data import DecodedImages, SplitData, Stream
from sip.classifier.loading import Loading
from sip.classifier.rows import sources
from sip.core.errors import UserError
from sip.core.hashing import seed_of
from tests.classifier.recipes import RANDAUGMENT, recipe


def count_reads(monkeypatch) -> list[str]:
    """Return the list that the path of each image read from now on goes into."""
    calls: list[str] = []
    real = loading.read_rgb
    monkeypatch.setattr(loading, "read_rgb", lambda *a: calls.append(a[0]) or real(*a))
    return calls


CROP = FlipCrop(0.0, 0.3, 0.5, 1.0, 1.0)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[TrainingImage]:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    made = []
    for number in range(5):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (24, 16, 3), np.uint8)).save(path)
        made.append(TrainingImage(f"p{number}", str(path), number % 3))
    return made


def stream(rows, *transforms, length=12, seed=0) -> Stream:
    return Stream(DecodedImages(rows, 16), transforms, length, seed)


def test_every_image_is_seen_once_a_pass(rows) -> None:
    order = stream(rows, length=13).order.tolist()
    assert len(order) == 13
    assert Counter(order[:5]) == Counter(order[5:10]) == Counter(range(5))
    assert order != stream(rows, length=13, seed=1).order.tolist()


def test_a_longer_stream_starts_with_the_shorter(rows) -> None:
    assert stream(rows, length=20).order[:12].tolist() == stream(rows).order.tolist()


def test_position_decides_the_changes_whatever_was_read_before(rows) -> None:
    transform = RANDAUGMENT
    forwards = [stream(rows, transform)[position][0] for position in range(12)]
    other = stream(rows, transform)
    torch.manual_seed(99)
    backwards = [other[position][0] for position in reversed(range(12))][::-1]
    assert all(torch.equal(*pair) for pair in zip(forwards, backwards, strict=True))


def test_transforms_follow_each_other_and_the_first_is_as_if_alone(rows) -> None:
    mirror, invert = (lambda image: image.flip(-1)), (lambda image: 255 - image)
    cut = [image for image, _ in stream(rows, CROP)]
    both = [image for image, _ in stream(rows, CROP, invert)]
    assert all(torch.equal(255 - image, other) for image, other in zip(cut, both, strict=True))
    assert not any(
        torch.equal(*pair) for pair in zip(cut, [i for i, _ in stream(rows)], strict=True)
    )
    turned = [image for image, _ in stream(rows, mirror, lambda image: image[..., :8])]
    plain = [image for image, _ in stream(rows)]
    assert all(torch.equal(a, b[..., 8:].flip(-1)) for a, b in zip(turned, plain, strict=True))


def test_reading_leaves_the_global_random_state_alone(rows) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    stream(rows, RANDAUGMENT)[3]
    assert torch.equal(torch.rand(3), expected)


def test_images_are_bytes_decoded_once(rows, monkeypatch) -> None:
    calls = count_reads(monkeypatch)
    images = DecodedImages(rows, 16)
    seen = [images[position] for position in (0, 1, 1, 4)]
    assert len(calls) == len(rows)
    assert seen[0][0].shape == (3, 16, 16)
    assert seen[0][0].dtype == torch.uint8
    assert [label for _, label in seen] == [0, 1, 1, 1]


def test_images_that_do_not_fit_are_read_one_by_one(rows, monkeypatch) -> None:
    needed = 5 * 3 * 16 * 16
    kept, images = DecodedImages(rows, 16, needed), DecodedImages(rows, 16, needed - 1)
    assert kept.memory is not None and images.memory is None
    assert all(torch.equal(images[n][0], kept[n][0]) for n in range(5))
    calls = count_reads(monkeypatch)
    for _ in range(3):
        assert images[2][0].is_contiguous()
    assert calls == [rows[2].path] * 3


def test_kept_images_are_those_of_the_files_in_their_order(rows) -> None:
    many = [rows[number % 5] for number in range(37)]  # several threads, a last short chunk
    expected = [np.array(Image.open(row.path).convert("RGB").crop((0, 4, 16, 20))) for row in many]
    memory = DecodedImages(many, 16).memory
    assert memory is not None
    assert np.array_equal(memory.permute(0, 2, 3, 1).numpy(), np.stack(expected))


def test_a_broken_file_is_named_from_its_thread(rows, tmp_path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(UserError, match="classifier: .*broken.png: .*; fix or remove the file"):
        _ = DecodedImages([*rows, TrainingImage("b", str(broken), 0)], 16).memory


def pool(rows, workers, memory, transforms=(), offline=None) -> SplitData:
    values = recipe(steps=3, batch_size=4, warmup_steps=0, val_every=3)
    settings = Loading(workers, memory)
    return SplitData(rows, rows[:2], rows[:1], 16, transforms, values, 7, settings, offline)


@pytest.mark.parametrize("memory", [0, 1.0])
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_memory_change_nothing(rows, workers, memory) -> None:
    transform, seen = RANDAUGMENT, stream(rows, length=12, seed=7).order.tolist()
    expected = []
    for position, number in enumerate(seen):  # the definition, written out
        torch.manual_seed(seed_of(7, "sample", position))
        cut = np.array(Image.open(rows[number].path).convert("RGB").crop((0, 4, 16, 20)))
        expected.append(transform(torch.from_numpy(cut).permute(2, 0, 1)))
    made = pool(rows, workers, memory, [transform])
    made.setup("fit")
    assert made.train.kept == bool(memory)
    batches = list(made.train_dataloader())
    assert torch.equal(torch.cat([batch[0] for batch in batches]), torch.stack(expected))
    assert torch.cat([batch[1] for batch in batches]).tolist() == [rows[n].label for n in seen]


def test_workers_share_what_was_decoded_before_they_started(rows, monkeypatch) -> None:
    made = pool(rows, 2, 1.0)
    made.setup("fit")

    def refuse(*_) -> None:
        raise AssertionError("decoded twice")

    monkeypatch.setattr(loading, "read_rgb", refuse)
    monkeypatch.setattr("sip.augmentation.offline.none.passes", refuse)  # nor put in order twice
    assert sum(len(batch[0]) for batch in made.train_dataloader()) == 12
    assert sum(len(batch[0]) for batch in made.val_dataloader()) == 2


def test_the_bound_is_for_all_splits_together(rows) -> None:
    one = 3 * 16 * 16 / 2**30
    for images, expected in (  # of which there are 5, 2 and 1
        (4.9, [False, True, True]),
        (5, [True, False, False]),
        (6.5, [True, False, True]),
        (7, [True, True, False]),
        (8, [True, True, True]),
    ):
        made = pool(rows, 0, images * one)
        assert [made.train.kept, made.val.kept, made.test.kept] == expected
    assert pool(rows, "auto", "auto").test.kept


@dataclass(frozen=True)
class Variant:
    """A generated image."""

    sample_id: str
    path: str
    label: int
    source: str


@pytest.fixture(scope="module")
def all_rows(rows) -> list:
    """Three real images and a generated one of each of the last two."""
    return [
        *rows[:3],
        *(Variant(f"d{n}", rows[n + 2].path, rows[n].label, f"p{n}") for n in (1, 2)),
    ]


def mixed(rows, mode: str, p: float = 0.5, length: int = 30) -> Stream:
    return Stream(DecodedImages(rows, 16), (), length, 0, GeneratedMode(mode, p, 0.25, None))


def test_concatenated_images_are_seen_as_often_as_real_ones(all_rows) -> None:
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
    assert torch.equal(replaced[0][0], replaced.images[int(replaced.order[0])][0])


def test_weights_come_with_the_images(all_rows) -> None:
    weighted = mixed(all_rows, "weighted")
    loader = torch.utils.data.DataLoader(weighted, 10)
    weights = torch.cat([batch[2] for batch in loader])
    generated = weighted.order >= 3
    assert torch.equal(weights, torch.where(generated, 0.25, 1.0))


def test_a_variant_of_an_image_that_is_not_in_train_is_refused(all_rows) -> None:
    with pytest.raises(UserError, match="got 1 of other images .*4.png.*; generate from"):
        stream(all_rows[:2] + all_rows[3:])
