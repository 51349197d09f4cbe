"""The JSON Schemas take every shipped YAML, and refuse wrong keys, types, ranges and choices."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sip.config.schema import Schemas
from sip.core.files import read_yaml
from sip.core.paths import conf_folder
from sip.device.settings import Devices, Runtime
from sip.schema import editor_settings

Schema = dict[str, Any]
CONF = conf_folder()
CLASSES = {"runtime": Runtime, "trainer": Devices}
IMAGES = {"defaults": ["img2img", "_self_"]}
FOLDER = {"defaults": ["image_folder", "_self_"], "root": "/my/images"}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Schema]:
    """Return those of SIP's own configurations."""
    return Schemas([CONF], CLASSES).files()


def name_of(file: Path) -> str:
    """Return the schema of a shipped file."""
    place = file.relative_to(CONF).parent.as_posix().removesuffix("/_base")
    return file.stem if place == "." else place


def fits(schemas: dict[str, Schema], name: str, values: Any) -> bool:
    """Return whether values fit a schema."""
    return Draft202012Validator(schemas[name]).is_valid(values)


def test_they_are_schemas(schemas: dict[str, Schema]) -> None:
    assert len(schemas) > 30
    shared: list[Schema] = []
    for schema in schemas.values():
        parts = list(schema.get("$defs", {}).values())
        shared += [part for part in parts if part not in shared]  # most files hold the same
        Draft202012Validator.check_schema(schema | {"$defs": {}})
    for part in shared:
        Draft202012Validator.check_schema(part)


def test_all_shipped_files_fit(schemas: dict[str, Schema]) -> None:
    files = [file for file in CONF.rglob("*.yaml") if "hydra" not in file.relative_to(CONF).parts]
    refused = [file for file in files if not fits(schemas, name_of(file), read_yaml(file))]
    assert len(files) > 250 and refused == []


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("images", IMAGES | {"num_steps": 8}, IMAGES | {"num_step": 8}),
        ("images", IMAGES | {"num_steps": "${my.steps}"}, IMAGES | {"num_steps": "many"}),
        ("images", {"guidance_interval": [0, "${x.y}"]}, {"guidance_interval": [0, 2]}),
        ("images", IMAGES, {"defaults": ["img2imgg", "_self_"]}),
        ("filter", {"_target_": "sip.filter.none.KeepAll"}, {"_target_": "sip.filter.none.Keep"}),
        ("dataset", FOLDER | {"prompt_names": {"n01": "dog"}}, FOLDER | {"parts": {}}),
        ("dataset", FOLDER | {"shots": None}, FOLDER | {"shots": 0}),
        ("exp", {"prompts": {"noise_rate": 0.3}}, {"prompts": {"noise_rate": 1.5}}),
        ("exp", {"prompts": {"guidance": {"scale": 3}}}, {"prompts": {"guidance": {"scal": 3}}}),
        ("runtime", {"batch_size": {"images": "auto"}}, {"batch_size": {"images": 0}}),
        ("exp", {"defaults": [{"/dataset": "dtd"}]}, {"defaults": [{"/dataset": "dt"}]}),
        ("exp", {"seed": 1, "profile": {"name": "mine"}}, {"sed": 1}),
        ("exp", {"train": {"baseline": True}}, {"train": {"baseline": "yes"}}),
        ("sweep", {"prompts.noise_rate": "0.3,0.5"}, {"prompts.noise_rat": "0.3,0.5"}),
        ("sweep", {"prompts/guidance": "none,linear"}, {"prompts/guidanc": "none,linear"}),
        ("export", {"run": "runs/a"}, {"runs": "runs/a"}),
    ],
)  # fmt: skip
def test_mistakes_are_refused(
    schemas: dict[str, Schema], name: str, right: Schema, wrong: Schema
) -> None:
    assert fits(schemas, name, right)
    assert not fits(schemas, name, wrong)


def test_texts_and_ranges_are_those_of_the_classes(schemas: dict[str, Schema]) -> None:
    kinds = schemas["prompts"]["$defs"]
    rate = kinds["sip.prompts.label_caption.LabelCaption"]["properties"]["noise_rate"]
    assert rate["description"].startswith("Share of the noise schedule")
    assert {"type": "number", "exclusiveMinimum": 0, "maximum": 1} in rate["anyOf"]
    size = schemas["exp"]["allOf"][0]["properties"]["profile"]["anyOf"][0]["properties"][
        "image_size"
    ]
    assert size["description"] == "px the classifier sees"


def test_choices_and_classes_of_ones_own_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "filter").mkdir()
    (tmp_path / "filter" / "mine.yaml").write_text("_target_: own_filter.Mine\nlimit: 3\n")
    (tmp_path / "own_filter.py").write_text(
        "class Mine:\n"
        '    """Mine.\n\n    Args:\n        limit: How many.\n    """\n\n'
        "    def __init__(self, limit): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SIP_TRUSTED", "own_filter")
    schemas = Schemas([CONF, tmp_path], CLASSES).files()
    mine = {"_target_": "own_filter.Mine", "limit": 3}
    assert fits(schemas, "filter", mine) and not fits(schemas, "filter", mine | {"limits": 3})
    assert fits(schemas, "exp", {"defaults": [{"override /filter": "mine"}]})
    limit = schemas["filter"]["$defs"]["own_filter.Mine"]["properties"]["limit"]
    assert limit["description"] == "How many."


def test_the_editors_settings_lead_from_files_to_schemas() -> None:
    settings = editor_settings(
        Path("schema"), [Path("/elsewhere/conf"), Path("my_conf")], ["dataset"]
    )
    assert settings == {
        "yaml.schemas": {
            "schema/dataset.json": [
                "my_conf/dataset/*.yaml", "my_conf/dataset/_base/*.yaml", "my_conf/dataset.yaml",
            ]
        }
    }  # fmt: skip
