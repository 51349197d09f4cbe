"""WebDataset: tar files of images, each followed by its class index and its provenance."""

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sip.core import tars
from sip.core.text import as_json
from sip.dataset.base import Split
from sip.export.formats.base import ExportPart, ImageFormat
from sip.export.names import FileNames
from sip.export.source import COLUMNS, ExportImage

MAX_BYTES = 80  # of a name without its ending; a tar file's header holds 100


class WebDatasetFormat(ImageFormat):
    """Members `<name>.png`, `<name>.cls` and `<name>.json`."""

    def __init__(self, class_names: Sequence[str], per_file: int, link: bool) -> None:
        super().__init__(class_names, per_file, link)
        self._suffixes: set[str] = set()  # of the images that were written

    def write(self, parts: Iterable[ExportPart], folder: Path) -> None:
        """Write `train-00000.tar` and so on."""
        for part in parts:
            names, left, position = FileNames(MAX_BYTES), part.images, 0
            while first := next(left, None):
                with open(folder / f"{part.name}-{position:05d}.tar", "wb") as file:
                    for image in chain([first], islice(left, self.per_file - 1)):
                        file.write(self._members(image, names))
                    file.write(tars.END)
                position += 1

    def data_files(self, part: Split) -> str:
        """Return the pattern of a part's files."""
        return f"{part}-*.tar"

    def loading(self, counts: dict[Split, int]) -> str:
        """Return Python code that reads the parts."""
        lines = []
        for part, num in counts.items():
            last = self.num_files(num) - 1
            span = f"{{00000..{last:05d}}}" if last else "00000"
            lines.append(f"webdataset.WebDataset('{part}-{span}.tar').decode('pil')  # {num:,}")
        return "\n".join(lines)

    def card_fields(self) -> dict[str, Any]:
        """Return the columns, which `datasets` infers only if all images have one ending."""
        classes = {str(label): name for label, name in enumerate(self.class_names)}
        return {
            "dataset_info": {
                "features": [
                    *({"name": name[1:], "dtype": "image"} for name in sorted(self._suffixes)),
                    {"name": "cls", "dtype": {"class_label": {"names": classes}}},
                    {
                        "name": "json",
                        "struct": [{"name": n, "dtype": kind} for n, (kind, _) in COLUMNS.items()],
                    },
                    *({"name": name, "dtype": "string"} for name in ("__key__", "__url__")),
                ]
            }
        }

    def _members(self, image: ExportImage, names: FileNames) -> bytes:
        """Return the members of one image; a dot ends the name that they share."""
        made = image.read()
        suffix = made.suffix.lower()
        self._suffixes.add(suffix)
        name = names.unique("", image.stem.replace(".", "_"), "")
        text = as_json(made.facts)
        return (
            tars.member(f"{name}{suffix}", made.data)
            + tars.member(f"{name}.cls", str(made.facts["label"]).encode())
            + tars.member(f"{name}.json", text.encode())
        )
