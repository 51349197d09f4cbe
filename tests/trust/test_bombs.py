"""Images that ask for much are named in one line, and cost neither memory nor time."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from sip.core import image_io as images
from sip.core import tars
from sip.core.errors import UserError
from sip.core.image_io import Looked, look_at, opened, read_rgb
from sip.core.tars import MAX_BYTES
from sip.dataset.files import from_bytes, from_file
from sip.dataset.perceptual import read_grey
from sip.dataset.webdataset import open_member, read_groups
from tests.trust.bombs import MANY_FRAMES, TOO_LARGE, gif, long_chunk, profile_bomb

ROOT = Path(__file__).parents[2]
GIB = 2**30
# In a process of its own, whose memory is bounded: reads each file of a folder in every way.
READ_ALL = """
import resource, sys, time
from pathlib import Path
from sip.core import tars
from sip.core.image_io import look_at, read_rgb
from sip.dataset.perceptual import read_grey

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
for file in sorted(Path(sys.argv[1]).iterdir()):
    tar = Path(sys.argv[1] + ".tar")
    data = file.read_bytes()
    tar.write_bytes(tars.member(file.name, data) + tars.END)
    start = time.monotonic()
    said = []
    for place in (str(file), tars.reference(tar, 0, len(data))):
        try:
            said.append(str(read_rgb(place, 8).size))
        except ValueError as error:
            said.append(str(error).rpartition(": ")[2])
        seen = look_at(place)
        said.append(str((seen.width, seen.height)))
        read_grey(place)
    assert time.monotonic() - start < 5, file
    print(file.name, *said, sep="|")
