"""Images that belong to the originals, as people have made them: masks, and conditions.

They are files in a folder of their own, or in a column of the data set.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

from PIL import Image

from sip.core.component import Component, Part, component, ignored
from sip.core.errors import UserError
from sip.core.text import counted, join_first
from sip.core.threads import num_cores
from sip.dataset.base import Dataset, Sample
from sip.dataset.csv_file import CsvFile
from sip.dataset.huggingface import HuggingFace
from sip.prompts.base import Companion

NUM_SHOWN = 10  # images that a message names


@component
class Companions(Component):
    """Image files, one of each original and of its shape."""

    key: ClassVar[str]  # of the configuration, such as "images.masks"
    noun: ClassVar[str]  # what they are called in messages
    nature: ClassVar[str]  # what they must be
    instead: ClassVar[str]  # choice that needs no files

    @abstractmethod
    def files(self, samples: Sequence[Sample]) -> Mapping[str, str]:
        """Return sample_id -> file of the image; without those that have none.

        Raises:
            UserError: No file can be looked up.
        """

    @property
    @abstractmethod
    def rule(self) -> str:
        """Where an image must be, for messages."""

    @abstractmethod
    def look(self, path: str, sample: Sample) -> str:
        """Return the hash of an image's bytes.

        Raises:
            ValueError: It cannot be used; says why.
        """

    def of(self, samples: Sequence[Sample]) -> dict[str, Companion]:
        """Return sample_id -> image; each file is read once in a process.

        Raises:
            UserError: Images are missing, broken or of another shape; names them.
        """
        new = [sample for sample in samples if sample.sample_id not in self._known]
        if new:
            self._look(new)
        return {sample.sample_id: self._known[sample.sample_id] for sample in samples}

    @cached_property
    def _known(self) -> dict[str, Companion]:
        return {}

    def _look(self, samples: Sequence[Sample]) -> None:
        files = self.files(samples)
        if missing := [s.sample_id for s in samples if s.sample_id not in files]:
            raise UserError(
                f"{self.key}: each image must have a {self.noun} ({self.rule}), got none for "
                f"{counted(len(missing), 'image')}: {join_first(missing, NUM_SHOWN)}; add them, or "
                f"set {self.instead}"
            )

        def look(sample: Sample) -> Companion | str:
            path = files[sample.sample_id]
            try:
                return Companion(self.look(path, sample), path)
            except ValueError as error:
                return f"{path}: {error}"

        with ThreadPoolExecutor(min(8, num_cores())) as threads:
            seen = list(threads.map(look, samples))
        if bad := [text for text in seen if isinstance(text, str)]:
            raise UserError(
                f"{self.key}: must be {self.nature} of the shape of their originals, "
                f"got {counted(len(bad), 'file')} that {'do' if len(bad) > 1 else 'does'} not fit: "
                f"{join_first(bad, NUM_SHOWN)}; fix them"
            )
        for sample, companion in zip(samples, seen, strict=True):
            assert isinstance(companion, Companion)
            self._known[sample.sample_id] = companion


@component
class InFolder(Companions):
    """A folder: `<folder>/<id of the image>`, with the suffix .png.

    The id is `sample_id` in `images.parquet`: of files, their path below `dataset.root`.

    Args:
        folder: The folder; its images are known by their content.
    """

    folder: str = ignored()

    @property
    def rule(self) -> str:
        """Where an image must be."""
        return f"{self.folder}/<id of the image>.png"

    def files(self, samples: Sequence[Sample]) -> Mapping[str, str]:
        """Return sample_id -> file of the image, of those that exist."""
        root = Path(self.folder).expanduser()
        paths = {
            s.sample_id: root / PurePosixPath(s.sample_id).with_suffix(".png") for s in samples
        }
        return {name: str(path) for name, path in paths.items() if path.is_file()}


@component
class InColumn(Companions):
    """A column of the data set: of images (dataset=huggingface) or of paths (dataset=csv).

    Args:
        dataset: The data set.
        column: Name of the column.
    """

    dataset: Part[Dataset] = ignored()
    column: str = ignored()

    @property
    def rule(self) -> str:
        """Where an image must be."""
        return f"column {self.column} of the data set"

    def files(self, samples: Sequence[Sample]) -> Mapping[str, str]:
        """Return sample_id -> file of the image.

        Raises:
            UserError: The data set has no such column.
        """
        if isinstance(self.dataset, HuggingFace | CsvFile):
            ids = [sample.sample_id for sample in samples]
            return self.dataset.column_files(self.column, ids, f"{self.key}.column")
        group = self.instead.partition("=")[0]
        raise UserError(
            f"{self.key}: must be files for a {type(self.dataset).__name__}, which has no "
            f"columns, got column; set {group}=files, or dataset=huggingface or csv"
        )


def require_shape(image: Image.Image, width: int, height: int) -> None:
    """Check that an image has the shape of its original, to a pixel.

    Args:
        image: Upright.
        width, height: Size of the original, in px.

    Raises:
        ValueError: It has another one.
    """
    if abs(image.width * height - image.height * width) > max(width, height):
        size = f"{image.width} x {image.height} px"
        raise ValueError(f"{size}, which is not the shape of its image, {width} x {height} px")
