"""What ruff's rules `S` do not see: how models and images from elsewhere are opened."""

import ast
from functools import cache
from pathlib import Path

import sip

FILES = sorted(Path(sip.__file__).parent.rglob("*.py"))
OWN_IMAGES = {
    *("image_io.py", "artifacts.py", "formats.py", "training_files.py"),
    *("run.py", "validation.py"),  # sheets that were written just before
}


@cache
def calls() -> list[tuple[Path, str, dict[str, str]]]:
    """Return (file, dotted name, keywords) of every call in the package."""
    found = []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                given = {word.arg or "**": ast.unparse(word.value) for word in node.keywords}
                found.append((file, ast.unparse(node.func), given))
    return found


def test_models_are_read_without_running_code() -> None:
    loads = [(file, given) for file, name, given in calls() if name == "torch.load"]
    assert loads and all(given.get("weights_only") == "True" for _, given in loads)
    for file, name, given in calls():
        assert given.get("trust_remote_code", "False") == "False", file
        assert "custom_pipeline" not in given, file
        assert given.get("allow_pickle", "False") == "False", file
        assert name.rpartition(".")[2] != "instantiate", file  # sip.config.build checks targets


def test_foreign_images_are_opened_in_one_place() -> None:
    places = {file.name for file, name, _ in calls() if name == "Image.open"}
    assert places <= OWN_IMAGES
