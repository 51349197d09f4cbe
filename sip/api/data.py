"""The images that `sip.generate` takes, as a data set that the command line reads too.

Folders and lists are read where they are. Images that are only in memory are written once, as PNG
and named by their content, to `<store>/originals`, with a list of them; later calls with the same
images find them there.
"""

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.types import Quote, QuotedString
from PIL import Image

from sip.config.command import Command
from sip.core.csv_table import csv_text
from sip.core.errors import UserError
from sip.core.files import plain_disk_errors, write_atomically
from sip.core.hashing import digest
from sip.core.paths import conf_folder

ORIGINALS = "originals"  # folder in the store
IMAGE_COLUMNS = ("image", "img", "path", "file", "filename", "file_name")
LABEL_COLUMNS = ("label", "labels", "class", "fine_label", "target")
MODES = ("L", "RGB", "RGBA", "I;16")  # of PIL images, that PNG files have
KINDS = (
    "a folder, the name of a data set, a list of (image, label), a DataFrame, a datasets.Dataset "
    "or a torchvision data set"
)


@dataclass(frozen=True)
class Given:
    """Images as the command line takes them.

    Attributes:
        overrides: Choose the data set.
        files: File of each image, in the order in which they were given; None for a folder.
        remark: What is to be said if labels that are numbers are others in the run; "" if not.
    """

    overrides: tuple[str, ...]
    files: tuple[str, ...] | None = None
    remark: str = ""


def given(data: Any, label: str | None, class_names: Sequence[str] | None, store: Path) -> Given:
    """Return images of any of `KINDS` as a data set.

    Args:
        data: The images.
        label: The class of all of them, if they have none of their own.
        class_names: Words for labels that are numbers, by number.
        store: Folder for images that are in memory only.

    Raises:
        UserError: They are of no such kind, lack a label, or cannot be read.
    """
    if isinstance(data, str | os.PathLike):
        return _folder_or_name(data, label, class_names)
    if label is not None:
        pairs: Iterator[tuple[Any, Any]] = ((image, label) for image in _only_images(data))
    else:
        pairs = _pairs(data)
    names = class_names if class_names is not None else _class_names(data)
    return _listed(pairs, names, store)


def _folder_or_name(
    data: str | os.PathLike[str], label: str | None, class_names: Sequence[str] | None
) -> Given:
    path = Path(data).expanduser()
    if class_names is not None:
        raise UserError(
            f"class_names: must be left out with {str(data)!r}, whose classes have names, got "
            f"{list(class_names)}; for other words say overrides=['dataset.prompt_names={{...}}']"
        )
    if not path.exists():
        if isinstance(data, str) and (conf_folder() / "dataset" / f"{data}.yaml").is_file():
            if label is not None:
                raise UserError(
                    f"label: must be left out with data={data!r}, whose images have labels, got "
                    f"{label!r}"
                )
            return Given((f"dataset={data}",))
        raise UserError(f"data: must be {KINDS}, got {str(data)!r}, which is not there")
    of_one = () if label is None else (Command.of_text("dataset.label", label),)
    # All of them are to generate from; parts that the folder has stay as they are.
    parts = ("dataset.val_fraction=0", "dataset.test_fraction=0")
    root = Command.of_text("dataset.root", str(path))
    return Given(("dataset=image_folder", root, *parts, *of_one))


def _only_images(data: Any) -> Iterator[Any]:
    if isinstance(data, Sequence):
        yield from data
    else:
        raise UserError(
            "label: must be left out where the images have labels, got it with "
            f"{type(data).__name__}"
        )


