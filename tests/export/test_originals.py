"""Real images are read back by other programs with the pixels that the pipeline saw."""

import csv
import gc
import hashlib
import io
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from torchvision.datasets import ImageFolder

from sip.core.errors import UserError
from sip.core.image_io import decoded, is_plain, read_rgb
from sip.dataset.base import Sample
from sip.export.main import Options, export
from sip.export.originals import as_used
from sip.export.source import ExportImage
from sip.records.files import ListedImage
from sip.records.write import write_images, write_summary
from tests.dataset.trees import source
from tests.records.made_up import training_summary

PARTS = ("train", "val", "test")
CHANGED = {  # files in which other programs see other pixels, or nothing
    "turned.jpg", "turned.png", "deep.png", "deep_rgb.png", "anim.gif", "cmyk.jpg", "clear.png",
    "palette.png", "bits.png", "scan.tiff", "old.bmp", "apng.png",
}  # fmt: skip
KEPT = {"plain.png", "grey.png", "photo.jpg", "a.b.c.JPEG", "small.webp", "wrong.jpg"}
leaves_files_open = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def png_of_16_bits(levels: np.ndarray) -> bytes:
    """Return an RGB PNG with 16 bits a channel, which Pillow cannot write."""
    height, width, _ = levels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def mess(folder: Path, seed: int) -> None:
    """Write a file of every kind that people have, 12 x 8 px."""
    folder.mkdir(parents=True)
    levels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    rgb = Image.fromarray(levels)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, image, options in (
        ("plain.png", rgb, {}),
        ("grey.png", rgb.convert("L"), {}),
        ("photo.jpg", rgb, {"quality": 90}),
        ("a.b.c.JPEG", rgb, {"quality": 80}),
        ("small.webp", rgb, {"lossless": True}),
        ("turned.jpg", rgb, {"exif": exif}),
        ("turned.png", rgb, {"exif": exif}),
        ("deep.png", Image.fromarray(levels[..., 0].astype(np.uint16) * 200), {}),
        ("anim.gif", rgb, {"save_all": True, "append_images": [rgb.rotate(180)]}),
        ("apng.png", rgb, {"save_all": True, "append_images": [rgb.rotate(180)]}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("clear.png", Image.fromarray(np.dstack([levels, levels[..., :1]])), {}),
        ("palette.png", rgb.quantize(16), {}),
        ("bits.png", rgb.convert("1"), {}),
        ("scan.tiff", rgb, {}),
        ("old.bmp", rgb, {}),
    ):
        image.save(folder / name, **options)
    (folder / "deep_rgb.png").write_bytes(png_of_16_bits(levels.astype(np.uint16) * 257))
    (folder / "plain.png").rename(folder / "wrong.jpg")  # a PNG by its content
    rgb.rotate(180).save(folder / "plain.png")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two classes in three parts; in train, the same names once more in a folder below."""
    root = tmp_path_factory.mktemp("messy")
    for seed, folder in enumerate(("train/cat", "train/dog", "train/cat/more", "val/cat", "val/dog",
                                   "test/cat", "test/dog")):  # fmt: skip
        mess(root / folder, seed)
    return source("image_folder", root)


@pytest.fixture
def run(dataset: Any, tmp_path: Path) -> Path:
    """A run over the messy data set, which generated nothing."""
    folder = tmp_path / "runs" / "messy"
    folder.mkdir(parents=True)
    store = tmp_path / "store"
    store.mkdir()
    samples = {part: dataset.samples(part) for part in PARTS}
    write_images(folder / "images.parquet", samples, [], store)
    write_summary(folder, training_summary())
    config = {"paths": {"store": str(store)}, "dataset": {
        "_target_": "sip.dataset.image_folder.ImageFolder",
        **{name: getattr(dataset, name) for name in type(dataset).__dataclass_fields__},
    }}  # fmt: skip
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    return folder


def exported(run: Path, file_format: str, originals: str = "as_used", **changes: Any) -> Path:
    out = run.parent / f"{file_format}-{originals}"
    plain = {"parts": PARTS, "link": False, "per_file": 20, "store": None}
    export(Options(run=run, output=out, format=file_format, originals=originals, **plain | changes))
    return out


def seen(sample: Sample) -> np.ndarray:
    return np.asarray(read_rgb(sample.path, None))


def check(read: dict[str, tuple[np.ndarray, int]], samples: list[Sample]) -> None:
    """Compare what a library read, sample_id -> pixels and label, with what the pipeline sees."""
    assert set(read) == {sample.sample_id for sample in samples}
    for sample in samples:
        pixels, label = read[sample.sample_id]
        assert np.array_equal(pixels, seen(sample)), sample.path
        assert label == sample.label


def table_of(out: Path) -> dict[str, dict[str, str]]:
    with open(out / "metadata.csv", newline="", encoding="utf-8") as file:
        return {row["file_name"]: row for row in csv.DictReader(file)}


def test_torchvision_sees_what_the_pipeline_saw(run: Path, dataset: Any) -> None:
    out = exported(run, "image_folder")
    table, card = table_of(out), (out / "README.md").read_text()
    for part in PARTS:
        folder, samples = ImageFolder(str(out / part)), dataset.samples(part)
        assert len(folder) == len(samples) and folder.classes == ["cat", "dog"]
        assert f"torchvision.datasets.ImageFolder('{part}')  # {len(samples)}" in card
        read = {}
        for (path, _), (image, label) in zip(folder.samples, folder, strict=True):
            row = table[str(Path(path).relative_to(out))]
            read[row["sample_id"]] = np.asarray(image), label
            assert int(row["label"]) == label and row["part"] == part
        check(read, samples)
    assert "| 0 | cat | 36 | 18 | 18 |" in card and "|  | all | 54 | 36 | 36 |" in card


def test_files_keep_their_names_and_content_where_they_can(run: Path, dataset: Any) -> None:
    out = exported(run, "image_folder")
    rows = {row["sample_id"]: (out / name, row) for name, row in table_of(out).items()}
    for sample in dataset.samples("train"):
        path = Path(sample.path)
        place, row = rows[sample.sample_id]
        assert place.name.startswith(path.stem) and place.parent.name == sample.class_name
        assert row["source_sha256"] == sample.sha256
        if path.name in KEPT:
            assert (place.read_bytes(), row["converted"]) == (path.read_bytes(), "False")
        else:
            assert path.name in CHANGED
            assert (place.suffix, row["converted"]) == (".png", "True")
    names = Counter(path.name for path in (out / "train" / "cat").iterdir())
    assert {"wrong.png", "a.b.c.JPEG", "a.b.c-2.JPEG", "turned.png", "turned-2.png"} <= set(names)
    assert len(names) == 36 and len(list((out / "train" / "dog").iterdir())) == 18


@leaves_files_open
def test_webdataset_sees_what_the_pipeline_saw(run: Path, dataset: Any) -> None:
    webdataset = pytest.importorskip("webdataset")
    out = exported(run, "webdataset")
    card = (out / "README.md").read_text()
    for part in PARTS:
        samples = dataset.samples(part)
        last = -(-len(samples) // 20) - 1
        urls = f"{part}-{{00000..{last:05d}}}.tar"
        assert f"webdataset.WebDataset('{urls}').decode('pil')  # {len(samples)}" in card
        rows = webdataset.WebDataset(str(out / urls), shardshuffle=False, empty_check=False)
        images = rows.decode("pil").to_tuple("png;jpg;jpeg;webp", "cls", "json")
        read = {facts["sample_id"]: (np.asarray(image), label) for image, label, facts in images}
        check(read, samples)
    gc.collect()


@leaves_files_open
@pytest.mark.parametrize("file_format", ["image_folder", "datasets", "webdataset"])
def test_datasets_sees_what_the_pipeline_saw(
    run: Path, dataset: Any, file_format: str, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    out = exported(run, file_format)
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {name: rows.num_rows for name, rows in loaded.items()} == {
        "train": 54, "validation": 36, "test": 36,
    }  # fmt: skip
    for part, split in zip(PARTS, ("train", "validation", "test"), strict=True):
        rows = loaded[split]
        label = "cls" if file_format == "webdataset" else "label"
        assert rows.features[label].names == ["cat", "dog"]
        read = {}
        for row in rows:
            images = [value for value in row.values() if isinstance(value, Image.Image)]
            assert len(images) == 1  # webdataset: a column for each ending
            sample_id = row["json" if file_format == "webdataset" else "sample_id"]
            sample_id = sample_id["sample_id"] if isinstance(sample_id, dict) else sample_id
            read[sample_id] = np.asarray(images[0].convert("RGB")), row[label]
        check(read, dataset.samples(part))
    del loaded
    gc.collect()


def test_copies_are_the_files(run: Path, dataset: Any) -> None:
    out = exported(run, "image_folder", "copy", parts=("val",))
    files = {row["sample_id"]: out / name for name, row in table_of(out).items()}
    for sample in dataset.samples("val"):
        assert files[sample.sample_id].read_bytes() == Path(sample.path).read_bytes()
        wrong = Path(sample.path).name == "wrong.jpg"
        assert files[sample.sample_id].name == ("wrong.png" if wrong else Path(sample.path).name)
    assert {path.name for path in out.iterdir()} == {"val", "metadata.csv", "README.md"}
    card = (out / "README.md").read_text()
    assert "passes over GIF" in card
    num, lost = len(ImageFolder(out / "val")), len(dataset.samples("val"))
    assert num < lost
    assert f"ImageFolder('val')  # {num}, passes over {lost - num} of other formats" in card


def test_parts_that_a_run_does_not_list_come_from_its_data_set(run: Path, dataset: Any) -> None:
    """So it is with `sip.generate`, which reads only the training part."""
    write_images(run / "images.parquet", {"train": dataset.samples("train")}, [], run.parent)
    out = exported(run, "image_folder")
    assert len(ImageFolder(str(out / "test"))) == 36


def test_a_part_that_lacks_a_class_is_pointed_out(run: Path, dataset: Any) -> None:
    samples = {part: dataset.samples(part) for part in PARTS}
    samples["val"] = [sample for sample in samples["val"] if sample.class_name == "dog"]
    write_images(run / "images.parquet", samples, [], run.parent)
    card = (exported(run, "image_folder") / "README.md").read_text()
    assert "`val` lacks 1 class of 2: there, `ImageFolder` numbers the classes otherwise" in card


def test_originals_can_be_linked(run: Path) -> None:
    out = exported(run, "image_folder", link=True)
    table = table_of(out)
    linked = {Path(name).name for name, row in table.items() if (out / name).stat().st_nlink > 1}
    assert {"plain.png", "a.b.c.JPEG"} <= linked
    assert all((row["converted"] == "False") == ((out / name).stat().st_nlink > 1)
               for name, row in table.items())  # fmt: skip


@pytest.mark.parametrize("name", sorted(CHANGED | KEPT))
def test_what_is_copied_is_what_every_program_reads_alike(dataset: Any, name: str) -> None:
    (sample, *_) = [s for s in dataset.samples("val") if Path(s.path).name == name]
    data = Path(sample.path).read_bytes()
    assert is_plain(data) == (name in KEPT)
    written, suffix, converted = as_used(data, Path(name).suffix)
    assert converted == (written != data) == (name in CHANGED)
    assert is_plain(written) and suffix in (".png", ".jpg", ".JPEG", ".webp")


def test_an_original_that_is_no_image_is_named(run: Path, dataset: Any) -> None:
    sample = dataset.samples("val")[0]
    text = b"text"
    listed = ListedImage(sample.path, hashlib.sha256(text).hexdigest(), is_generated=False)
    content = Path(sample.path).read_bytes()
    try:
        Path(sample.path).write_bytes(text)
        for is_converted in (True, False):
            with pytest.raises(UserError, match="cannot read the image .*; put the data set back"):
                ExportImage("a", ".png", listed, is_converted, {}).read()
    finally:
        Path(sample.path).write_bytes(content)


def test_heic_becomes_png() -> None:
    heif = pytest.importorskip("pillow_heif")
    levels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    stream = io.BytesIO()
    heif.from_pillow(Image.fromarray(levels)).save(stream, quality=90)
    data, suffix, converted = as_used(stream.getvalue(), ".HEIC")
    assert (suffix, converted, is_plain(data)) == (".png", True, True)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(decoded(stream.getvalue())))
