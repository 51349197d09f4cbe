"""Names of folders and files that are readable, safe on any system, and unique."""

import re
import unicodedata
from collections.abc import Collection, Sequence

from sip.core.spill import KeyNumbers

MAX_BYTES = 200  # of a name without its ending; file systems allow 255
UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
# Windows opens these in any folder, with any ending.
DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE
)


def safe_name(text: str, max_bytes: int = MAX_BYTES) -> str:
    """Return a text as the name of a file or folder; it may be empty.

    Letters of any script stay. What means something in a path becomes "_", and so does a dot at
    either end, or what a shell or a spreadsheet would take for an option or a formula; "_" goes
    before what Windows takes for a device.
    """
    name = UNSAFE.sub("_", unicodedata.normalize("NFC", text)).strip()
    name = name.encode(errors="ignore")[:max_bytes].decode(errors="ignore").strip()
    name = re.sub(r"^[.=+@-]|\.$", "_", name)
    return f"_{name}" if DEVICE.fullmatch(name) else name


def folder_names(class_names: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Return a folder's name for each class.

    Names that are then alike, or differ in capitals only, get their label.

    Args:
        class_names: Class names by label.
        taken: Names that no class may have, in lower case.
    """
    used = {"", *taken}
    names = []
    for label, class_name in enumerate(class_names):
        name = safe_name(class_name)
        while name.casefold() in used:
            name = f"{name or 'class'}-{label}"
        used.add(name.casefold())
        names.append(name)
    return names


class FileNames:
    """The names of files that are written; one that is taken gets a number.

    Args:
        max_bytes: Bytes of a name without its ending, at most.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._used = KeyNumbers()  # of folder and name

    def unique(self, folder: str, stem: str, suffix: str) -> str:
        """Return a file's name, with its ending, that no other file of the folder has.

        Args:
            folder: Folder of the file.
            stem: The name that is wanted, without its ending.
            suffix: The ending; "" if names must differ without their endings.
        """
        wanted = safe_name(stem, self.max_bytes) or "image"
        name, number = f"{wanted}{suffix}", 1
        while self._used.put(f"{folder}/{name.casefold()}", number) is not None:
            number += 1
            name = f"{wanted}-{number}{suffix}"
        return name
