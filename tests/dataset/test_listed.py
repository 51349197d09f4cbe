"""CUB-200-2011 and Stanford Dogs on small trees in their true form, through their own YAMLs."""

from collections import Counter
from pathlib import Path

import pytest

from sip.core.errors import UserError
from tests.dataset import trees
from tests.dataset.trees import source

MORE = {"cub200": "Black_footed_Albatross", "stanford_dogs": "Shih-Tzu"}
FOLDERS = {"cub200": "CUB_200_2011", "stanford_dogs": "stanford_dogs"}


def write_tree(name: str, root: Path) -> list[str]:
    """Write the small tree with the classes that the YAML names and one more; return them."""
    known = list(trees.node(name).prompt_names)
    names = sorted([*known, MORE[name]])
    getattr(trees, name)(root, names)
    return names


@pytest.mark.parametrize("name", MORE)
def test_splits_ids_and_labels(name: str, tmp_path: Path) -> None:
    names = write_tree(name, tmp_path)
    dataset = source(name, tmp_path)
    for split, num in (("train", 3), ("val", 1), ("test", 2)):
        rows = dataset.samples(split)
        assert Counter(row.label for row in rows) == dict.fromkeys(range(len(names)), num)
        for row in rows:
            assert names[row.label] in Path(row.path).parent.name
            inside = Path(row.path).relative_to(tmp_path / FOLDERS[name]).as_posix()
            assert row.sample_id == f"{name}/{inside}" and Path(row.path).is_file()
    tests = {Path(row.path).name for row in dataset.samples("test")}
    numbers = {stem.split("_")[-2 if name == "cub200" else -1].split(".")[0] for stem in tests}
    assert {int(number) for number in numbers} == {2, 5}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cub200", {"Black footed Albatross", "Northern Cardinal bird"}),
        ("stanford_dogs", {"Shih-Tzu", "boxer dog"}),
    ],
)
def test_names_fit_a_prompt(name: str, expected: set[str], tmp_path: Path) -> None:
    names = write_tree(name, tmp_path)
    words = source(name, tmp_path).class_names
    assert expected <= set(words) and len(set(words)) == len(names)
    assert not any("_" in word or "0" in word for word in words)


@pytest.mark.parametrize("name", MORE)
def test_missing_data_say_what_where_and_how(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        source(name, tmp_path).samples("train")
    message = str(error.value)
    assert message.startswith(
        f"dataset: cannot read the data set {name} in {tmp_path / FOLDERS[name]}"
    )
    assert "\n" not in message and "put" in message and "there" in message


def test_damaged_lists_are_named(tmp_path: Path) -> None:
    write_tree("cub200", tmp_path)
    folder = tmp_path / "CUB_200_2011"
    labels = (folder / "image_class_labels.txt").read_text().splitlines()
    (folder / "image_class_labels.txt").write_text("\n".join([*labels[:-1], f"{len(labels)} 999"]))
    with pytest.raises(UserError, match=r"labels must be in 0 .. \d+, .* got 998 for cub200/"):
        source("cub200", tmp_path).samples("train")
    (folder / "image_class_labels.txt").write_text("\n".join(labels[:-1]))
    with pytest.raises(UserError, match="cannot read the data set cub200"):
        source("cub200", tmp_path).samples("train")
    write_tree("stanford_dogs", tmp_path)
    (tmp_path / "stanford_dogs" / "test_list.mat").write_bytes(b"no list")
    with pytest.raises(UserError, match="cannot read the data set stanford_dogs in"):
        source("stanford_dogs", tmp_path).samples("train")