"""


def test_no_memory_and_no_time_is_spent_on_them(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    allowed = {"frames.gif": MANY_FRAMES, "icc.png": profile_bomb(), "long.png": long_chunk()}
    for name, data in (TOO_LARGE | allowed).items():
        (folder / name).write_bytes(data)
    command = [sys.executable, "-c", READ_ALL, str(folder), str(GIB)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = dict(line.split("|", 1) for line in done.stdout.splitlines())
    assert done.stderr == ""  # nor a warning of Pillow's
    for name in TOO_LARGE:
        first, size, *in_tar = lines[name].split("|")
        assert "px is more than" in first or "exceeds limit" in first, lines[name]
        assert size == "(0, 0)" and in_tar == [first, size]
    assert lines["frames.gif"] == "|".join(["(8, 8)", "(1, 1)"] * 2)
    assert len(lines) == len(TOO_LARGE) + len(allowed) and "MemoryError" not in done.stdout


def test_an_animations_first_frame_is_read_in_no_time(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(MANY_FRAMES)
    start = time.monotonic()
    assert read_rgb(tmp_path / "a.gif", None).getpixel((0, 0)) in ((255, 0, 0), (0, 0, 255))
    assert time.monotonic() - start < 0.5 and len(MANY_FRAMES) > 2_000_000
    assert look_at(gif(2)) == Looked(1, 1, None)


@pytest.mark.parametrize("name", ["square.png", "just.png"])
def test_every_reader_of_data_sets_names_them(tmp_path: Path, name: str) -> None:
    data = TOO_LARGE[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "a.tar").write_bytes(tars.member("x.png", data) + tars.END)
    (group,) = read_groups(tmp_path / "a.tar", "a", {})
    found = [from_file(tmp_path / name), from_bytes(tmp_path, data), open_member(group.image)]
    assert [(one.width, one.height) for one in found] == [(0, 0)] * 3
    assert len({one.sha256 for one in found}) == 1
    assert read_grey(str(tmp_path / name)) is None
    assert all("px is more than" in one.error or "exceeds limit" in one.error for one in found)


def test_the_number_of_pixels_that_is_allowed_is_read(tmp_path: Path) -> None:
    """16-bit grey took 24 bytes a pixel once."""
    wide = np.zeros((3000, 4000), np.uint16)
    wide[:, 1000:] = 65535
    Image.fromarray(wide).save(tmp_path / "a.png")
    image = read_rgb(tmp_path / "a.png", None)
    assert image.size == (4000, 3000)
    assert image.getpixel((999, 9)) == (0, 0, 0) and image.getpixel((1000, 9)) == (255,) * 3


def test_narrowing_equals_the_formula() -> None:
    values = np.arange(2**16, dtype=np.int32).reshape(2, -1)
    expected = (values.astype(np.int64) * 255 + 32767) // 65535
    assert np.array_equal(images._narrow(values), expected)


def test_files_that_never_end_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for place in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(ValueError, match="it is not a regular file"):
            read_rgb(place, None)
        with pytest.raises(UserError, match="which the data set lists: it is not a regular file"):
            from_file(place)
    huge = tmp_path / "huge.png"
    huge.write_bytes(b"\x89PNG\r\n\x1a\n")
    os.truncate(huge, MAX_BYTES + 1)  # a hole: takes no space
    with pytest.raises(ValueError, match=f"{MAX_BYTES + 1} bytes is more than {MAX_BYTES} bytes"):
        read_rgb(huge, None)
    with pytest.raises(ValueError, match=f"{MAX_BYTES + 1} bytes is more than {MAX_BYTES} bytes"):
        tars.read_bytes(huge)
    huge.rename(tmp_path / "huge.tar")
    with pytest.raises(ValueError, match=f"{MAX_BYTES + 1} bytes is more than"):
        read_rgb(f"{tmp_path}/huge.tar::0:{MAX_BYTES + 1}", None)


def test_a_tar_file_says_how_long_a_member_is_and_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tars.member("a.png", b"123") + tars.END)
    with pytest.raises(ValueError, match="should hold 1000000000000 bytes at 512, holds 1536"):
        tars.read_bytes(f"{tmp_path}/a.tar::512:{10**12}")
    with pytest.raises(ValueError, match="holds 0"):
        tars.read_bytes(f"{tmp_path}/a.tar::{10**30}:5")


def test_formats_that_start_programs_are_not_decoded(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "EPS")
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "EPS"  # Pillow itself would ask Ghostscript
    with pytest.raises(ValueError, match="cannot identify image file"):
        read_rgb(tmp_path / "a.jpg", None)
    assert look_at(stream.getvalue()) == Looked(0, 0, "cannot identify image file")
    assert read_grey(str(tmp_path / "a.jpg")) is None


@pytest.mark.parametrize(
    "image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "MPO"]
)
def test_all_usual_formats_are(tmp_path: Path, image_format: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (6, 4), (9, 99, 199)).save(stream, image_format)
    with opened(stream.getvalue()) as image:
        assert image.size == (6, 4)
    (tmp_path / "a").write_bytes(stream.getvalue())
    assert read_rgb(tmp_path / "a", None).size == (6, 4)
    assert look_at(tmp_path / "a") == Looked(6, 4, None)


def damaged(rng: Random, data: bytes) -> bytes:
    """Return data with some bytes changed, cut out or repeated, mostly in its header."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        start = rng.randrange(min(len(made), rng.choice((64, len(made)))))
        value = rng.choice(
            (b"", rng.randbytes(1), b"\xff\xff\xff\xff", made[start : start + 9] * 9)
        )
        made[start : start + rng.randrange(1, 9)] = value
    return bytes(made)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000"])
def test_damaged_images_are_read_or_refused_in_one_line(tmp_path: Path, image_format: str) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    Image.fromarray(noise).save(stream, image_format)
    for number in range(60):
        data = damaged(Random(number), stream.getvalue())
        (tmp_path / "a").write_bytes(data)
        seen = look_at(data)
        read_grey(str(tmp_path / "a"))
        try:
            assert read_rgb(tmp_path / "a", 8).mode == "RGB"
            assert seen.error is None
        except ValueError as error:
            assert seen.error is not None
            assert "\n" not in str(error) and "readable" in str(error)
