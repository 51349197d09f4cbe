"""Masks on their way to the prompts: looked up before any work, part of the key."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.pipeline.offline import Offline
from sip.pipeline.rows import coming_images
from tests.composing import composed

SAMPLES = [Sample(f"{name}.jpg", "", 0, "three", "train", 8, 8, f"sha-{name}") for name in "ab"]


def offline(folder: Path) -> Offline:
    paths = [f"paths.store={folder}/store", f"images.masks.folder={folder}/masks"]
    return Offline(composed("images=inpaint", *paths))


def save(folder: Path, name: str, rows: int) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:rows] = 255
    (folder / "masks").mkdir(exist_ok=True)
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png")


def keys(folder: Path) -> list[str]:
    captions, scores = [["thin lines"]] * 2, [[0.3]] * 2
    return [prompt.image_id for prompt in offline(folder).write(SAMPLES, captions, scores)]


def test_a_changed_mask_changes_the_key_of_its_own_images(tmp_path: Path) -> None:
    save(tmp_path, "a", 3)
    save(tmp_path, "b", 3)
    before = keys(tmp_path)
    assert keys(tmp_path) == before
    save(tmp_path, "b", 4)
    after = keys(tmp_path)
    assert after[0] == before[0] and after[1] != before[1]


def test_images_of_one_file_with_unlike_masks_are_planned_apart(tmp_path: Path) -> None:
    save(tmp_path, "a", 3)
    save(tmp_path, "b", 4)
    copies = [replace(sample, sha256="same") for sample in SAMPLES]
    work = coming_images(offline(tmp_path), copies, copies)
    assert [len(set(rows.keys)) for rows in work] == [2]


def test_missing_masks_are_named_before_captions_are_made(tmp_path: Path) -> None:
    save(tmp_path, "a", 3)
    with pytest.raises(UserError, match=r"got none for 1 image: b\.jpg; add them"):
        offline(tmp_path).to_generate_from(SAMPLES)
