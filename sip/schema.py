"""JSON Schemas of the configuration for editors: `python -m sip.schema output=<folder>`."""

from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Write a schema for each group, and the settings that show them to an editor."""
    import json
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    from sip.config.schema import Schemas
    from sip.core.errors import UserError
    from sip.core.files import check_can_be_made, write_atomically
    from sip.core.text import counted
    from sip.device.settings import Devices, Runtime

    if config.output in (None, ""):
        raise UserError("output: must be a folder, got null; say output=schema")
    check_can_be_made(Path(config.output), "output")
    sources = HydraConfig.get().runtime.config_sources
    folders = [Path(source.path) for source in sources if source.schema == "file"]
    files = Schemas(folders, {"runtime": Runtime, "trainer": Devices}).files()
    output = Path(config.output)
    for name, schema in files.items():
        file = output / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(schema) + "\n", sync=False)
    settings = json.dumps(editor_settings(output, folders, files), indent=2)
    write_atomically(output / "vscode.json", settings + "\n", sync=False)
    print(f"{output}: {counted(len(files), 'schema')}; settings of VS Code: {output}/vscode.json")


def editor_settings(
    output: "Path", folders: "Sequence[Path]", names: "Iterable[str]"
) -> "dict[str, dict[str, list[str]]]":
    """Return the settings that lead VS Code's YAML extension from files to schemas.

    Args:
        output: Folder of the schemas, relative to that of the editor.
        folders: Folders of configurations.
        names: Groups and primary configurations that have a schema.
    """
    import os

    from sip.config.options import SHARED

    places = [os.path.relpath(folder).replace(os.sep, "/") for folder in folders]
    inside = [place for place in places if not place.startswith("..")] or ["conf"]
    files = ("{}/*.yaml", f"{{}}/{SHARED}/*.yaml", "{}.yaml")
    return {
        "yaml.schemas": {
            f"{output}/{name}.json": [
                f"{place}/{file.format(name)}" for place in inside for file in files
            ]
            for name in names
        }
    }


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="schema")


if __name__ == "__main__":
    main()
