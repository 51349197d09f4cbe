"""The speed of training: what is timed is the same work, and the report says what was timed."""

from collections.abc import Iterator
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from PIL import Image

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.none import NoMix
from sip.augmentation.offline.generated import GeneratedMode
from sip.augmentation.sample.none import AsIs
from sip.backbone.timm import Timm
from sip.benchmark import training, training_loops
from sip.benchmark.report import Turn
from sip.benchmark.training_files import SIZE, drawn_beside, photographs
from sip.benchmark.training_loops import Case, Clock
from sip.benchmark.training_report import Row, lines
from sip.config.cli import conf_folder
from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from tests.classifier.recipes import recipe

QUICK = [
    "runtime.device=cpu",
    "repeats=1",
    "training.num_files=4",
    "training.batch_size=2",
    "training.steps=1",
    "profile.backbone.resnet50.name=test_resnet",
    "profile.backbone.resnet50.stem=null",
]
CPU = torch.device("cpu")


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Compose the benchmark's configuration for tiny models, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "SIZE", 32)
    monkeypatch.setattr(training, "NAMES", {"resnet50": "test_resnet", "vit_small": "test_vit"})
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield lambda *overrides: hydra.compose("benchmark", [*QUICK, *overrides])


def case(rows, drawn, size: int = 32, steps: int = 3) -> Case:
    backbone = Timm("test_resnet", None, None, None, None, 0.0, size, None, None)
    values = recipe(
        optimizer="sgd", lr=0.1, steps=steps, batch_size=2, warmup_steps=1, val_every=steps
    )
    return Case("a model", backbone, values, 10, rows, drawn, CPU)


def test_the_command_measures_models_and_arms(compose, tmp_path: Path, capsys) -> None:
    fewer = ["training.memory_gib=[auto]", "~training.arms.none", "~training.arms.cutmix"]
    changes = ["output=speed.md", "training.models=[vit_small,embedded]"]
    training.run(compose(*changes, *fewer))
    text = Path("speed.md").read_text()
    assert text in capsys.readouterr().out
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert (
        len(titles) == 2 and titles[1] == "## profile embedded: test_resnet, 32 px, its own files"
    )
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if " | kept | " in line]
    assert [row[0] for row in rows] == ["randaugment", "sip_cutmix"] * 2
    for row in rows:
        bound, ours, timm, to_bound, to_timm = (float(cell.split()[0]) for cell in row[3:])
        assert to_bound == pytest.approx(ours / bound, rel=0.02)
        assert to_timm == pytest.approx(ours / timm, rel=0.02)
    assert [path.name for path in tmp_path.iterdir()] == ["speed.md"]


def test_pictures_that_are_not_kept_are_read_by_workers(compose, capsys) -> None:
    changes = ["training.memory_gib=[0]", "training.models=[resnet50]", "runtime.loader_workers=1"]
    arms = ["~training.arms.cutmix", "~training.arms.sip_cutmix", "~training.arms.none"]
    training.run(compose(*changes, *arms))
    assert "| randaugment | read at each use | 1 |" in capsys.readouterr().out


def test_the_files_are_photographs_and_drawn_ones_have_originals(tmp_path: Path) -> None:
    rows = photographs(tmp_path / "a", 4)
    drawn = drawn_beside(rows, tmp_path / "b")
    pixels = [np.array(Image.open(row.path)) for row in [*rows, *drawn]]
    assert {array.shape for array in pixels} == {(SIZE[1], SIZE[0], 3)}
    assert len({array.tobytes() for array in pixels}) == 8
    assert all(array.std() > 20 for array in pixels)
    assert [row.source for row in drawn] == [row.sample_id for row in rows]
    assert photographs(tmp_path / "c", 2)[1].label == 1


def test_timm_reads_the_same_pictures(tmp_path: Path, monkeypatch) -> None:
    rows = photographs(tmp_path / "a", 2)
    drawn = drawn_beside(rows, tmp_path / "b")
    arm = Augmentation(GeneratedMode("concat", 0.5, 0.5, None), AsIs(), NoMix())
    one = case(rows, drawn, size=64, steps=2)
    seen: list[torch.Tensor] = []

    def keep(case, module, batches) -> Turn:
        seen.extend(pictures for _, (pictures, _) in zip(range(2), batches, strict=False))
        return Turn(1, 1.0, 1.0)

    monkeypatch.setattr(training_loops, "_loop", keep)
    training_loops.timms(one, arm, 0)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in one.backbone.normalisation)
    shown = [(picture * std + mean) * 255 for picture in torch.cat(seen)]
    nearest = []
    for row in [*rows, *drawn]:
        ours = torch.from_numpy(np.array(read_rgb(row.path, 64))).permute(2, 0, 1)
        errors = [float((picture - ours).abs().mean()) for picture in shown]
        assert min(errors) < 2  # of 255: its crop is half a pixel off
        nearest.append(int(np.argmin(errors)))
    assert sorted(nearest) == [0, 1, 2, 3]


def test_the_warm_up_is_not_timed(tmp_path: Path) -> None:
    clock = Clock(case([], [], steps=4))
    for number in range(1, 5):
        clock.step(number)
    assert len(clock.marks) == 2
    turn = clock.turn()
    assert turn.images == 3 * 2 and turn.seconds >= 0


def test_ratios_are_taken_turn_by_turn(tmp_path: Path) -> None:
    row = Row(case([1], [2]), "none", 2, False)
    row.turns["bound"] = [Turn(10, 1.0, 2.0), Turn(10, 2.0, 4.0)]
    row.turns["ours"] = [Turn(10, 1.25, 2.5), Turn(10, 2.0, 4.0)]
    row.turns["timm"] = [Turn(10, 2.5, 5.0), Turn(10, 2.5, 5.0)]
    assert row.ratios("bound") == [0.8, 1.0] and row.ratios("timm") == [2.0, 1.25]
    text = "\n".join(lines([row]))
    assert "| none | read at each use | 2 | 7.500 [5.000, 10.00] | 6.500 [5.000, 8.000] " in text
    assert "| 0.900 [0.800, 1.00] | 1.62 [1.25, 2.00] |" in text
    assert "none, read: 0.3 / 0.325 / 0.5" in text


@pytest.mark.parametrize(
    "override, text",
    [
        ("repeats=0", "repeats: expected a number >= 1, came 0"),
        ("training.steps=few", "training.steps: expected a number >= 1, came 'few'"),
        ("training.batch_size=3", "training.batch_size: expected an even number"),
        ("training.models=[vgg]", "training.models: expected some of resnet50, .* came vgg"),
    ],
)
def test_wrong_settings_are_refused(compose, override, text) -> None:
    with pytest.raises(UserError, match=text):
        training.run(compose(override))
