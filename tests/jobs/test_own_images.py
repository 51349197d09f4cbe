"""Own images in one line, as a user does it: generate from a messy folder, then export."""

import re
import shlex
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from sip.core.image_io import read_rgb
from tests.commands import run_module
from tests.dataset.trees import write_image


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Images of two classes, of which one has a single image, and much else."""
    root = tmp_path / "my images (2024)"
    for number, name in enumerate(("Über uns/1.PNG", "Über uns/in/2.png", "cat_dog/犬 3.png")):
        write_image(root / name, 40 * number, (40, 30))
    Image.new("CMYK", (40, 30), (0, 90, 200, 10)).save(root / "Über uns" / "1.jpg")
    (root / "Über uns" / "copy.PNG").write_bytes((root / "Über uns" / "1.PNG").read_bytes())
    (root / "cat_dog" / "link.png").symlink_to(root / "Über uns" / "in" / "2.png")
    (root / "Über uns" / "up").symlink_to(root)
    (root / "Thumbs.db").write_bytes(b"stray")
    (root / "cat_dog" / "notes.txt").write_text("no image")
    return root


def run(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of the form `python -m ...` in a folder."""
    assert command[:2] == ["python", "-m"]
    done = run_module(command[2], command[3:], folder.parent / "said", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_messy_folder_is_generated_from_and_exported(tmp_path: Path, own: Path) -> None:
    place = tmp_path / "anywhere"
    place.mkdir()
    quick = ["images.num_steps=4", "runtime.device=cpu", "runtime.num_threads=1"]
    everything = ["dataset.val_fraction=0", "dataset.test_fraction=0"]
    line = ["dataset=image_folder", f"dataset.root='{own}'", *everything, *quick]
    done = run(place, ["python", "-m", "sip.generate", *line])
    said = done.stderr.splitlines()
    assert any(text.startswith("models       the miniature ones know only digits") for text in said)
    assert "dataset      passed over 1 file without the name of an image: cat_dog/notes.txt" in said
    copies = "dataset      copies within train: 2 of 6 images ("
    assert any(copies in text for text in said)
    assert any(text.startswith("prompts      such as 'a photo of a ") for text in said)
    assert any(text.startswith("plan ") and " to generate, 0 cached; " in text for text in said)
    assert re.search(r"images +\d images of 6 originals: \d generated now, 0 cached", done.stdout)
    (command,) = [text for text in done.stdout.splitlines() if "sip.export" in text]
    words = shlex.split(command.partition("as a data set")[2])
    exported = run(place, [word.replace("FOLDER", "generated") for word in words])
    assert exported.stdout.startswith("generated: 6 images as image_folder")
    table = pd.read_csv(place / "generated" / "metadata.csv")
    assert table.class_name.value_counts().to_dict() == {"Über uns": 4, "cat dog": 2}
    assert sorted(table.sample_id) == sorted(
        [
            *("Über uns/1.PNG", "Über uns/1.jpg", "Über uns/copy.PNG", "Über uns/in/2.png"),
            *("cat_dog/link.png", "cat_dog/犬 3.png"),
        ]
    )
    for name in table.file_name:
        assert read_rgb(place / "generated" / name, None).size == (32, 32)
