"""The package's weights are what was released; changed ones are refused before any work."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sip.core.errors import DamagedError
from sip.weights import checksums, source


def test_the_committed_list_is_that_of_the_files() -> None:
    text = (checksums.PACKAGED / checksums.NAME).read_text()
    assert text == checksums.checksums(checksums.PACKAGED)
    assert text.count(".safetensors\n") == 7
    checked = ["sha256sum", "--check", "--quiet", checksums.NAME]
    assert subprocess.run(checked, cwd=checksums.PACKAGED, check=False).returncode == 0


def test_a_changed_file_of_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "miniature"
    shutil.copytree(checksums.PACKAGED, home)
    monkeypatch.setattr(checksums, "PACKAGED", home)
    source.require(str(home / "vit"), None)
    config = home / "vit" / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(DamagedError, match=r"vit/config\.json is damaged or was changed; install"):
        source.require(str(home / "vit"), None)
    source.require(str(home / "scorer"), None)  # the others are sound


def test_a_folder_of_ones_own_may_hold_anything(tmp_path: Path) -> None:
    shutil.copytree(checksums.PACKAGED / "vit", tmp_path / "vit")
    (tmp_path / "vit" / "config.json").write_text("{}")
    source.require(str(tmp_path / "vit"), None)
    checksums.check_hub(tmp_path / "vit")
