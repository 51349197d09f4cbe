"""The pool: its part alone, mirror images, shifts, and the user's own captions."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sip.config.build import build
from sip.core.errors import UserError
from sip.dataset.base import Split
from sip.dataset.huggingface import HuggingFace
from sip.stack.pool import Pool, moved
from sip.stack.sources import choose, held_out, load
from sip.stack.texts import Own, read_captions
from sip.stack.tokenizers import clip_tokenizer
from tests.stack.made_up import CLASSES, configuration, write_parquet


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parquet(tmp_path_factory.mktemp("made up") / "set")


@pytest.fixture
def dataset(data: Path, tmp_path: Path) -> HuggingFace:
    return build(configuration(data, tmp_path).dataset)


def read(dataset: HuggingFace, **changes) -> Pool:
    options = {"labelled": True, "mirrored": True, "captions": None, "seed": 0}
    return load(dataset, 32, **(options | changes))


def test_only_pretrain_is_read(dataset: HuggingFace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Split] = []
    samples = dataset.samples

    def noted(_: HuggingFace, split: Split) -> list:
        asked.append(split)
        return samples(split)

    monkeypatch.setattr(HuggingFace, "samples", noted)
    pool = read(dataset)
    assert asked == ["pretrain"]
    assert pool.images.shape == (64, 3, 32, 32)
    assert held_out(dataset) == ("train", "val")
    ids = {split: {row.sample_id for row in samples(split)} for split in dataset.all_splits}
    assert [len(ids[part]) for part in ("pretrain", "train", "val", "test")] == [64, 8, 8, 8]
    assert len(set.union(*ids.values())) == 88


def test_without_a_part_pretrain_it_is_train(data: Path, tmp_path: Path) -> None:
    config = configuration(data, tmp_path, "dataset.pretrain_fraction=null")
    dataset = build(config.dataset)
    assert len(read(dataset).images) == len(dataset.samples("train")) == 40
    assert held_out(dataset) == ("val",)
    chosen = choose(dataset, held_out(dataset), None, 32, 10, 0, labelled=True)
    assert len(chosen) == 10
    with pytest.raises(UserError, match=r"must have images in val .* dataset.val_fraction=0.1"):
        empty = build(configuration(data, tmp_path, "dataset.val_fraction=0").dataset)
        choose(empty, ("val",), None, 32, 10, 0, labelled=True)


def test_mirror_images_are_rows(dataset: HuggingFace) -> None:
    pool = read(dataset)
    assert len(pool) == 128
    rows = torch.tensor([3, 67])
    pixels = pool.pixels(rows)
    assert torch.equal(pixels[0].flip(-1), pixels[1])
    torch.testing.assert_close((pixels[0] + 1) * 127.5, pool.images[3].float())
    assert pool.sources(rows) == [3, 3] and len(set(pool.labels(rows).tolist())) == 1
    assert len(read(dataset, mirrored=False)) == 64


def test_moved_images_are_windows_of_the_reflected_one() -> None:
    pixels = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    offsets = torch.tensor([[0, 2, 4], [2, 2, 1]])
    wide = torch.nn.functional.pad(pixels, (2, 2, 2, 2), mode="reflect")
    expected = [wide[n, :, y : y + 6, x : x + 6] for n, (y, x) in enumerate(offsets.T.tolist())]
    assert torch.equal(moved(pixels, offsets, 2), torch.stack(expected))
    assert torch.equal(moved(pixels, torch.full((2, 3), 2), 2), pixels)


def test_an_unlabelled_pool_knows_no_class(dataset: HuggingFace) -> None:
    pool = read(dataset, labelled=False)
    assert pool.num_classes == 0 and pool.texts.labels is None
    assert not set(CLASSES) & set(pool.texts.vocabulary())


def write_captions(path: Path, dataset: HuggingFace, text: Callable[[int], str]) -> str:
    rows = dataset.samples("pretrain")
    lines = [f'{row.sample_id},"{text(number)}"' for number, row in enumerate(rows)]
    path.write_text("\n".join(["sample_id,caption", *lines]) + "\n")
    return str(path)


def test_own_captions_are_used_as_they_are(dataset: HuggingFace, tmp_path: Path) -> None:
    path = write_captions(tmp_path / "own.csv", dataset, lambda n: f"Thing {n % 3}, zygomorphic")
    pool = read(dataset, captions=path)
    assert isinstance(pool.texts, Own)
    text, meaning = pool.texts.caption(4, random.Random(0))
    assert (text, meaning) == ("Thing 1, zygomorphic", [-1, 1])
    assert pool.texts.facts[:, 1].tolist() == [n % 3 for n in range(64)]
    assert "zygomorphic" in pool.texts.vocabulary()
    assert len(clip_tokenizer(pool.texts.vocabulary(), 64)("zygomorphic").input_ids) == 3


def test_missing_captions_are_named(dataset: HuggingFace, tmp_path: Path) -> None:
    path = write_captions(tmp_path / "own.csv", dataset, lambda n: "" if n == 5 else "a thing")
    with pytest.raises(
        UserError, match=r"64 images .* with none for 1, first cifar10/train/\d+; add"
    ):
        read(dataset, captions=path)
    (tmp_path / "bad.csv").write_text("id,text\n1,2\n")
    with pytest.raises(UserError, match="must have the columns sample_id, caption"):
        read_captions(str(tmp_path / "bad.csv"), [])
    with pytest.raises(UserError, match=r"caption_file: must be a CSV file .*nowhere.csv"):
        read_captions(str(tmp_path / "nowhere.csv"), [])
