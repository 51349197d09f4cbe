"""Each format is read back by the library that it is for, with the same pixels and provenance."""

import csv
import gc
import hashlib
import json
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from sip.core.errors import UserError
from sip.export.formats.image_folder import _link
from sip.export.main import FORMATS, Options, export
from sip.export.names import FileNames, folder_names
from sip.export.source import COLUMNS
from tests.export.made_up import SEED, encoded

Make = Callable[..., Options]
leaves_files_open = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def number_of(facts: dict) -> int:
    return int(facts["id"], 16)


def check_facts(facts: dict, data: bytes) -> None:
    number = number_of(facts)
    with Image.open(BytesIO(data)) as image, Image.open(BytesIO(encoded(number))) as made:
        assert image.tobytes() == made.tobytes()
        assert json.loads(image.info["Comment"])["seed"] == SEED + number
    assert facts["sha256"] == hashlib.sha256(data).hexdigest()
    assert facts["sample_id"] == f"digits/{number % 2}"
    assert facts["prompt"] == "a photo of é dog"
    assert json.loads(facts["spans"]) == [["a photo of ", 1.0], ["é dog", 1.5]]
    for name, value in {"kind": "generated", "caption": "é dog"}.items():
        assert facts[name] == value
    numbers = {"label": number % 2, "seed": SEED + number, "unet_evaluations": 50, "variant": 0}
    for name, value in numbers.items():
        assert int(facts[name]) == value
    for name, real in {"guidance_scale": 7.25, "noise_rate": 0.5, "similarity": 0.25}.items():
        assert float(facts[name]) == real


def test_torchvision_reads_an_image_folder(options: Make) -> None:
    out = options().output
    export(options())
    dataset = ImageFolder(str(out / "train"))
    assert dataset.classes == ["a_b_ 犬", "zero"] and len(dataset) == 7
    with open(out / "metadata.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["file_name", *COLUMNS]
    assert {str(out / row["file_name"]) for row in table} == {path for path, _ in dataset.samples}
    for row in table:
        check_facts(row, (out / row["file_name"]).read_bytes())
    for image, label in dataset:
        assert image.size == (8, 8) and label in (0, 1)


def test_tar_files_are_read_back(options: Make) -> None:
    made = options(format="webdataset")
    export(made)
    names = [f"train-0000{n}.tar" for n in range(3)]
    assert sorted(path.name for path in made.output.iterdir()) == ["README.md", *names]
    numbers = []
    for name in names:
        with tarfile.open(made.output / name) as file:
            read = {one.name: file.extractfile(one).read() for one in file.getmembers()}
        for stem in dict.fromkeys(member.split(".")[0] for member in read):
            facts = json.loads(read[f"{stem}.json"])
            check_facts(facts, read[f"{stem}.png"])
            assert int(read[f"{stem}.cls"]) == facts["label"]
            numbers.append(number_of(facts))
    assert numbers == list(range(7))


@leaves_files_open
def test_webdataset_reads_the_tar_files(options: Make) -> None:
    webdataset = pytest.importorskip("webdataset")
    made = options(format="webdataset")
    export(made)
    urls = str(made.output / "train-{00000..00002}.tar")
    assert "train-{00000..00002}.tar" in (made.output / "README.md").read_text()
    images = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("pil")
    read = list(images.to_tuple("png", "cls", "json"))
    assert [facts["label"] for _, _, facts in read] == [label for _, label, _ in read]
    for image, _, facts in read:
        with Image.open(BytesIO(encoded(number_of(facts)))) as image:
            assert np.array_equal(np.asarray(image), np.asarray(image))
    gc.collect()


def test_parquet_files_hold_images_and_provenance(options: Make) -> None:
    made = options(format="datasets")
    export(made)
    files = sorted((made.output / "data").iterdir())
    assert [file.name for file in files] == [f"train-0000{n}-of-00003.parquet" for n in range(3)]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert [number_of(row) for row in rows] == list(range(7))
    for row in rows:
        check_facts(row, row["image"]["bytes"])
        assert row["image"]["path"] == f"{row['id']}.png"


@leaves_files_open
@pytest.mark.parametrize("file_format", FORMATS)
def test_datasets_loads_the_folder(options: Make, file_format: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = options(format=file_format)
    export(made)
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset(str(made.output), split="train", cache_dir=cache)
    assert len(loaded) == 7
    if file_format == "datasets":
        assert loaded.features["label"].names[:3] == ["zero", "a/b: 犬", "two"]
        assert isinstance(loaded.features["image"], datasets.Image)
        for row in loaded:
            with Image.open(BytesIO(encoded(number_of(row)))) as image:
                assert np.array_equal(np.asarray(row["image"]), np.asarray(image))
            assert row["seed"] == SEED + number_of(row)
    del loaded
    gc.collect()


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_is_the_same_bytes_each_time(
    options: Make, file_format: str, tmp_path: Path
) -> None:
    contents = []
    for name in ("a", "b"):
        made = options(format=file_format, output=tmp_path / name)
        export(made)
        files = sorted(path for path in made.output.rglob("*") if path.is_file())
        contents.append({f.relative_to(made.output): f.read_bytes() for f in files})
    assert contents[0] == contents[1]


def test_links_share_the_stores_files(options: Make, run: Path) -> None:
    with pytest.raises(UserError, match=r"link=true: images must be files, got .*tar"):
        export(options(link=True))
    rows = pq.read_table(run / "images.parquet")
    keep = [not (file or "").count(".tar") for file in rows["file"].to_pylist()]
    pq.write_table(rows.filter(keep), run / "images.parquet")
    made = options(link=True)
    export(made)
    images = list(made.output.rglob("*.png"))
    assert len(images) == 4 and all(path.stat().st_nlink == 2 for path in images)


def test_a_file_that_is_a_link_is_linked_itself(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"image")
    (tmp_path / "data" / "link.png").symlink_to("a.png")
    _link(str(tmp_path / "data" / "link.png"), tmp_path / "out.png")
    assert not (tmp_path / "out.png").is_symlink()
    assert (tmp_path / "out.png").read_bytes() == b"image"


def test_class_names_become_safe_folders() -> None:
    names = [".hidden", "a/b", "a\\b", "犬", "", "Cat", "cat", "..", "README.md", "x" * 300, "c. "]
    folders = folder_names(names)
    assert folders == [
        "_hidden", "a_b", "a_b-2", "犬", "class-4", "Cat", "cat-6", "__", "README.md", "x" * 200,
        "c_",
    ]  # fmt: skip
    long = folder_names(["犬" * 100, "犬" * 101])
    assert len({*long}) == 2 and all(len(name.encode()) <= 255 for name in long)


def test_files_whose_names_differ_in_capitals_only_get_a_number() -> None:
    names = FileNames()
    given = [("a", "Cat"), ("a", "cat"), ("b", "cat"), ("a", "CAT"), ("a", "cat-2"), ("a", "dog")]
    made = [names.unique(folder, stem, ".png") for folder, stem in given]
    assert made == ["Cat.png", "cat-2.png", "cat.png", "CAT-3.png", "cat-2-2.png", "dog.png"]
