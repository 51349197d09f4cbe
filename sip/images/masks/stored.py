"""Masks that people have made: files, or a column of the data set."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath

from sip.core.component import Part, component, ignored
from sip.core.errors import UserError
from sip.core.text import counted, join_first
from sip.core.threads import num_cores
from sip.dataset.base import Dataset, Sample
from sip.dataset.csv_file import CsvFile
from sip.dataset.huggingface import HuggingFace
from sip.images.masks.base import Masks
from sip.images.masks.files import look_at_mask
from sip.prompts.base import Mask

NUM_SHOWN = 10  # masks that a message names


@component
class StoredMasks(Masks):
    """Masks that are image files, each of the shape of its original."""

    @abstractmethod
    def files(self, samples: Sequence[Sample]) -> Mapping[str, str]:
        """Return sample_id -> file of the mask; without those that have none.

        Raises:
            UserError: No file can be looked up.
        """

    @property
    @abstractmethod
    def rule(self) -> str:
        """Where a mask must be, for messages."""

    def of(self, samples: Sequence[Sample]) -> dict[str, Mask]:
        """Return sample_id -> mask; each file is read once in a process.

        Raises:
            UserError: Masks are missing, broken or of another shape; names them.
        """
        new = [sample for sample in samples if sample.sample_id not in self._known]
        if new:
            self._look(new)
        return {sample.sample_id: self._known[sample.sample_id] for sample in samples}

    @cached_property
    def _known(self) -> dict[str, Mask]:
        return {}

    def _look(self, samples: Sequence[Sample]) -> None:
        files = self.files(samples)
        if missing := [s.sample_id for s in samples if s.sample_id not in files]:
            raise UserError(
                f"images.masks: each image must have a mask ({self.rule}), got none for "
                f"{counted(len(missing), 'image')}: {join_first(missing, NUM_SHOWN)}; add them, or "
                "set images/masks=clipseg"
            )

        def look(sample: Sample) -> Mask | str:
            path = files[sample.sample_id]
            try:
                seen = look_at_mask(path, sample.width, sample.height)
            except ValueError as error:
                return f"{path}: {error}"
            if not (seen.has_black if self.kept == "white" else seen.has_white):
                return f"{path}: keeps the whole image"
            return Mask(seen.sha256, path)

        with ThreadPoolExecutor(min(8, num_cores())) as threads:
            seen = list(threads.map(look, samples))
        if bad := [text for text in seen if isinstance(text, str)]:
            raise UserError(
                f"images.masks: must be black and white images of the shape of their originals, "
                f"got {counted(len(bad), 'file')} that {'do' if len(bad) > 1 else 'does'} not fit: "
                f"{join_first(bad, NUM_SHOWN)}; fix them"
            )
        for sample, mask in zip(samples, seen, strict=True):
            assert isinstance(mask, Mask)
            self._known[sample.sample_id] = mask


@component
class FileMasks(StoredMasks):
    """A folder of masks: `<folder>/<id of the image>`, with the suffix .png.

    The id is `sample_id` in `images.parquet`: of files, their path below `dataset.root`.

    Args:
        folder: The folder; its masks are known by their content.
    """

    folder: str = ignored()

    @property
    def rule(self) -> str:
        """Where a mask must be."""
        return f"{self.folder}/<id of the image>.png"

    def files(self, samples: Sequence[Sample]) -> Mapping[str, str]:
        """Return sample_id -> file of the mask, of those that exist."""
        root = Path(self.folder).expanduser()
        paths = {
            s.sample_id: root / PurePosixPath(s.sample_id).with_suffix(".png") for s in samples
        }
        return {name: str(path) for name, path in paths.items() if path.is_file()}


@component
class ColumnMasks(StoredMasks):
    """A column of the data set: of images (dataset=huggingface) or of paths (dataset=csv).

    Args:
        dataset: The data set.
        column: Name of its column of masks.
    """

    dataset: Part[Dataset] = ignored()
    column: str = ignored()

    @property
    def rule(self) -> str:
        """Where a mask must be."""
        return f"column {self.column} of the data set"

    def files(self, samples: Sequence[Sample]) -> Mapping[str, str]:
        """Return sample_id -> file of the mask.

        Raises:
            UserError: The data set has no such column.
        """
        if isinstance(self.dataset, HuggingFace | CsvFile):
            return self.dataset.column_files(self.column, [s.sample_id for s in samples])
        raise UserError(
            f"images.masks: must be files for a {type(self.dataset).__name__}, which has no "
            "columns, got column; set images/masks=files, or dataset=huggingface or csv"
        )
