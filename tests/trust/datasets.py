"""Bad data: folders, tables and tar files that are not what they should be."""

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sip.core import tars
from tests.trust.bombs import MANY_FRAMES, TOO_LARGE, small_picture
from tests.trust.cases import Case, data, train

Make = Callable[[Path], Any]


def picture_bytes() -> bytes:
    """Return a picture as the bytes of a PNG file."""
    import io

    stream = io.BytesIO()
    small_picture().save(stream, "PNG")
    return stream.getvalue()


def folders(folder: Path, *classes: str, num: int = 8) -> None:
    """Write class folders with pictures that differ."""
    for place, name in enumerate(classes or ("cat", "dog")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(num):
            image = small_picture()
            image.putpixel((0, 0), (place, number, 0))
            image.save(folder / name / f"{number}.png")


def with_file(name: str, content: bytes | None) -> Make:
    """Return what writes two classes and one more file; a pipe if it has no content."""

    def make(folder: Path) -> None:
        folders(folder)
        if content is None:
            os.mkfifo(folder / name)
        else:
            (folder / name).write_bytes(content)

    return make


def parts(**names: list[str]) -> Make:
    """Return what writes part -> classes."""
    return lambda folder: [folders(folder / part, *names[part]) for part in names]


def table(image: Any = "picture", label: Any = None, **columns: list) -> Make:
    """Return what writes a folder with a Parquet file of 16 rows."""

    def make(folder: Path) -> None:
        (folder / "data").mkdir()
        images = [{"bytes": picture_bytes(), "path": None}] * 16 if image == "picture" else image
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


PNG = picture_bytes()
FOLDERS: list[tuple[str, Make, tuple[str, ...], str]] = [
    ("the folder is not there", lambda folder: None, ("dataset.root=/no/such",), "does not exist"),
    ("the folder is empty", lambda folder: None, (), "must contain a folder for each class"),
    ("pictures without class folders", lambda f: small_picture().save(f / "a.png"), (),
     "must contain a folder for each class, got none in"),
    ("one class", lambda folder: folders(folder, "cat"), (), "must have two classes at least"),
    ("one picture in a class", lambda folder: folders(folder, "cat", "dog", num=1), (),
     "part val must have images, got none"),
    ("a class folder without pictures", lambda f: (folders(f), (f / "cow").mkdir()), (),
     "must contain images .* got none in .*cow; fill or delete it"),
    ("folder val, and no folder train", parts(val=["cat", "dog"]), (),
     "must contain train next to val"),
    ("val has a class that train has not", parts(train=["cat", "dog"], val=["cow"]), (),
     "must be classes of the training part, got 'cow'"),
    ("a text named .png", with_file("cat/x.png", b"not a picture"), (), "cannot identify image"),
    ("an empty picture", with_file("cat/x.jpg", b""), (), "1 of 17 files cannot be read"),
    ("half a header", with_file("cat/x.png", PNG[:20]), (), "1 of 17 files cannot be read"),
    ("a PNG of 50,000 x 50,000 px", with_file("cat/x.png", TOO_LARGE["square.png"]), (),
     "the first: .*2500000000 pixels"),
    ("a PNG that Pillow would let pass", with_file("cat/x.png", TOO_LARGE["just.png"]), (),
     "9500 x 9500 px is more|90250000 pixels"),
    ("a GIF of 65,535 x 65,535 px", with_file("cat/x.gif", TOO_LARGE["canvas.gif"]), (),
     "cannot be read .*pixels"),
    ("a GIF of 100,000 frames", with_file("cat/x.gif", MANY_FRAMES), (), "handled"),
    ("a pipe named .png", with_file("cat/x.png", None), (), "handled|not a regular file"),
    ("EPS, which would start Ghostscript, named .png",
     with_file("cat/x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), (),
     "cannot identify image file"),
    ("a class named in Latin-1", lambda f: folders(f, "cat", os.fsdecode(b"K\xe4se")), (),
     "names must be in UTF-8, got .*; rename it"),
    ("words for a class that is not there", lambda folder: folders(folder),
     ("dataset.prompt_names={cow: a cow}",), "dataset.prompt_names: must name classes"),
    ("share of val above 1", lambda folder: folders(folder), ("dataset.val_fraction=1.5",),
     r"dataset.val_fraction: must be in \[0, 1\), got 1.5"),
    ("share of val as text", lambda folder: folders(folder), ("dataset.val_fraction=some",),
     "dataset.val_fraction: must be in"),
]  # fmt: skip
TABLES: list[tuple[str, Make, tuple[str, ...], str]] = [
    ("neither a folder nor on the hub", lambda folder: None, ("dataset.path=no/such",),
     "dataset.path: must be a data set of the hub or a local folder"),
    ("an empty folder", lambda folder: None, (), "dataset.path: must be"),
    ("a damaged Parquet file", lambda f: (f / "train.parquet").write_bytes(b"PAR1 nothing PAR1"),
     (), "dataset.path: must be"),
    ("a script in place of data", lambda f: (f / f"{f.name}.py").write_text("raise SystemExit"),
     (), "dataset.path: must be"),
    ("no such split", table(), ("dataset.splits={train: training, val: null, test: null}",),
     "dataset.splits: must be of train, got 'training'"),
    ("no training part", table(), ("dataset.splits={train: null, val: null, test: null}",),
     "dataset.splits.train: must be a split of the source, got null"),
    ("no such column", table(), ("dataset.image_column=picture",),
     "dataset.image_column: must be one of image, label, got 'picture'"),
    ("numbers in place of pictures", table(image=list(range(16))), (),
     "dataset.image_column: must be a column of images, got 'image'"),
    ("words in place of pictures", table(image=["cat"] * 16), (), "cannot read the image .*cat"),
    ("no picture in a row", table(image=[None, *[{"bytes": PNG, "path": None}] * 15]), (),
     "must have an image in row 0 of 'image', got none"),
    ("no label in a row", table(label=[None, *["a", "b"] * 7, "a"]), (), "a row has none"),
    ("lists in place of labels", table(label=[[0]] * 16), (), "must be a column of numbers"),
    ("a picture file that is not there", table(image=[{"bytes": None, "path": "/no.png"}] * 16),
     (), "cannot read the image /no.png, which the data set lists"),
    ("a PNG of 50,000 x 50,000 px in a row",
     table(image=[{"bytes": TOO_LARGE["square.png"], "path": None}] * 16), (), "cannot be read"),
]  # fmt: skip
KEY = ("dataset.classes=[cat, dog]",)
SHARDS: list[tuple[str, Make, tuple[str, ...], str]] = [
    ("no tar file", lambda folder: None, (), "must match tar files, got 'train-.*matches none"),
    ("a compressed tar file", shards(mode="w:gz"), KEY, "must be a tar file that is not comp"),
    ("a tar file cut off in a header", lambda f: (f / "train-0.tar").write_bytes(b"x" * 100), KEY,
     "must be a tar file that is not compressed"),
    ("names outside of the folder", shards(("a.png", PNG)), ("dataset.shards.train=../*.tar",),
     "dataset.shards.train: must be names of tar files within dataset.root"),
    ("names from the root", shards(("a.png", PNG)), ("dataset.shards.train=/etc/*.tar",),
     "within dataset.root, got '/etc"),
    ("another file's name", shards(("a.png", PNG), name="train-0.bin"),
     ("dataset.shards.train=train-0.bin",), "which matches train-0.bin"),
    ("a name twice", shards(("a.png", PNG), ("a.png", PNG)), KEY, "names must differ"),
    ("no label", shards(("a.png", PNG)), KEY, "must have a label in label of its .json"),
    ("a label that is no number", shards(("a.png", PNG), ("a.cls", b"cat")), KEY,
     "must have a whole number in its .cls"),
    ("a label beyond the classes", shards(("a.png", PNG), ("a.cls", b"7")), KEY,
     "labels must be in 0 .. 1, one for each of its classes, got 7"),
    ("a label of 10^12", shards(("a.png", PNG), ("a.cls", b"1" + b"0" * 12)), (),
     "dataset.classes: must name each"),
    ("a label of 10,000 digits", shards(("a.png", PNG), ("a.cls", b"9" * 10_000)), KEY,
     "must have a whole number in its .cls"),
    ("broken JSON", shards(("a.png", PNG), ("a.json", b"{")), KEY, "an object in its .json"),
    ("JSON of 100,000 levels", shards(("a.png", PNG), ("a.json", b"[" * 100_000)), KEY,
     "an object in its .json"),
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
     "8 files cannot be read .*pixels"),
]  # fmt: skip


def birds(folder: Path) -> None:
    """Write lists that do not fit together."""
    home = folder / "data" / "CUB_200_2011"
    home.mkdir(parents=True)
    for name in ("classes", "image_class_labels", "train_test_split", "images"):
        (home / f"{name}.txt").write_text("1 x\nnonsense\n")


CASES = [
    *(Case("data", f"pictures in folders: {name}", data("image_folder", make, *more), words)
      for name, make, more, words in FOLDERS),
    *(Case("data", f"Parquet: {name}", data("huggingface", make, "dataset.splits.test=null", *more),
           words)
      for name, make, more, words in TABLES),
    *(Case("data", f"tar files: {name}", data("webdataset", make, *more), words)
      for name, make, more, words in SHARDS),
    Case("data", "cub200: lists that do not fit", data("cub200", birds),
         "cannot read the data set cub200"),
    Case("data", "cifar10: nothing there", train("dataset=cifar10"),
         "cannot read the data set cifar10"),
]  # fmt: skip
