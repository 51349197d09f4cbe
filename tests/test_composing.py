"""The tests' own compositions are those of Hydra."""

from pathlib import Path

from hydra import compose

from tests.composing import composed, initialized


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
