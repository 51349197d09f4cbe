"""Proof that the nets hold: each mutation takes one value out of a recipe, and is caught."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The values whose loss no test noticed once, except the last two.
MUTATIONS = (
    ("augmentation/sample/gridmask.py", "max_angle"),
    ("augmentation/mix/moex.py", "epsilon"),
    ("captions/vision_language.py", "min_tokens"),
    ("captions/vision_language.py", "num_captions"),
    ("prompts/guidance/quadratic.py", "c"),
    ("filter/base.py", "template"),
    ("dataset/webdataset.py", "split_seed"),
    ("backbone/timm.py", "drop_path"),
    ("images/settings.py", "vae_tiling"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "field"), MUTATIONS, ids=lambda value: value)
def test_a_value_that_leaves_the_recipe_is_noticed(file: str, field: str, tmp_path: Path) -> None:
    for folder in ("sip", "conf", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    path = tmp_path / "sip" / file
    declared = re.compile(rf"^(    {field}: .+?)( *#.*)?$", re.MULTILINE)
    text, num = declared.subn(r"\1 = ignored()", path.read_text())
    assert num == 1, f"{file} has no field {field} to take out"
    first = text.index("from sip.")
    path.write_text(f"{text[:first]}from sip.core.component import ignored\n{text[first:]}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "tests/architecture/test_recipes.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "AssertionError" in done.stdout, done.stdout[-2000:]
