"""What the arms generate: the stages that an offline choice names, and what overrides it."""

from functools import cache
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sip.config.build import build
from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.stages import StageLog
from sip.jobs.generate import Generation
from sip.jobs.train_job import TrainJob
from sip.pipeline.backoff import settle
from sip.pipeline.offline import Offline
from sip.records.summary import arm
from tests.composing import composed

CONF = Path(__file__).parents[2] / "conf"
# What an arm generates with: captions, prompts, images.
CHOSEN = {
    "sip": ("blip", "label_caption", "img2img"),
    "sip_adaptive": ("blip", "sip_adaptive", "img2img"),
    "sip_label": ("blip", "label", "img2img"),
    "sip_caption": ("blip", "caption", "img2img"),
    "txt2img": ("blip", "label_caption", "txt2img"),
    "real_guidance": ("blip", "real_guidance", "img2img"),
    "diffusemix_like": ("blip", "diffusemix_like", "diffusemix_like"),
    "gif_like": ("blip", "gif_like", "img2img"),
    "dalda_like": ("class_name", "dalda_like", "img2img"),
    "alia_like": ("blip", "alia_like", "img2img"),
    "retrieved": ("blip", "empty", "retrieved"),
    "diff_mix_like": ("blip", "diff_mix_like", "img2img"),
    "da_fusion_like": ("blip", "da_fusion_like", "img2img"),
    "datadream_like": ("blip", "datadream_like", "txt2img"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arms")


def configuration(*overrides: str) -> DictConfig:
    return composed(*overrides, hydra=True)


@cache
def offline(*overrides: str) -> Offline:
    return Offline(configuration(*overrides))


def made_by(*overrides: str) -> str:
    return digest(offline(*overrides).recipe())


@pytest.mark.parametrize("name", CHOSEN)
def test_an_arm_chooses_its_stages_in_any_combination(name: str) -> None:
    sample = "augmentation/sample=randaugment"
    chosen = configuration("augmentation=combo", f"augmentation/offline={name}", sample)
    stages = chosen.hydra.runtime.choices
    assert tuple(stages[stage] for stage in ("captions", "prompts", "images")) == CHOSEN[name]
    assert stages["augmentation/sample"] == "randaugment"


def test_all_arms_generate_something_else() -> None:
    assert len({made_by(f"augmentation={name}") for name in CHOSEN}) == len(CHOSEN)


def test_combinations_generate_what_their_arm_generates() -> None:
    place = "augmentation/offline=alia_like"
    assert made_by("augmentation=combo", place) == made_by("augmentation=alia_like")
    assert made_by("prompts=real_guidance") == made_by("augmentation=real_guidance")
    assert made_by("+exp=real_guidance") == made_by("augmentation=real_guidance")
    assert made_by("augmentation=sip", "prompts=label") == made_by("augmentation=sip_label")


@pytest.mark.parametrize("name", CHOSEN)
def test_the_command_line_wins(name: str) -> None:
    rates = {"sip_adaptive": "prompts.ladder=[0.7]"}
    rates |= dict.fromkeys(("diff_mix_like", "da_fusion_like"), "prompts.rates=[0.7]")
    rate = rates.get(name, "prompts.noise_rate=0.7")
    own = (rate, "images=sd15", "captions=blip_beam")
    chosen = configuration(*own, f"augmentation={name}")
    stages = chosen.hydra.runtime.choices
    assert (stages["images"], stages["captions"]) == ("sd15", "blip_beam")
    assert chosen.images.model.startswith("stable-diffusion-v1-5/")
    assert build(chosen.prompts).recipe()["noise_rate"] == 0.7


def test_other_prompts_win_over_an_arms_own() -> None:
    own = ("prompts=caption", "captions=blip", "augmentation=dalda_like")
    assert made_by(*own) == made_by("augmentation=sip_caption")


@pytest.mark.parametrize("name", ["alia_like", "dalda_like", "real_guidance", "diff_mix_like"])
def test_arms_share_the_stage_of_their_images(name: str) -> None:
    ours, sips = offline(f"augmentation={name}"), offline("augmentation=sip")
    assert ours.stage("images").folder == sips.stage("images").folder


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["augmentation=diffusemix_like"], "diffusemix_like"),
        (["augmentation=sip_label"], "sip_label"),
        (
            [
                "augmentation=combo",
                "augmentation/offline=diffusemix_like",
                "augmentation/sample=randaugment",
                "augmentation/mix=cutmix",
            ],
            "diffusemix_like_randaugment_cutmix",
        ),
        (["+exp=real_guidance"], "real_guidance"),
        (["augmentation=sip", "filter=duplicate"], "sip_duplicate"),
        (["augmentation=none", "filter=duplicate"], "none"),
        (["augmentation=datadream_like", "filter=similarity"], "datadream_like_similarity"),
        *(
            (["augmentation=combo", f"augmentation/offline={name}"], name)
            for name in sorted(file.stem for file in (CONF / "augmentation/offline").glob("*.yaml"))
        ),
    ],
)
def test_runs_are_named_by_their_places(overrides: list[str], expected: str) -> None:
    HydraConfig.instance().set_config(configuration(*overrides))
    try:
        assert arm() == expected
    finally:
        HydraConfig.instance().cfg = None


@pytest.mark.parametrize("name", ["diffusemix_like", "alia_like"])
def test_training_finds_what_the_generation_made(name: str, folder: Path) -> None:
    overrides = [f"augmentation={name}", "dataset.shots=1", "images.num_steps=4"]
    overrides += ["runtime.num_threads=1", "runtime.batch_size.images=5"]
    config = composed(*overrides, folder=folder)
    Generation(config).run()
    run, stages = TrainJob(config), StageLog()
    assert run.offline is not None
    prompts, captions = run.offline.prompts(run.dataset.samples("train"), stages)
    settled = settle(run.offline, prompts, run.dataset.class_names, stages)
    images = list(settled.images(run.offline, captions))
    assert len(images) == 10
    (row,) = (row for row in stages.rows if row["stage"] == "images")
    assert (row["cached"], row["computed"]) == (10, 0)


def test_images_of_two_classes_are_made_from_originals_and_not_balanced() -> None:
    to_show = "images: must be made from their originals, by a noise rate, to show another class"
    for override, said in (
        ("images=txt2img", to_show),
        ("images=edit", to_show),
        ("images.balance=true", "images.balance: must be false as images show other classes"),
    ):
        with pytest.raises(UserError, match=said):
            offline("augmentation=diff_mix_like", override).check()


def test_a_ladder_needs_a_generator_that_reads_the_noise_rate() -> None:
    for overrides in (["images=edit"], ["images=sd15_canny", "images.from_noise=true"]):
        with pytest.raises(UserError, match="images: must be made from .* for a ladder of rates"):
            offline("augmentation=sip_adaptive", *overrides).check()


def test_of_a_table_the_rows_are_the_candidates_of_a_filter(tmp_path: Path) -> None:
    chosen = ("augmentation=sip", "filter=guided", "filter.num=3")
    with pytest.raises(UserError, match="filter.num: must be at most images.per_sample=1"):
        offline(*chosen).missing_weights()
    (tmp_path / "p.csv").write_text("sample_id,prompt\na,a nine\n")
    own = ("prompts=table", f"prompts.file={tmp_path}/p.csv")
    assert not offline(*chosen, *own).missing_weights()


def test_few_steps_do_not_fit_the_lowest_noise_rate() -> None:
    with pytest.raises(UserError, match=r"prompts.noise_rate: must be in \[0.25, 1\], .* got 0.1"):
        offline("augmentation=dalda_like", "images.num_steps=4").require()
