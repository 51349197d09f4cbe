"""What a weight file holds if it is not whole: a pointer, a web page, a part of a download.

The libraries say of these that a header is too large, or that a pickle asks for something. They are
named here instead, from their first bytes, with what gets the file.
"""

import re
import shlex
import zipfile
import zlib
from pathlib import Path

from sip.core.errors import DamagedError, UserError
from sip.core.text import reason_of

LFS = b"version https://git-lfs.github.com/spec/"
LFS_SIZE = re.compile(rb"^size (\d+)$", re.MULTILINE)
PAGE = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)
ZIP = b"PK"
NUM_FIRST = 1024  # bytes that are looked at
CHUNK = 2**20  # bytes


def check_content(file: Path) -> None:
    """Refuse a file that holds something else than its name says: nothing, a pointer, a web page.

    Raises:
        UserError: It does; says what, and how to get the file.
    """
    try:
        with file.open("rb") as stream:
            first = stream.read(NUM_FIRST)
    except OSError as error:
        raise UserError(f"weights {file}: must be readable, got {reason_of(error)}") from None
    if not first:
        raise UserError(f"weights {file}: must be whole, got an empty file; {how_to_replace(file)}")
    if first.startswith(LFS):
        size = LFS_SIZE.search(first)
        of = f" to {int(size[1]):,} bytes" if size else ""
        folder, name = shlex.quote(str(file.parent)), shlex.quote(file.name)
        raise UserError(
            f"weights {file}: must be the file itself, got a Git LFS pointer{of}, as a clone "
            f"without git-lfs has it; git lfs install && git -C {folder} lfs pull --include {name}"
        )
    if PAGE.match(first):
        raise UserError(
            f"weights {file}: must be the file itself, got an HTML page, as a download "
            f"has it that met an error or a login; {how_to_replace(file)}"
        )


def check_zip(file: Path) -> None:
    """Compare the checksums that a pickle of torch's ZIP format holds; torch itself does not.

    The older format holds none, nor do files that were written with
    `torch.serialization.set_crc32_options(False)`.

    Raises:
        DamagedError: The file is cut off, or a part of it is not what was written.
    """
    with file.open("rb") as stream:
        if stream.read(len(ZIP)) != ZIP:
            return
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.CRC:
                    with archive.open(member) as content:
                        while content.read(CHUNK):
                            pass
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, zlib.error) as error:
        is_cut = not zipfile.is_zipfile(file)
        what = "a file whose end is missing" if is_cut else f"damaged bytes ({reason_of(error)})"
        raise DamagedError(
            f"weights {file}: must be whole, got {what}; {how_to_replace(file)}"
        ) from None


def how_to_replace(file: Path) -> str:
    """Return what to do with a damaged file."""
    blob = file.resolve()
    if blob.parent.name == "blobs":  # in the hub's cache
        return f"delete {blob}, and start again: it is downloaded again"
    return "download or copy it again"
