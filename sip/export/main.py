"""Export a finished run into a folder, which appears complete or not at all."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sip.core.errors import UserError, not_one_of
from sip.core.files import CANNOT_WRITE, check_can_be_made
from sip.core.interrupt import graceful, stop_requested
from sip.core.progress import progress
from sip.core.uri import Place
from sip.dataset.base import Split
from sip.dataset.files import PARTS
from sip.export.card import card, mark_for
from sip.export.formats.base import ExportPart, ImageFormat
from sip.export.formats.datasets import DatasetsFormat
from sip.export.formats.image_folder import ImageFolderFormat
from sip.export.formats.webdataset import WebDatasetFormat
from sip.export.hub import HubDataset, mark_of
from sip.export.source import ExportImage, Source

FORMATS: dict[str, type[ImageFormat]] = {
    "image_folder": ImageFolderFormat,
    "webdataset": WebDatasetFormat,
    "datasets": DatasetsFormat,
}
ORIGINALS = ("none", "as_used", "copy")
PROVENANCE = ("embedded", "none")
UNDECIDED = ("keep", "drop")
MEANT = {  # what users of other libraries type -> the format
    **dict.fromkeys(("folder", "folders", "images", "imagefolder"), "image_folder"),
    **dict.fromkeys(("huggingface", "hf", "parquet", "arrow"), "datasets"),
    **dict.fromkeys(("wds", "tar", "tars"), "webdataset"),
}


@dataclass(frozen=True)
class Options:
    """What `conf/export.yaml` says.

    Attributes:
        run: Folder of a finished run.
        output: The folder to make; not there, or empty.
        format: One of `FORMATS`.
        parts: Parts of the data set: train, with the generated images, val and test.
        originals: Real images: "none" of them; "as_used", as the pipeline sees them (upright 8-bit
            RGB; a file in which every program sees the same is copied); or "copy" of every file.
        link: In an ImageFolder, hard links to files instead of copies.
        per_file: Images in a tar or Parquet file.
        store: The store; None for the one in the run's configuration.
        provenance: "embedded": files of generated images say how they were made; links are files
            of the store, and stay as they are. "none": all files do.
        review: Leaves out what the run's `review.csv` rejects; images without a decision are kept
            ("keep") or left out ("drop"). None: the review is not read.
        push: "hub:NAME", a dataset of the hub that gets the folder; None for none.
        private: Whether that dataset is made private.
        overwrite: Whether the folder may replace what is in the dataset.
    """

    run: Path
    output: Path
    format: str
    parts: Sequence[str]
    originals: str
    link: bool
    per_file: int
    store: Place | None
    provenance: str = "embedded"
    review: str | None = None
    push: str | None = None
    private: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        named = {"format": (*FORMATS, "onnx"), "originals": ORIGINALS, "provenance": PROVENANCE}
        for name, choices in named.items():
            if (value := getattr(self, name)) not in choices:
                raise not_one_of(name, choices, value, MEANT.get(str(value).lower(), ""))
        if self.format not in FORMATS:
            command = f"python -m sip.export format=onnx run={self.run} output=model.onnx"
            raise UserError(f"format: must be one of images, got onnx; write it with {command}")
        if self.review not in (None, *UNDECIDED):
            raise not_one_of("review", ("null", *UNDECIDED), self.review)
        parts: list[str] = list(self.parts)
        if not parts or set(parts) - set(PARTS) or len(set(parts)) < len(parts):
            raise UserError(
                f"parts: must be some of {', '.join(PARTS)}, each once, got {parts}; "
                "for all of them say parts=[train,val,test]"
            )
        if parts != ["train"] and self.originals == "none":
            raise UserError(
                f"originals: must be as_used or copy for parts={parts}, got none; only train has "
                "generated images"
            )
        if self.link and not FORMATS[self.format].is_folder:
            raise UserError(
                f"link: must be false for format={self.format}; only image_folder has links"
            )
        if type(self.per_file) is not int or self.per_file < 1:
            raise UserError(f"per_file: must be a whole number >= 1, got {self.per_file!r}")
        self.hub()

    def hub(self) -> HubDataset | None:
        """Return the dataset of the hub that the folder is for, if any."""
        return HubDataset(self.push, self.private, self.overwrite) if self.push else None


def export(options: Options, hub: HubDataset | None = None) -> Source:
    """Write a run's images, their provenance and a data card; return what was exported.

    Args:
        options: What to write, and where.
        hub: The dataset that the folder is for; a folder that has this export already stays as it
            is then, with what was edited in its card.

    Raises:
        UserError: An image is damaged or missing, the output is not empty, or cannot be written;
            or the dataset has something else.
        Stopped: Got SIGINT or SIGTERM; nothing is left of the export.
    """
    parts = [part for part in PARTS if part in options.parts]
    embeds = options.provenance == "embedded" and not options.link
    if not (hub and mark_of(options.output)):
        _require_new(options.output)  # originals may take long to be read
    source = Source(options.run, options.store, parts, options.originals, embeds, options.review)
    kind = FORMATS[options.format](source.class_names, options.per_file, options.link)
    mark = mark_for(source, kind)
    if hub:
        hub.check(source, mark, kind.is_folder)
    if not (hub and mark_of(options.output) == mark):
        _write(source, kind, options.output)
    return source


def _write(source: Source, kind: ImageFormat, output: Path) -> None:
    with graceful(), suppress(_StopError), _whole(output) as folder:
        with progress("export", source.num, "image") as bar:

            def images(part: Split) -> Iterator[ExportImage]:
                for image in source.images(part):
                    if stop_requested():  # `graceful` says so in the end
                        raise _StopError
                    bar.update()
                    yield image

            kind.write(
                (ExportPart(part, source.num_of(part), images(part)) for part in source.parts),
                folder,
            )
        (folder / "README.md").write_text(card(source, kind), encoding="utf-8")


class _StopError(Exception):
    """The export was asked to stop, and ends without a result."""


def _require_new(output: Path) -> None:
    """Check that a folder can be made, or is an empty one that another can take the place of."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(
            f"output: must be a new or empty folder, got {output.absolute()}; name another"
        )
    if output.resolve().is_mount():
        raise UserError(
            f"output: must be a folder that can be exchanged, got the mount point {output}; name "
            f"one in it, such as output={output}/images"
        )
    check_can_be_made(output, "output")


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `output` at the end, and vanishes on an error."""
    _require_new(output)
    output = output.resolve()  # a folder cannot take the place of a link
    folder = output.with_name(f".{output.name}.unfinished")
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(
            f"{folder} is there: another export is writing it, or one was killed; if none is at "
            "work, delete it"
        ) from error
    except OSError as error:
        raise UserError(f"cannot write to {output.parent}: {error.strerror}") from error
    try:
        yield folder
        folder.rename(output)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise UserError(
            f"cannot write to {output}: {error.strerror}; make room or name another folder with "
            "output=..., nothing was left"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
