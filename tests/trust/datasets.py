"""Bad data: tables and tar files that are not what they should be, and a few folders.

More bad folders, columns and labels: tests/dataset. Images that ask for much: test_bombs.
"""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sip.core import tars
from tests.trust.bombs import TOO_LARGE, small_image
from tests.trust.cases import Case, data

Make = Callable[[Path], Any]


def image_bytes() -> bytes:
    """Return an image as the bytes of a PNG file."""
    import io

    stream = io.BytesIO()
    small_image().save(stream, "PNG")
    return stream.getvalue()


def folders(folder: Path, *classes: str) -> None:
    """Write class folders with images that differ."""
    for place, name in enumerate(classes or ("cat", "dog")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(8):
            image = small_image()
            image.putpixel((0, 0), (place, number, 0))
            image.save(folder / name / f"{number}.png")


def with_file(name: str, content: bytes) -> Make:
    """Return what writes two classes and one more file."""

    def make(folder: Path) -> None:
        folders(folder)
        (folder / name).write_bytes(content)

    return make


def table(image: Any = "image", label: Any = None, **columns: list) -> Make:
    """Return what writes a folder with a Parquet file of 16 rows."""

    def make(folder: Path) -> None:
        (folder / "data").mkdir()
        images = [{"bytes": image_bytes(), "path": None}] * 16 if image == "image" else image
        labels = label if label is not None else [0, 1] * 8
        made = pa.table({"image": images, "label": labels, **columns})
        pq.write_table(made, folder / "data" / "train-0.parquet")

    return make


def shards(*members: tuple[str, bytes], name: str = "train-0.tar", mode: str = "w") -> Make:
    """Return what writes a tar file."""

    def make(folder: Path) -> None:
        if mode == "w":
            body = b"".join(tars.member(*member) for member in members)
            (folder / name).write_bytes(body + tars.END)
            return
        (folder / "x.txt").write_text("x")
        with tarfile.open(folder / name, mode) as file:  # type: ignore[call-overload]
            file.add(folder / "x.txt", "x.txt")

    return make


def negative(folder: Path) -> None:
    """Write a tar file whose second header says that its member is of negative size."""
    first = tars.member("a.jpg", b"x")
    pax = b"19 size=-1000000\n\n\n"[:17] + b"\n\n"
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(pax)
    block = header.tobuf(tarfile.USTAR_FORMAT) + pax.ljust(512, b"\0")
    (folder / "train-0.tar").write_bytes(first + block + tars.member("b.jpg", b"") + tars.END)


def latin_names(folder: Path) -> None:
    """Write names of classes in an old encoding."""
    (folder / "classes.txt").write_bytes(b"K\xe4se")


PNG = image_bytes()
FOLDERS: list[tuple[str, Make, tuple[str, ...], str]] = [
    ("the folder is not there", lambda folder: None, ("dataset.root=/no/such",), "does not exist"),
    ("one class", lambda folder: folders(folder, "cat"), (), "must have at least two classes"),
    ("a text named .png", with_file("cat/x.png", b"not an image"), (), "cannot identify image"),
    ("share of val above 1", lambda folder: folders(folder), ("dataset.val_fraction=1.5",),
     r"dataset.val_fraction: must be in \[0, 1\), got 1.5"),
]  # fmt: skip
TABLES: list[tuple[str, Make, tuple[str, ...], str]] = [
    ("an empty folder", lambda folder: None, (), "dataset.path: must be"),
    ("a damaged Parquet file", lambda f: (f / "train.parquet").write_bytes(b"PAR1 nothing PAR1"),
     (), "dataset.path: must be"),
    ("a script in place of data", lambda f: (f / f"{f.name}.py").write_text("raise SystemExit"),
     (), "dataset.path: must be"),
    ("no training part", table(), ("dataset.splits={train: null, val: null, test: null}",),
     "dataset.splits.train: must be a split of the source, got null"),
    ("numbers in place of images", table(image=list(range(16))), (),
     "dataset.image_column: must be a column of images, got 'image'"),
    ("words in place of images", table(image=["cat"] * 16), (), "cannot read the image .*cat"),
    ("no image in a row", table(image=[None, *[{"bytes": PNG, "path": None}] * 15]), (),
     "must have an image in row 0 of 'image', got none"),
    ("no label in a row", table(label=[None, *["a", "b"] * 7, "a"]), (),
     "got none in 1 of 16 rows of train, first 0; remove them$"),
    ("lists in place of labels", table(label=[[0]] * 16), (),
     "must be a column of texts or whole numbers"),
    ("an image file that is not there", table(image=[{"bytes": None, "path": "/no.png"}] * 16),
     (), "cannot read the image /no.png, which the data set lists"),
    ("a PNG of 50,000 x 50,000 px in a row",
     table(image=[{"bytes": TOO_LARGE["square.png"], "path": None}] * 16), (), "must be readable"),
]  # fmt: skip
KEY = ("dataset.classes=[cat, dog]",)
SHARDS: list[tuple[str, Make, tuple[str, ...], str]] = [
    ("a compressed tar file", shards(mode="w:gz"), KEY, "must be a tar file that is not comp"),
    ("names outside of the folder", shards(("a.png", PNG)), ("dataset.shards.train=../*.tar",),
     "dataset.shards.train: must be names of tar files within dataset.root"),
    ("names from the root", shards(("a.png", PNG)), ("dataset.shards.train=/etc/*.tar",),
     "within dataset.root, got '/etc"),
    ("another file's name", shards(("a.png", PNG), name="train-0.bin"),
     ("dataset.shards.train=train-0.bin",), "which matches train-0.bin"),
    ("no label", shards(("a.png", PNG)), KEY, "must have a label in label of its .json"),
    ("a label of 10^12", shards(("a.png", PNG), ("a.cls", b"1" + b"0" * 12)), (),
     "dataset.classes: must name each"),
    ("a label of 10,000 digits", shards(("a.png", PNG), ("a.cls", b"9" * 10_000)), KEY,
     "must have a whole number in its .cls"),
    ("broken JSON", shards(("a.png", PNG), ("a.json", b"{")), KEY,
     "an object with a number or a name in label in its .json"),
    ("JSON of 100,000 levels", shards(("a.png", PNG), ("a.json", b"[" * 100_000)), KEY,
     "an object with a number or a name in label in its .json"),
    ("JSON of 2 MB", shards(("a.png", PNG), ("a.json", b" " * 2_000_000 + b"{}")), KEY,
     "2000002 bytes is more than"),
    ("a member of negative size", negative, KEY, "must be a tar file|must be tar files"),
    ("names of classes in Latin-1",
     lambda f: (shards(("a.png", PNG), ("a.cls", b"0"))(f), latin_names(f)),
     (), "classes.txt: must be text in UTF-8"),
    ("a class name that is no Unicode",
     shards(("a.png", PNG), ("a.json", json.dumps({"label": "\ud800"}).encode())), (),
     "names must be in UTF-8, got"),
    ("a PNG of 50,000 x 50,000 px in a tar file",
     shards(*((f"{n}.{end}", data) for n in range(8) for end, data in
              (("png", TOO_LARGE["square.png"]), ("cls", b"%d" % (n % 2))))), KEY,
     "must be readable, got .*pixels"),
]  # fmt: skip


CASES = [
    *(Case("data", f"images in folders: {name}", data("image_folder", make, *more), words)
      for name, make, more, words in FOLDERS),
    *(Case("data", f"Parquet: {name}", data("huggingface", make, "dataset.splits.test=null", *more),
           words)
      for name, make, more, words in TABLES),
    *(Case("data", f"tar files: {name}", data("webdataset", make, *more), words)
      for name, make, more, words in SHARDS),
]  # fmt: skip
