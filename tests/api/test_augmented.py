"""Generated images in training code: PyTorch, torchvision, timm, Lightning, Hugging Face."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import sip
from tests.api.conftest import SMALL
from tests.api.test_data import Photos, folder_of, hugging_face


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def generated(run: sip.Run, index: int) -> list[bytes]:
    """Return the pixels of the images generated from the original at a place."""
    return [image.image.tobytes() for image in run[2 * index : 2 * index + 2]]


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_an_item_is_a_generated_image_as_often_as_asked(
    run: sip.Run, pairs: list, p: float
) -> None:
    torch.manual_seed(0)
    train = sip.AugmentedDataset(pairs, run, p=p)
    assert len(train) == 6
    num, seen = 0, set()
    for _ in range(50):
        for index in range(6):
            image, label = train[index]
            assert label == pairs[index][1]
            real = image.tobytes() == pairs[index][0].tobytes()
            assert real or image.tobytes() in generated(run, index)
            num += not real
            seen.add(image.tobytes())
    assert num / 300 == pytest.approx(p, abs=0.1 if 0 < p < 1 else 0)
    assert len(seen) == {0.0: 6, 0.3: 18, 1.0: 12}[p]  # both images of each original


def test_images_of_two_classes_are_not_given_their_originals_label(
    run: sip.Run, pairs: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = replace(run[0], source_label=1, source_class_name="one", label_share=0.75)
    monkeypatch.setattr(run, "_images", [mixed, *run[1:]])
    for take in (
        lambda: sip.AugmentedDataset(pairs, run),
        lambda: sip.transforms.GeneratedImage(run),
    ):
        with pytest.raises(sip.UserError, match="run: must be of .* got 1 that are to show"):
            take()


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_a_transform_returns_images_of_the_mode_it_gets(
    run: sip.Run, pairs: list, mode: str
) -> None:
    image = sip.transforms.GeneratedImage(run, p=1.0)(pairs[0][0].convert(mode))
    assert image.mode == mode
    assert image.tobytes() in [one.image.convert(mode).tobytes() for one in run[:2]]


def test_added_images_come_behind_the_originals(run: sip.Run, pairs: list) -> None:
    train = sip.AugmentedDataset(pairs, run, add=True)
    assert len(train) == 18
    assert [train[index] for index in range(6)] == pairs
    assert [train[index][1] for index in range(6, 18)] == [y for _, y in pairs for _ in range(2)]
    found = [train[index][0].tobytes() for index in range(6, 18)]
    assert found == [data for index in range(6) for data in generated(run, index)]
    assert train[-1][0].tobytes() == found[-1]
    with pytest.raises(IndexError):
        train[18]


def test_the_transform_of_a_torchvision_data_set_is_applied_to_generated_images(
    run: sip.Run, pairs: list
) -> None:
    photos = Photos(pairs, transform=pixels)
    train = sip.AugmentedDataset(photos, run, p=1.0)
    image, label = train[3]
    assert label == pairs[3][1]
    assert image.permute(1, 2, 0).numpy().tobytes() in generated(run, 3)
    both = sip.AugmentedDataset(photos, run, p=1.0, transform=lambda image: image.float() / 255)
    assert both[3][0].dtype == torch.float32


def test_seeds_decide_in_loaders_with_workers(run: sip.Run, pairs: list) -> None:
    train = sip.AugmentedDataset(Photos(pairs, transform=pixels), run, p=0.5)

    def epoch(seed: int) -> torch.Tensor:
        order = torch.Generator().manual_seed(seed)
        loader = DataLoader(train, batch_size=3, num_workers=1, generator=order, shuffle=True)
        return torch.cat([images for images, _ in loader])

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))


@pytest.mark.filterwarnings(  # timm leaves files open
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_files_decide_which_item_is_which_original(
    pairs: list, place: Path, tmp_path: Path
) -> None:
    folder = ImageFolder(str(folder_of(pairs, tmp_path / "photos")))
    run = sip.generate(
        tmp_path / "photos", store=place / "store", runs=place / "runs", progress=False, **SMALL
    )
    assert len(run) == 6 and run.given is None
    for train in (
        sip.AugmentedDataset(folder, run, p=1.0),
        sip.AugmentedDataset(timm.data.create_dataset("", str(tmp_path / "photos")), run, p=1.0),
    ):
        for index, (file, _) in enumerate(folder.samples):
            (image,) = run.of(file)
            assert train[index][0].tobytes() == image.image.tobytes()
    part = ImageFolder(
        str(tmp_path / "photos"), is_valid_file=lambda file: "0.png" in file, allow_empty=True
    )
    assert len(sip.AugmentedDataset(part, run)) == 1  # a part of the originals is enough


def test_items_of_hugging_face_are_mappings(run: sip.Run, pairs: list, tmp_path: Path) -> None:
    train = sip.AugmentedDataset(hugging_face(pairs, tmp_path), run, p=1.0, transform=pixels)
    item = train[4]
    assert item["label"] == pairs[4][1]
    assert item["image"].permute(1, 2, 0).numpy().tobytes() in generated(run, 4)


class Tensors(Photos):
    def __getitem__(self, index: int) -> tuple[Any, int]:
        return torch.zeros(3, 4, 4), 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda pairs, run: sip.AugmentedDataset(pairs, run, p=2), r"p: must be in \[0, 1\]"),
        (lambda pairs, run: sip.AugmentedDataset(pairs, run.folder), "run: must be a sip.Run"),
        (lambda pairs, run: sip.AugmentedDataset(pairs[:2], run), "6 items in that order.* got 2"),
        (lambda pairs, run: sip.AugmentedDataset(pairs, sip.Run(run.folder)), "GeneratedImage"),
        (
            lambda pairs, run: sip.AugmentedDataset(Tensors(pairs), run, p=1)[0],
            "images must come as PIL images.* got Tensor",
        ),
        (lambda pairs, run: sip.transforms.GeneratedImage(run, p=-1), r"p: must be in \[0, 1\]"),
        (
            lambda pairs, run: sip.transforms.GeneratedImage(run)(torch.zeros(3, 4, 4)),
            "must get an image as it was read.* float32",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str, run: sip.Run, pairs: list) -> None:
    with pytest.raises(sip.UserError, match=message):
        make(pairs, run)


def test_the_originals_of_another_run_are_refused(
    run: sip.Run, pairs: list, tmp_path: Path
) -> None:
    folder = ImageFolder(str(folder_of(pairs, tmp_path / "other")))
    with pytest.raises(sip.UserError, match="must hold originals of .* got none of them among 6"):
        sip.AugmentedDataset(folder, run)


def test_the_transform_knows_originals_by_their_pixels(run: sip.Run, pairs: list) -> None:
    exchange = sip.transforms.GeneratedImage(run, p=1.0)
    assert repr(exchange) == "GeneratedImage(p=1.0, originals=6)"
    for index, (image, _) in enumerate(pairs):
        assert exchange(image).tobytes() in generated(run, index)
        array = exchange(np.asarray(image))
        assert array.dtype == np.uint8 and array.tobytes() in generated(run, index)
        tensor = exchange(pixels(image))
        assert tensor.shape == (3, 32, 32)
        assert tensor.permute(1, 2, 0).numpy().tobytes() in generated(run, index)
    unknown = Image.new("RGB", (32, 32), "red")
    assert exchange(unknown) is unknown
    torch.manual_seed(0)
    sometimes = sip.transforms.GeneratedImage(run, p=0.25)
    num = sum(sometimes(pairs[0][0]) is not pairs[0][0] for _ in range(200))
    assert 30 <= num <= 70


@pytest.mark.parametrize("label", [0, 1])
def test_two_originals_of_equal_pixels_share_their_images_if_they_are_of_one_class(
    run: sip.Run, pairs: list, label: int
) -> None:
    own, equal = sip.Run(run.folder, run.store), run[0]._listed_original
    images = [replace(one, _listed_original=equal, label=label) for one in run[2:4]]
    own.__dict__["_images"] = [*run[:2], *images, *run[4:]]
    torch.manual_seed(0)
    transform = sip.transforms.GeneratedImage(own, p=1)
    seen = {transform(pairs[0][0]).tobytes() for _ in range(40)}
    both = {one.image.tobytes() for one in run[:4]}
    assert seen == (both if label == run[0].label else {pairs[0][0].tobytes()})


def test_it_stands_first_in_lists_of_torchvision_and_timm(
    run: sip.Run, pairs: list, tmp_path: Path
) -> None:
    root = folder_of(pairs, tmp_path / "photos")
    exchange = sip.transforms.GeneratedImage(run, p=1.0)
    to_tensor = v2.Compose([exchange, v2.PILToTensor()])
    train = ImageFolder(str(root), transform=to_tensor)
    images, _ = next(iter(DataLoader(train, batch_size=6, num_workers=1)))
    found = {image.permute(1, 2, 0).numpy().tobytes() for image in images}
    assert found <= {data for index in range(6) for data in generated(run, index)}
    theirs = timm.data.create_transform(32, is_training=True, no_aug=True)
    theirs.transforms.insert(0, exchange)
    assert theirs(pairs[0][0]).shape == (3, 32, 32)


def test_rotated_photographs_are_known_as_every_library_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "cat" / "1.jpg"
    file.parent.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (24, 40, 3), np.uint8)).save(file, exif=exif)
    run = sip.generate(
        tmp_path, label=None, store=tmp_path / "store", runs=tmp_path / "runs", progress=False,
        **SMALL,
    )  # fmt: skip
    exchange = sip.transforms.GeneratedImage(run, p=1.0)
    with Image.open(file) as image:
        raw = image.convert("RGB")
    upright = run[0].original_image
    assert upright.size == (24, 40) and raw.size == (40, 24)
    assert exchange(raw).size == exchange(upright).size == (32, 32)
