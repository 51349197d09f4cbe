"""A finished generation in Python: its images, their provenance, sheets, tables and exports."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from sip.core.errors import UserError
from sip.core.image_io import opened
from sip.core.paths import SUMMARY, require_run
from sip.core.spread import spread
from sip.core.text import counted
from sip.core.uri import Place, joined, place_of
from sip.records.files import ListedImage, file_in_store, listed_image, pairs_of
from sip.records.read import IMAGES, RunRecord, read_run

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

REAL = "real"
NUM_SHOWN = 12  # pairs on a contact sheet


@dataclass(frozen=True)
class RunImage:
    """A generated image.

    Attributes:
        id: Name of it, a hash of everything that decides its pixels.
        file: Its file, or `<tar>::<offset>:<size>` of a member of a tar file.
        label: Class index, of those that have an original: of the class that it is to show.
        class_name: The class in words.
        sample_id: Id of the original.
        original: File of the original.
        variant: 0, 1, ...: which of the images generated from this original.
        prompt: Text that it was generated with.
        spans: The same in pieces with their weights.
        guidance_scale: Scale of classifier-free guidance; None if the generator reads none.
        noise_rate: Share of the noise schedule that was run, in [0, 1]; None likewise, as of
            text-to-image.
        seed: Seed of its noise.
        caption: Caption of the original that was chosen; None without captions.
        similarity: Cosine of caption and original, in [-1, 1]; None without scores.
        candidates: All captions with their cosines, the best first.
        source_label: Class index of its original, if it is to show another class; else None.
        source_class_name: The same in words.
        label_share: Share of `label` in the label to train with; the rest is `source_label`'s.
        kind: "generated", or "retrieved": a real image in place of a generated one.
    """

    id: str
    file: str
    label: int
    class_name: str
    sample_id: str
    original: str
    variant: int
    prompt: str
    spans: tuple[tuple[str, float], ...]
    guidance_scale: float | None
    noise_rate: float | None
    seed: int
    caption: str | None
    similarity: float | None
    candidates: tuple[tuple[str, float], ...]
    _listed: ListedImage = field(repr=False)
    _listed_original: ListedImage = field(repr=False)
    source_label: int | None = None
    source_class_name: str | None = None
    label_share: float | None = None
    kind: str = "generated"

    @property
    def image(self) -> "Image.Image":
        """The image, RGB; its file is checked against the run's list.

        Raises:
            UserError: The file is missing, or is another.
        """
        return self._listed.rgb()

    @property
    def original_image(self) -> "Image.Image":
        """The original, upright RGB, of its own size.

        Raises:
            UserError: As of `image`.
        """
        return self._listed_original.rgb()

    @property
    def original_as_stored(self) -> "Image.Image":
        """The original, RGB, without the rotation that its EXIF data ask for.

        Raises:
            UserError: As of `image`.
        """
        with opened(self._listed_original.content()) as image:
            return image.convert("RGB")


class Run(Sequence[RunImage]):
    """The images of a finished `sip.generate` or `sip.train`, as a sequence.

    Args:
        folder: Folder of the run, such as `runs/generate-...`.
        store: The store; None for the one that the run names.
        given: Files of the originals in the order in which a program gave them; None: unknown.

    Raises:
        UserError: It is no finished run, or its store is not there.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        store: str | os.PathLike[str] | None = None,
        given: Sequence[str] | None = None,
    ) -> None:
        self.folder = Path(folder).expanduser()
        require_run(self.folder, "run", IMAGES, SUMMARY, "config.yaml")
        self.record: RunRecord[Any] = read_run(self.folder)
        named = None if store is None else os.path.expanduser(str(store))
        self.store = self.record.store if named is None else place_of(named, "store")
        self.given = None if given is None else tuple(given)
        if isinstance(self.store, Path) and not self.store.is_dir():
            raise UserError(f"store: must be the run's store, got {self.store}, which is not there")

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> RunImage: ...
    @overload
    def __getitem__(self, index: slice) -> list[RunImage]: ...
    def __getitem__(self, index: int | slice) -> RunImage | list[RunImage]:
        return self._images[index]

    def __iter__(self) -> Iterator[RunImage]:
        return iter(self._images)

    def __repr__(self) -> str:
        num = counted(len(self), "image")
        return f"<sip.Run {self.folder}: {num} of {counted(len(self.originals), 'original')}>"

    def _repr_png_(self) -> bytes | None:
        """Show the contact sheet in a notebook."""
        return self._sheet(NUM_SHOWN) if len(self) else None

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, times, metrics, versions and the recipe of the run."""
        values: dict[str, Any] = json.loads((self.folder / SUMMARY).read_text())
        return values

    @property
    def command(self) -> str | None:
        """The command line that makes the same images."""
        command: str | None = self.record.summary.command
        return command

    @cached_property
    def originals(self) -> dict[str, str]:
        """Sample id -> file of the originals."""
        return {
            row["sample_id"]: os.path.normpath(joined(self.store, row["file"]))
            for row in self._rows
            if row["kind"] == REAL and row["split"] == "train"
        }

    def of(self, original: str | os.PathLike[str]) -> list[RunImage]:
        """Return the images generated from an original, by its file or its sample id."""
        found = self._by_sample.get(str(original))
        return found or self.by_file.get(os.path.realpath(original), [])

    @cached_property
    def by_file(self) -> dict[str, list[RunImage]]:
        """File of an original -> the images generated from it."""
        return {
            os.path.realpath(file): self._by_sample[sample_id]
            for sample_id, file in self.originals.items()
            if sample_id in self._by_sample
        }

    def contact_sheet(self, num: int = NUM_SHOWN) -> "Image.Image":
        """Return originals next to images generated from them, prompts and scales below.

        Args:
            num: Pairs, spread evenly over the run.

        Raises:
            UserError: Nothing was generated.
        """
        import io

        from PIL import Image

        if not len(self):
            raise UserError(f"{self.folder}: must have images for a sheet, got none")
        return Image.open(io.BytesIO(self._sheet(num)))

    def to_pandas(self) -> "pd.DataFrame":
        """Return a row for each generated image: the fields of `RunImage`, without pixels."""
        import pandas as pd

        names = [name for name in RunImage.__dataclass_fields__ if name[0] != "_"]
        rows = [{name: getattr(image, name) for name in names} for image in self]
        return pd.DataFrame(rows, columns=names)

    def export(
        self,
        output: str | os.PathLike[str],
        format: str = "image_folder",
        *,
        parts: Sequence[str] = ("train",),
        originals: str = "none",
        link: bool = False,
        per_file: int = 1000,
        provenance: str = "embedded",
        review: str | None = None,
    ) -> Path:
        """Write the images as a data set, as `python -m sip.export` does; return its folder.

        Args:
            output: Folder that is made.
            format: "image_folder", "webdataset" or "datasets".
            parts: Some of "train", with the generated images, "val" and "test"; or one of them.
            originals: Real images: "none", "as_used" (upright 8-bit RGB) or "copy" of the files.
            link: In an ImageFolder, hard links to files instead of copies.
            per_file: Images in a tar or Parquet file.
            provenance: "embedded": files of generated images say how they were made; "none".
            review: "keep" or "drop": without what the run's `review.csv` rejects; images without a
                decision are kept or dropped. None: with all.

        Raises:
            UserError: A value is wrong, an image is damaged, or the folder is not empty.
        """
        from sip.export.main import Options, export

        place = Path(output).expanduser()
        named: dict[str, Any] = {"provenance": provenance, "review": review}
        chosen = [parts] if isinstance(parts, str) else parts
        options = Options(
            self.folder, place, format, chosen, originals, link, per_file, self.store, **named
        )
        export(options)
        return place

    def _sheet(self, num: int) -> bytes:
        import tempfile

        from sip.core.sheets import Pair, contact_sheet
        from sip.records.write import sheet_words

        pairs = []
        for image in spread(self._images, num):
            source = image.source_class_name
            title, lines = sheet_words(
                image.class_name,
                image.spans,
                image.caption,
                image.similarity,
                image.guidance_scale,
                image.noise_rate,
                None if source is None else (source, image.label_share or 0.0),
                kind=image.kind,
            )
            sha256 = image._listed.sha256
            pairs.append(Pair(image.original, image.file, title, lines, sha256, image.kind))
        with tempfile.TemporaryDirectory() as folder:
            contact_sheet(pairs, Path(folder, "sheet.png"))
            return Path(folder, "sheet.png").read_bytes()

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return self.record.images()

    @cached_property
    def _by_sample(self) -> dict[str, list[RunImage]]:
        found = defaultdict(list)
        for image in self._images:
            found[image.sample_id].append(image)
        return dict(found)

    @cached_property
    def _images(self) -> list[RunImage]:
        real = {
            row["sample_id"]: listed_image(self.store, row)
            for row in self._rows
            if row["kind"] == REAL
        }
        images = []
        for row in self._rows:
            if row["kind"] == REAL or row["status"] != "ok" or row["file"] is None:
                continue
            listed, original = listed_image(self.store, row), real.get(row["sample_id"])
            assert listed is not None and original is not None
            images.append(_image(row, listed, original, self.store))
        return images


def _image(
    row: dict[str, Any], listed: ListedImage, original: ListedImage, store: Place
) -> RunImage:
    spans = tuple(pairs_of(row["spans"]) or ())
    candidates = sorted(pairs_of(row.get("candidates")) or (), key=lambda pair: -pair[1])
    return RunImage(
        id=row["id"],
        file=file_in_store(store, row["file"]),
        original=os.path.normpath(original.file),
        prompt="".join(text for text, _ in spans),
        spans=spans,
        candidates=tuple(candidates),
        **{name: row[name] for name in ("label", "class_name", "sample_id", "variant")},
        **{name: row[name] for name in ("guidance_scale", "noise_rate", "seed")},
        **{name: row[name] for name in ("caption", "similarity")},
        _listed=listed,
        _listed_original=original,
        source_label=row.get("source_label"),
        source_class_name=row.get("source_class_name"),
        label_share=row.get("label_share"),
        kind=row["kind"],
    )


def require_own_classes(run: Run) -> None:
    """Check that all images are to show the class of their original, whose label they get.

    Raises:
        UserError: Some are of two classes.
    """
    num = sum(image.source_label is not None for image in run)
    if num:
        raise UserError(
            f"run: must be of images of their original's class, got {num:,} that are to show "
            "another one (prompts=diff_mix_like); train with python -m sip.train, or build the "
            "labels from label, source_label and label_share"
        )
