"""What the tabs share: how runs are called, and how errors are shown."""

import json
import os
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from sip.core.errors import UserError
from sip.studio.parts import or_error, run_choices


def write_run(folder: Path, age: int, **changed: Any) -> None:
    folder.mkdir(parents=True)
    command = (
        "SIP_TRUSTED=mine python -m sip.generate --config-dir a=b dataset=csv paths.runs=/a "
        "prompts.noise_rate=0.2 prompts/guidance=x"
    )
    summary = {"num_generated": 3, "dataset": "csv", "fingerprint": "0123456789"}
    (folder / "summary.json").write_text(json.dumps(summary | {"command": command} | changed))
    (folder / "images.parquet").touch()
    os.utime(folder / "summary.json", (1_790_000_000 - age, 1_790_000_000 - age))


def test_runs_with_images_are_called_by_time_and_settings(tmp_path: Path) -> None:
    write_run(tmp_path / "old", 60)
    write_run(tmp_path / "new", 0, command=None)
    write_run(tmp_path / "real", 0, num_generated=0)
    write_run(tmp_path / "under_way", 0)
    (tmp_path / "under_way" / "images.parquet").unlink()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "summary.json").write_text("{")
    (new, name), (old, other) = run_choices(tmp_path)
    assert (name, other) == ("new", "old")
    assert old.endswith(" · noise_rate=0.2, prompts/guidance=x · csv · 01234")
    assert new.endswith(" · csv · 01234") and "noise" not in new


def test_an_error_is_shown_and_leaves_the_page_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def act(value: int) -> tuple[int, int]:
        if value:
            raise UserError("value: must be 0, got <1>; say 0")
        return value, value

    guarded = or_error(act, [None, None])
    assert guarded(0) == (0, 0, "")
    *others, line = guarded(1)
    assert others == [gr.skip(), gr.skip()]
    assert "sip-error" in line and "value: must be 0, got &lt;1&gt;; say 0" in line
    assert "value: must be 0, got <1>; say 0" in capsys.readouterr().err
