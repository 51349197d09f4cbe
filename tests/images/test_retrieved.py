"""Retrieved images: real ones of the pool and of the class, each once, or the nearest."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from sip.config.build import build
from sip.core.errors import UserError
from sip.core.image_io import read_rgb, to_tensor
from sip.device.settings import Runtime
from sip.images.batches import Batch
from sip.images.retrieved import Retrieved
from sip.prompts.base import Prompt
from tests.composing import composed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retrieved")


def retrieved(folder: Path, *overrides: str) -> Retrieved:
    config = composed("augmentation=retrieved", *overrides, folder=folder)
    made = build(config.images)
    assert isinstance(made, Retrieved)
    return made


@cache
def prompts(folder: Path, per_sample: int, *overrides: str) -> tuple[Prompt, ...]:
    config = composed("augmentation=retrieved", *overrides, folder=folder)
    samples = build(config.dataset).samples("train")
    return tuple(build(config.prompts).write(samples, None, None, per_sample))


def ids(made: Retrieved, rows: tuple[Prompt, ...]) -> list[str]:
    return [made.in_order(prompt)[0].sample_id for prompt in rows]


def test_each_image_is_of_the_pool_and_the_class_and_comes_once(folder: Path) -> None:
    made, rows = retrieved(folder, "dataset.shots=null"), prompts(folder, 3, "dataset.shots=null")
    pool = {sample.sample_id: sample.label for sample in made.pool.samples("pretrain")}
    chosen = ids(made, rows)  # 26 originals a class, three images each, of a pool of 90
    assert len(set(chosen)) == len(chosen) == 780
    assert [pool[name] for name in chosen] == [prompt.label for prompt in rows]


def test_a_row_depends_on_its_original_and_the_seed_only(folder: Path) -> None:
    chosen = {}
    for shots in ("dataset.shots=1", "dataset.shots=5"):
        rows = prompts(folder, 2, shots)
        found = ids(retrieved(folder, shots), rows)
        places = [(prompt.sample_id, prompt.variant) for prompt in rows]
        chosen[shots] = dict(zip(places, found, strict=True))
    few = prompts(folder, 2, "dataset.shots=1")
    alone = chosen["dataset.shots=1"]
    assert alone.items() <= chosen["dataset.shots=5"].items()
    assert ids(retrieved(folder, "prompts.seed=1"), few) != list(alone.values())


def test_the_recipe_has_the_pool_without_the_runs_own_subset(folder: Path) -> None:
    recipe = retrieved(folder).recipe()
    assert recipe == retrieved(folder, "dataset.shots=2", "seed=3").recipe()
    assert "image_size" in recipe["known_pool"] and "shots" not in recipe["known_pool"]
    others = ("images.part=train", "prompts.seed=1", "dataset.image_size=16")
    others += ("images.choose=nearest",)
    assert all(retrieved(folder, other).recipe() != recipe for other in others)


def test_a_key_has_all_that_chooses_the_image(folder: Path) -> None:
    made, row = retrieved(folder), prompts(folder, 1)[0]
    label = next(label for label in made.candidates if label != row.label)
    # The same file under a wrong label, or twice in the data set.
    others = [replace(row, label=label), replace(row, sample_id="copy"), replace(row, variant=1)]
    keys = {prompt.image_id for prompt in made.completed([row, *others], [])}
    assert len({sample.path for sample in map(made.load(Runtime.cpu()).first, others)}) > 1
    assert len(keys) == 4


def test_pixels_are_those_of_the_file_and_cost_nothing(folder: Path) -> None:
    made, rows = retrieved(folder), prompts(folder, 1)[:3]
    images = made.load(Runtime.cpu()).rows(Batch(rows))
    for image, prompt in zip(images, rows, strict=True):
        path = made.in_order(prompt)[0].path
        assert image.pixels is not None
        assert torch.equal(image.pixels, to_tensor([read_rgb(path, 32)])[0])
        assert (image.image_id, image.unet_evaluations) == (prompt.image_id, 0)
    assert made.num_evaluations(rows[0]) == 0


def test_nearest_are_in_the_order_of_the_cosine(folder: Path) -> None:
    made = retrieved(folder, "images.choose=nearest")
    rows = prompts(folder, 3)[:3]
    module = made.load(Runtime.cpu())
    chosen = [module.nearest(prompt) for prompt in rows]
    candidates, vectors = module._embedded(made.candidates[rows[0].label])
    assert candidates == made.candidates[rows[0].label]
    cosines = (vectors @ module._unit([read_rgb(rows[0].source, None)])[0]).numpy()
    order = np.argsort(-cosines, kind="stable")
    assert [s.sample_id for s in chosen] == [candidates[n].sample_id for n in order[:3]]
    assert cosines[order[0]] > np.median(cosines)


def test_an_image_of_the_pool_that_cannot_be_read_costs_only_itself(folder: Path) -> None:
    made, row = retrieved(folder, "images.choose=nearest"), prompts(folder, 1)[0]
    first, *rest = made.candidates[row.label][:4]
    made.candidates[row.label] = [replace(first, path="/gone.png"), *rest]
    module = made.load(Runtime.cpu())
    places = [replace(row, variant=variant) for variant in range(4)]
    assert {module.nearest(place).path for place in places[:3]} == {one.path for one in rest}
    with pytest.raises(ValueError, match="3 images of class"):
        module.nearest(places[3])


def test_of_train_the_original_itself_is_never_retrieved(folder: Path) -> None:
    made, rows = retrieved(folder, "images.part=train"), prompts(folder, 2)
    assert all(name != prompt.sample_id for name, prompt in zip(ids(made, rows), rows, strict=True))
    same = retrieved(folder, "images.part=train", "images.choose=nearest").load(Runtime.cpu())
    assert same.nearest(rows[0]).sample_id != rows[0].sample_id


def test_a_class_that_the_pool_lacks_fails_its_rows_only(folder: Path) -> None:
    module = retrieved(folder).load(Runtime.cpu())
    rows = prompts(folder, 1)[:2]
    first, second = module.rows(Batch([replace(rows[0], label=77), rows[1]]))
    assert (first.status, first.reason) == ("failed", "unreadable") and first.pixels is None
    assert "in pretrain" in str(first.error) and second.status == "ok"


def test_a_data_set_without_that_part_is_one_line(folder: Path) -> None:
    made = retrieved(folder, "profile=cifar10", "dataset.pretrain_fraction=null")
    with pytest.raises(UserError, match="images.part: must be a part of the data set .*got 'pretr"):
        made.require()