def _pairs(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield image and label of everything that is in `data`."""
    if hasattr(data, "keys") and hasattr(data, "cast_column"):  # datasets.DatasetDict
        raise UserError("data: must be one split of a DatasetDict, such as data['train']")
    if hasattr(data, "features") and hasattr(data, "cast_column"):  # datasets.Dataset
        yield from _of_table(data)
    elif hasattr(data, "columns") and hasattr(data, "itertuples"):  # pandas.DataFrame
        image, label = _columns(list(data.columns))
        yield from zip(data[image], data[label], strict=True)
    elif hasattr(data, "samples") and hasattr(data, "classes"):  # torchvision's ImageFolder
        yield from data.samples
    elif isinstance(data, Sequence):
        for number, item in enumerate(data):
            yield _pair(item, number)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        plain = copy(data)  # without transforms, whose result is no image any more
        for name in ("transform", "transforms", "target_transform"):
            if hasattr(plain, name):
                setattr(plain, name, None)
        for number in range(len(data)):
            yield _pair(plain[number], number)
    else:
        raise UserError(f"data: must be {KINDS}, got {type(data).__name__}")


def _pair(item: Any, number: int) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        image, label = _columns(list(item))
        return item[image], item[label]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise UserError(
        f"data: each item must be (image, label), got {type(item).__name__} in item {number}; for "
        "images of one class say label='tabby cat'"
    )


def _of_table(table: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the images of a `datasets.Dataset` as files, or as the bytes of files."""
    from datasets import Image as ImageFeature

    image, label = _columns(list(table.features or ()))
    table = table.with_format(None).cast_column(image, ImageFeature(decode=False))
    for row in table.select_columns([image, label]):
        file = row[image] or {}
        encoded = file.get("bytes")
        yield (file.get("path") if encoded is None else encoded), row[label]


def _columns(there: list[Any]) -> tuple[Any, Any]:
    """Return the names of the columns with the image and its label."""
    image = next((name for name in IMAGE_COLUMNS if name in there), None)
    label = next((name for name in LABEL_COLUMNS if name in there), None)
    if image is None or label is None:
        names, what = (IMAGE_COLUMNS, "image") if image is None else (LABEL_COLUMNS, "label")
        shown = ", ".join(map(str, there)) or "none"
        raise UserError(
            f"data: must have a column for the {what}, one of {', '.join(names)}, got {shown}; "
            "rename it"
        )
    return image, label


def _class_names(data: Any) -> Sequence[str] | None:
    """Return the words for labels that are numbers, if the data set has them."""
    if hasattr(data, "features") and hasattr(data, "cast_column"):
        _, label = _columns(list(data.features or ()))  # None of some streams
        return getattr(data.features[label], "names", None)
    if hasattr(data, "itertuples"):  # of a DataFrame it would be a column
        return None
    names = getattr(data, "classes", None)
    return [str(name) for name in names] if names is not None else None


def _listed(
    pairs: Iterator[tuple[Any, Any]], class_names: Sequence[str] | None, store: Path
) -> Given:
    """Write a list of the images, and those that are in memory."""
    folder = (store / ORIGINALS).absolute()
    rows: list[tuple[str, str]] = []
    seen: dict[str, int] = {}
    names: dict[str, str] = {}  # label that is a number -> its words
    for number, (image, label) in enumerate(pairs):
        written = _label(label, class_names, number)
        if class_names is not None and written.isdecimal():
            names[written] = str(class_names[int(written)])
        rows.append((_file(image, number, folder, seen), written))
    if not rows:
        raise UserError("data: must have an image, got none")
    text = csv_text([("path", "label"), *rows])
    file = folder / f"{digest(text)[:16]}.csv"
    if not file.exists():
        with plain_disk_errors(file, "store"):
            write_atomically(file, text)
    parts = ("dataset.val_fraction=0", "dataset.test_fraction=0")
    words = (f"dataset.prompt_names={{{', '.join(map(_in_words, names.items()))}}}",) * bool(names)
    overrides = ("dataset=csv", Command.of_text("dataset.path", str(file)), *parts, *words)
    return Given(overrides, tuple(path for path, _ in rows), _renumbered(names))


def _renumbered(numbers: Iterable[str]) -> str:
    """Return a remark on labels that the run counts otherwise, as a class has no image."""
    given = sorted(map(int, numbers))
    for ours, theirs in enumerate(given):
        if ours != theirs:
            return (
                f"a class without an image has no number in the run: {theirs} is {ours} there, and "
                "so on; class_name is the same"
            )
    return ""


def _in_words(pair: tuple[str, str]) -> str:
    """Return a class and its words as a mapping of Hydra's has them."""
    label, words = pair
    return f'"{label}": {QuotedString(words, Quote.double).with_quotes()}'


def _label(label: Any, class_names: Sequence[str] | None, number: int) -> str:
    """Return a label as it is listed: words, or a number that `class_names` has words for."""
    if isinstance(label, str):
        if class_names is None or not label.isdecimal():
            return label
        label = int(label)
    try:
        index = int(label)
    except (TypeError, ValueError):
        index = -1
    if index < 0 or index != label or (class_names is not None and index >= len(class_names)):
        rule = "a text, or a number from 0"
        if class_names is not None:
            rule += f" to {len(class_names) - 1}, one of the {len(class_names)} classes"
        raise UserError(f"data: each label must be {rule}, got {label!r} in item {number}")
    if class_names is None:
        raise UserError(
            f"class_names: must be the words for labels that are numbers, got none with the label "
            f"{index}; say class_names=['cat', 'dog', ...]"
        )
    return str(index)


def _file(image: Any, number: int, folder: Path, seen: dict[str, int]) -> str:
    """Return the file of an image; one that is in memory is written."""
    if isinstance(image, str | os.PathLike):
        return str(Path(image).expanduser().absolute())
    data, suffix = (image, ".img") if isinstance(image, bytes) else (_png(image, number), ".png")
    name = digest(data.hex())[:32]
    seen[name] = seen.get(name, 0) + 1
    if seen[name] > 1:  # a list names each file once
        name = f"{name}-{seen[name]}"
    file = folder / name[:2] / f"{name}{suffix}"
    if not file.exists():
        with plain_disk_errors(file, "store"):
            write_atomically(file, data)
    return str(file)


def _png(image: Any, number: int) -> bytes:
    """Return an image in memory as a PNG file."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_array(image, number))
    is_wide = image.mode == "I" and not 0 <= image.getextrema()[0] <= image.getextrema()[1] < 2**16
    if image.mode == "F" or is_wide:
        raise UserError(
            f"data: each image must have pixels of 8 or 16 bits, got a PIL image of mode "
            f"{image.mode} in item {number}; convert it to L or RGB"
        )
    buffer, mode = io.BytesIO(), "I;16" if image.mode == "I" else image.mode
    if mode not in MODES:
        mode = "RGBA" if image.has_transparency_data else "RGB"
    image.convert(mode).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _array(image: Any, number: int) -> np.ndarray:
    """Return an array (H, W, 3) or (H, W), uint8; a tensor's channels come first."""
    is_tensor = hasattr(image, "detach")
    array = np.asarray(image.detach().cpu() if is_tensor else image)
    if is_tensor and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
    if not is_image or array.dtype != np.uint8:
        raise UserError(
            "data: each image must be a file, a PIL image, or pixels in uint8, (H, W, 3) as array "
            f"or (3, H, W) as tensor, got {type(image).__name__} {array.dtype} {array.shape} in "
            f"item {number}; give the images as they are before any normalisation"
        )
    return array
