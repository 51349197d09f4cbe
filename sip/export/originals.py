"""Real images of an export: as the pipeline sees them, or as their files are."""

import io
from collections.abc import Mapping
from functools import cached_property
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any

from sip.core.errors import UserError
from sip.core.image_io import ENCODERS, decoded, is_plain, opened
from sip.core.spill import ByKey, Joined
from sip.core.tars import member_name, split_reference
from sip.core.text import reason_of
from sip.dataset.base import Dataset, Sample, Split
from sip.records.read import RunRecord

FIX = "put the data set back, or use originals=none"
SUFFIXES = {  # format -> endings of a file's name; the first if it has another
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
}


class Originals:
    """The real images of a run, from its data set as it is now.

    Args:
        record: The run.
    """

    def __init__(self, record: RunRecord[Any]) -> None:
        self.record = record
        self._samples: dict[str, Mapping[str, Sample]] = {}

    @cached_property
    def dataset(self) -> Dataset:
        """The data set of the run's configuration.

        Raises:
            UserError: The configuration has none.
        """
        from sip.config.build import build

        values = self.record.config.get("dataset")
        if not isinstance(values, dict):
            raise UserError(
                f"{self.record.folder}/config.yaml: dataset: must be a data set, got {values!r}; "
                "use originals=none"
            )
        dataset: Dataset = build(values)
        return dataset

    def samples(self, part: Split) -> Mapping[str, Sample]:
        """Return sample_id -> image of a part."""
        if part not in self._samples:
            samples = self.dataset.samples(part)
            self._samples[part] = ByKey(Joined(attrgetter("sample_id"), samples), samples)
        return self._samples[part]

    def require(self, part: Split, hashes: Mapping[str, str]) -> None:
        """Check that the images of a part are those that the run used.

        Args:
            part: A part of the data set.
            hashes: sample_id -> checksum, of the run.

        Raises:
            UserError: Some are missing or have another content.
        """
        samples = self.samples(part)
        changed = [
            sample_id
            for sample_id, sha256 in hashes.items()
            if sample_id not in samples or samples[sample_id].sha256 != sha256
        ]
        if changed:
            raise UserError(
                f"originals: {len(changed)} of {len(hashes)} images of {part} are missing or have "
                f"changed since the run, first {changed[0]}; {FIX}"
            )


def original_name(file: str) -> PurePosixPath:
    """Return the name of an original's file, also of one in a tar file, without folders."""
    name = PurePosixPath(member_name(file) if split_reference(file) else file).name
    return PurePosixPath(name)


def as_used(data: bytes, suffix: str) -> tuple[bytes, str, bool]:
    """Return an encoded image as the pipeline sees it.

    Args:
        data: An encoded image of a format in `sip.core.image_io.FORMATS`.
        suffix: Ending of its file's name.

    Returns:
        The data as they are if every program sees the same in them, else an upright RGB PNG of the
        same size; the ending that fits; whether it was converted.

    Raises:
        ValueError: It cannot be decoded.
    """
    try:
        if is_plain(data):
            return data, fitting_suffix(data, suffix), False
    except Exception as error:  # on damaged files Pillow raises errors of many kinds
        raise ValueError(reason_of(error)) from error
    stream = io.BytesIO()
    decoded(data).save(stream, format="PNG", **ENCODERS["png"])
    return stream.getvalue(), ".png", True


def fitting_suffix(data: bytes, suffix: str) -> str:
    """Return the ending for an encoded image: its own one if that fits the format.

    Raises:
        ValueError: It is no image of a format in `sip.core.image_io.FORMATS`.
    """
    try:
        with opened(data) as image:
            format_ = image.format or ""
    except Exception as error:  # as in `as_used`
        raise ValueError(reason_of(error)) from error
    endings = SUFFIXES.get(format_)
    if endings is None:
        return suffix or f".{format_.lower()}"
    return suffix if suffix.lower() in endings else endings[0]
