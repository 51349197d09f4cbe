"""Runs whose recipes differ in what nobody set are named."""

from pathlib import Path
from typing import Any

import pytest

from sip.tables.document import document, recomputed
from sip.tables.formats import write
from sip.tables.query import select_runs
from tests.tables.made_up import write_run
from tests.tables.test_tables import layout


def recipe(seed: int, content: str = "a", shots: int | None = None, **more: Any) -> dict[str, Any]:
    """Return a recipe as `sip.train` writes it, in short."""
    dataset = {"class": "Folder", "shots": shots, "seed": seed, "content": content}
    classifier = {"class": "Recipe", "version": 1, "betas": [0.9, 0.99]}
    return {"seed": seed, "dataset": dataset, "classifier": classifier, "offline": None, **more}


def mixed(folder: Path) -> list[str]:
    """Return the notes, which the values per seed repeat."""
    table = document(select_runs(folder), layout())
    file = write(table, "test/top1", folder.parent / "table")[3]
    notes, again = (
        [note for note in one.notes if note.startswith("MIXED")]
        for one in (table, recomputed(file, layout()))
    )
    assert notes == again and all(note in table.warnings for note in notes)
    return notes


def test_another_version_is_said(tmp_path: Path) -> None:
    for seed in range(3):
        for arm in ("none", "sip"):
            images = {"class": "Img2Img", "version": 3 if seed else 2}
            offline = {"images": images} if arm == "sip" else None
            write_run(tmp_path / "runs", arm, seed, recipe=recipe(seed) | {"offline": offline})
    (note,) = mixed(tmp_path / "runs")
    assert note.startswith(
        "MIXED RECIPES, in what nobody set, so these runs are not of one experiment: "
        "offline.images.version is 2 (1 run of sip) or 3 (2 runs of sip). Delete "
    )


def test_a_version_of_one_arm_only_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "none", 0, recipe=recipe(0))
    newer = {"class": "Recipe", "version": 2, "betas": [0.9, 0.99]}
    write_run(tmp_path / "runs", "cutmix", 0, recipe=recipe(0) | {"classifier": newer})
    (note,) = mixed(tmp_path / "runs")
    assert "classifier.version is 1 (1 run of none) or 2 (1 run of cutmix)." in note
    other = {"class": "Lora", "version": 2}  # another component has versions of its own
    write_run(tmp_path / "other" / "runs", "none", 0, recipe=recipe(0))
    write_run(tmp_path / "other" / "runs", "sip", 0, recipe=recipe(0) | {"classifier": other})
    assert mixed(tmp_path / "other" / "runs") == []


def test_other_weights_at_the_same_path_are_said(tmp_path: Path) -> None:
    for seed in range(3):
        weights = {"name": "diffusion", "sha256": "0123456789abcdef" if seed else "fedcba98765432"}
        own = recipe(seed) | {"offline": {"images": {"class": "I", "weights": weights}}}
        write_run(tmp_path / "runs", "sip", seed, recipe=own)
    (note,) = mixed(tmp_path / "runs")
    assert "images.weights.sha256 is 0123456789ab (2 runs of sip) or fedcba987654 (1 run" in note


def test_weights_that_go_with_the_seed_are_as_they_should_be(tmp_path: Path) -> None:
    for seed in range(3):
        images = {"class": "I", "adapter": {"sha256": f"{seed}"}}
        write_run(tmp_path / "runs", "sip", seed, recipe=recipe(seed) | {"offline": {"i": images}},
                  overrides=("augmentation=sip", "images.lora=adapters/${seed}"))  # fmt: skip
    assert mixed(tmp_path / "runs") == []


@pytest.mark.parametrize(
    ("shots", "contents", "is_mixed"),
    [
        (None, ["a", "a", "a", "a"], False),
        (None, ["a", "a", "b", "b"], True),  # the folder changed between seed 0 and 1
        (5, ["a", "a", "b", "b"], False),  # the seed chooses the shots
        (5, ["a", "b", "c", "c"], True),  # the folder changed between none and sip
    ],
)
def test_other_images_in_the_same_folder_are_said(
    tmp_path: Path, shots: int | None, contents: list[str], is_mixed: bool
) -> None:
    for number, content in enumerate(contents):
        seed, arm = number // 2, ("none", "cutmix")[number % 2]
        write_run(tmp_path / "runs", arm, seed, recipe=recipe(seed, content, shots))
    notes = mixed(tmp_path / "runs")
    assert len(notes) == is_mixed and all("dataset.content is a (" in note for note in notes)
