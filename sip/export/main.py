"""From a finished run to a folder: all of it appears at once, or nothing does."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sip.core.errors import UserError
from sip.core.files import CANNOT_WRITE
from sip.core.interrupt import graceful, stop_requested
from sip.core.progress import progress
from sip.export import image_folder, parquet, tar_shards
from sip.export.card import card
from sip.export.source import ExportImage, Source

FORMATS = ("image_folder", "webdataset", "datasets")


@dataclass(frozen=True)
class Options:
    """What `conf/export.yaml` says.

    Attributes:
        run: Folder of a finished run.
        output: The folder to make; not there, or empty.
        format: One of `FORMATS`.
        originals: Also export the real training images.
        link: In an ImageFolder, hard links to the store's files in place of copies.
        per_file: Images in a tar or Parquet file.
        store: Folder of the store; None for the one in the run's configuration.
    """

    run: Path
    output: Path
    format: str
    originals: bool
    link: bool
    per_file: int
    store: Path | None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UserError(f"format: must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if self.link and self.format != "image_folder":
            raise UserError(
                f"link: must be false for format={self.format}; only image_folder has links"
            )
        if type(self.per_file) is not int or self.per_file < 1:
            raise UserError(f"per_file: must be a whole number >= 1, got {self.per_file!r}")


def export(options: Options) -> Source:
    """Write a run's images, their provenance and a data card; return what was exported.

    Raises:
        UserError: A image is damaged or missing, the output is not empty, or cannot be written.
        Stopped: Got SIGINT or SIGTERM; nothing is left of the export.
    """
    source = Source(options.run, options.store, options.originals)
    with graceful(), suppress(_StopError), _whole(options.output) as folder:
        with progress("export", source.num, "image") as bar:

            def images() -> Iterator[ExportImage]:
                for image in source.images():
                    if stop_requested():  # `graceful` says so in the end
                        raise _StopError
                    bar.update()
                    yield image

            _write(images(), folder, source, options)
        text = card(source, options.format, options.per_file)
        (folder / "README.md").write_text(text, encoding="utf-8")
    return source


class _StopError(Exception):
    """The export was asked to stop, and ends without a result."""


def _write(images: Iterator[ExportImage], folder: Path, source: Source, options: Options) -> None:
    if options.format == "image_folder":
        image_folder.write(images, folder, source.class_names, options.link)
    elif options.format == "webdataset":
        tar_shards.write(images, folder, options.per_file)
    else:
        parquet.write(images, folder, source.class_names, source.num, options.per_file)


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `output` at the end, and vanishes on an error."""
    output = output.absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"output: expected a new or empty folder, {output} is there; name another")
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
