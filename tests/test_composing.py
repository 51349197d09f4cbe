"""The tests' own compositions are those of Hydra."""

import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.composing import CONF, composed, initialized

PLAIN = """
import sys
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

with initialize_config_dir(sys.argv[1], version_base="1.3"):
    for line in sys.argv[2:]:
        config = compose("config", line.split(), return_hydra_config=True)
        print(OmegaConf.to_yaml(config))
"""
LINES = [
    "seed=1",
    "+exp=vit_sip profile=paper",
    "augmentation=combo augmentation/offline=dalda_like metrics=[]",
    "+sweep=arms",
]


def test_values_are_set_as_by_hydra() -> None:
    overrides = [
        "+exp=vit_sip",
        "prompts/guidance=constant",
        "~experiment",
        "prompts.noise_rate=0.25",
    ]
    overrides += ["++runtime.new={a: [1, null]}", "images.num_steps=${prompts.noise_rate}"]
    with initialized():
        expected = compose("config", overrides)
    assert composed(*overrides) == expected


def test_a_composition_is_nobody_elses(tmp_path: Path) -> None:
    first = composed("dataset.shots=1", folder=tmp_path)
    first.dataset.seed = 99
    second = composed("dataset.shots=2", "paths.runs=other", folder=tmp_path)
    assert (first.dataset.shots, second.dataset.shots) == (1, 2)
    assert second.dataset.seed != 99
    assert (second.paths.store, second.paths.runs) == (f"{tmp_path}/store", "other")


def test_hydra_is_faster_and_composes_the_same() -> None:
    command = [sys.executable, "-c", PLAIN, str(CONF), *LINES]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    for _ in range(2):  # the second time from what was kept
        with initialized():
            ours = [compose("config", line.split(), return_hydra_config=True) for line in LINES]
        assert "".join(f"{OmegaConf.to_yaml(config)}\n" for config in ours) == plain.stdout


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "main.yaml"
    for number in range(3):
        file.write_text(f"number: {number}\n")
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            assert compose("main").number == number
