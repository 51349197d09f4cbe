"""The table of `sip.adapt`'s settings agrees with the YAMLs of the methods."""

import re

import yaml

from tests.composing import composed
from tests.docs.pages import ROOT

METHODS = ("dreambooth_lora", "lora", "textual_inversion")
ELSEWHERE = {"_target_", "targets", "templates", "prior_template", "flip_prob"}  # in the text


def test_each_setting_is_listed_with_its_default() -> None:
    page = (ROOT / "docs" / "adapt.md").read_text()
    section = page.partition("## Settings")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    for method in METHODS:
        values = composed(f"method={method}", name="adapt").method
        assert set(values) - ELSEWHERE <= set(rows)
        for name in set(rows) & set(values):
            shown, _, own = rows[name].partition(f"; `{method}`: ")
            shown = yaml.safe_load(own or shown.partition(";")[0])
            assert values[name] == (values.rank if shown == "rank" else shown), (method, name)
    most = composed("method=dreambooth_lora", name="adapt").method
    assert set(rows) == set(most) - ELSEWHERE
