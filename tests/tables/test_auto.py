"""Tables of any sweep without options: rows, columns and control follow from what differs."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sip.core.errors import UserError
from sip.records.varied import in_words, key_words, named, varied_keys
from sip.tables.document import Document, document
from sip.tables.formats import markdown
from sip.tables.latex import latex
from sip.tables.layout import TableLayout
from sip.tables.points import Figure
from sip.tables.query import select_runs
from tests.composing import composed
from tests.tables.made_up import write_run


def table(folder: Path, *overrides: str) -> Document:
    """Return the table of all runs in a folder."""
    shape = TableLayout.of(composed(*overrides, name="tables").table)
    return document(select_runs(folder, (), shape.where), shape)


def rows(one: Document) -> list[str]:
    return [row[0].text for row in one.grids[0].rows]


def write_sweep(folder: Path, arm: str = "sip") -> None:
    """Write noise rate x guidance rule, two seeds each; the rules have unlike settings."""
    for rate in (0.3, 0.7):
        for rule, settings in (("constant", {"scale": 7.5}), ("quadratic", {"a": 9.0, "c": 1.0})):
            for seed in range(2):
                config = {"prompts.noise_rate": rate, "prompts.guidance": settings}
                typed = (f"prompts.noise_rate={rate}", f"prompts/guidance={rule}", f"seed={seed}")
                write_run(folder, arm, seed, 0.6 + rate / 10, config=config,
                          choices={"prompts/guidance": rule}, overrides=typed)  # fmt: skip


def test_what_was_swept_is_rows_and_columns(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    made = table(tmp_path)
    assert list(made.grids[0].header) == [
        "Noise rate",
        "guidance constant 7.5",
        "guidance quadratic",
    ]
    assert made.grids[0].title == "Backbone: resnet50, columns: guidance"
    assert rows(made) == ["noise rate 0.3", "noise rate 0.7"]
    assert {one.against for one in made.compared} == {"0.3"}
    assert (
        "resnet50: compared with noise rate 0.3, the first of them, since no row is without "
        "augmentation; table.control= names another: noise rate 0.7."
    ) in made.notes


def test_what_does_not_fill_a_grid_is_in_the_rows(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    write_run(tmp_path, "none", 0)
    made = table(tmp_path)
    assert rows(made) == [
        "none",
        "sip, noise rate 0.3, guidance constant 7.5", "sip, noise rate 0.3, guidance quadratic",
        "sip, noise rate 0.7, guidance constant 7.5", "sip, noise rate 0.7, guidance quadratic",
    ]  # fmt: skip
    assert {one.against for one in made.compared} == {"none"}


def test_a_grid_with_few_runs_is_rows(tmp_path: Path) -> None:
    for rate, rule in ((0.3, "constant"), (0.5, "quadratic"), (0.7, "constant")):
        typed = (f"prompts.noise_rate={rate}", f"prompts/guidance={rule}")
        for num in (1, 2):
            config = {"prompts.noise_rate": rate, "images.per_sample": num}
            write_run(tmp_path, "sip", 0, config=config, overrides=typed,
                      choices={"prompts/guidance": rule if num == 1 else "sigmoid"})  # fmt: skip
    made = table(tmp_path)
    assert list(made.grids[0].header)[0] == "Noise rate, guidance"
    assert len(rows(made)) == 6


@pytest.mark.parametrize("preset", ["ablation", "main", "cost", "combinations"])
def test_presets_name_what_they_would_mix(tmp_path: Path, preset: str) -> None:
    write_sweep(tmp_path)
    made = table(tmp_path, f"table={preset}")
    assert len(made.fingerprints) == 8 and len({place[:2] for place in made.found}) in (2, 4)
    if preset == "ablation":
        first = "sip, prompts label_caption, images img2img, noise rate 0.3, guidance constant 7.5"
        assert rows(made)[0] == first
        note = "Rows also name prompts.noise_rate, prompts/guidance: runs of one row differ in it."
        assert note in made.notes
        raw = "sip, label_caption, img2img, 0.3, constant"
        assert {one.against for one in made.compared} == {raw}  # SIP as it is
        assert any(
            f"compared with {first}, the first of them, since 4 rows" in n for n in made.notes
        )


def test_arms_by_data_sets(tmp_path: Path) -> None:
    for dataset in ("digits", "dtd"):
        for arm in ("none", "sip", "cutmix"):
            write_run(tmp_path, arm, 0, dataset=dataset)
    made = table(tmp_path)
    assert list(made.grids[0].header) == ["Augmentation", "digits", "dtd"]
    assert rows(made) == ["none", "cutmix", "sip"]


def test_stated_rows_get_the_rest_as_columns(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    made = table(tmp_path, "table.rows=prompts/guidance")
    assert list(made.grids[0].header) == ["Guidance", "noise rate 0.3", "noise rate 0.7"]
    assert rows(made) == ["guidance constant 7.5", "guidance quadratic"]


def test_cells_that_no_command_can_fill_are_no_gaps(tmp_path: Path) -> None:
    for rate in (0.3, 0.7):
        for arm in ("sip", "sip_cutmix"):
            if (rate, arm) != (0.7, "sip_cutmix"):
                typed = (f"augmentation={arm}", f"prompts.noise_rate={rate}")
                config = {"prompts.noise_rate": rate}
                write_run(tmp_path, arm, 0, config=config, overrides=typed)
    write_run(tmp_path, "none", 0, overrides=("augmentation=none",))
    made = table(tmp_path, "table.columns=prompts.noise_rate")
    values = {row[0].text: [text.text for text in row[1:]] for row in made.grids[0].rows}
    assert values["none"] == ["n/a", "n/a", "70.00 (1)"]
    assert values["sip"][2] == "n/a" and values["sip_cutmix"][1:] == ["missing", "n/a"]
    ((name, command),) = made.commands
    assert name == "resnet50 × sip_cutmix × noise rate 0.7: missing"
    assert "augmentation=sip_cutmix" in command and "prompts.noise_rate=0.7" in command
    assert any(note.startswith("n/a: no run can be there") for note in made.notes)


def test_what_the_configuration_refuses_is_no_gap(tmp_path: Path) -> None:
    for rule, scale in (("constant", 3.0), ("constant", 5.0), ("quadratic", None)):
        scales = {"prompts.guidance.scale": scale} if scale else {}
        typed = (f"prompts/guidance={rule}", *(f"{key}={value}" for key, value in scales.items()))
        write_run(tmp_path, "sip", 0, config=scales, choices={"prompts/guidance": rule},
                  overrides=("augmentation=sip", *typed))  # fmt: skip
    shape = ["table.rows=prompts/guidance", "table.columns=prompts.guidance.scale"]
    assert table(tmp_path, *shape).commands == []
    strange = ("+exp=of_my_own",)  # cannot be composed here, so nothing is known of it
    for run in tmp_path.glob("*/summary.json"):
        values = json.loads(run.read_text())
        run.write_text(json.dumps(values | {"overrides": [*strange, *values["overrides"]]}))
    commands = table(tmp_path, *shape).commands  # of three cells, two make a sweep
    assert sorted(name.count("missing") for name, _ in commands) == [1, 2]


def test_the_control_is_the_same_in_all_columns(tmp_path: Path) -> None:
    for dataset in ("digits", "dtd"):
        for arm in ("cutmix", "sip", *(["none"] if dataset == "digits" else [])):
            write_run(tmp_path, arm, 0, dataset=dataset)
    made = table(tmp_path)
    assert {(one.column, one.against) for one in made.compared} == {("digits", "none")}


def test_a_setting_has_one_name() -> None:
    config = {"prompts": {"guidance": {"_target_": "a", "scale": 5.0}}}
    values = {"prompts.guidance.scale": 5.0, "prompts/guidance": "constant_3", "backbone": "vit"}
    assert in_words(values, config) == ["guidance constant 5", "vit"]
    assert in_words(values, {}) == ["guidance scale 5", "guidance constant_3", "vit"]
    assert in_words({"prompts/guidance": "none", "seed": None}, config) == ["guidance none"]
    words = {"prompts.noise_rate": "noise rate", "profile.diffusion.model": "diffusion model"}
    words |= {"captions.sampling": "sampling", "backbone.name": "backbone name"}
    words |= {"augmentation.sample.arguments.num_ops": "num ops"}
    assert {key: key_words(key) for key in words} == words


def test_seeds_are_one_row(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "sip", seed, config={"captions.seed": seed, "paths.runs": f"r{seed}"})
    made = table(tmp_path)
    assert rows(made) == ["sip"] and not made.compared
    assert not any("Nothing is compared" in note for note in made.notes)


def test_settings_that_follow_from_others_are_not_named(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    runs = select_runs(tmp_path)
    keys = varied_keys(runs)
    assert keys == ["prompts.noise_rate", "prompts/guidance"]
    names = sorted({named(run, keys) for run in runs})
    assert names[0] == "noise rate 0.3, guidance constant 7.5"
    assert names[1] == "noise rate 0.3, guidance quadratic"
    assert varied_keys(runs, first=["prompts/guidance"])[0] == "prompts/guidance"
    assert varied_keys(runs, given=keys) == []


def test_what_nobody_typed_counts_only_if_it_tells_runs_apart(tmp_path: Path) -> None:
    for seed, commit in enumerate(("aaa", "bbb")):  # the second seed by a newer version
        config = {"dataset.broken": "refuse"} if seed else {}
        write_run(tmp_path, "sip", seed, config=config, commit=commit, overrides=())
    assert varied_keys(select_runs(tmp_path)) == []
    write_run(tmp_path, "sip", 0, ids="b", commit="ccc", overrides=())
    assert varied_keys(select_runs(tmp_path)) == ["commit"]
    write_run(tmp_path, "sip", 0, config={"images.num_steps": 9}, commit="ccc", overrides=())
    assert "images.num_steps" in varied_keys(select_runs(tmp_path))


def test_what_goes_with_the_seed_is_no_row(tmp_path: Path) -> None:
    key = "dataset.split_seed"
    for seed in range(3):
        for arm in ("none", "sip"):
            own = {key: seed, **({"images.lora": f"a{seed}"} if arm == "sip" else {})}
            typed = [
                f"{name}={str(value).replace(str(seed), '${seed}')}" for name, value in own.items()
            ]
            write_run(tmp_path, arm, seed, ids=f"t{seed}", config=own,
                      overrides=(f"augmentation={arm}", *typed))  # fmt: skip
    made = table(tmp_path)
    assert rows(made) == ["none", "sip"] and made.compared[0].difference.estimate.num == 3
    for seed in (0, 1):  # of one split, whatever the seed
        write_run(tmp_path, "cutmix", seed, ids="t0", config={key: 0}, overrides=(f"{key}=0",))
    assert varied_keys(select_runs(tmp_path)) == ["augmentation", key]


def test_diverged_and_damaged_runs_are_left_out_and_noted(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "none", seed, 0.7)
    metrics = {"test/top1": float("nan")}
    folder = write_run(tmp_path, "sip", 0, metrics=metrics)
    write_run(tmp_path, "sip", 1, 0.9)
    made = table(tmp_path)
    (note,) = [note for note in made.notes if note.startswith("Diverged")]
    assert folder.name in note and "1 run" in note
    assert dict(made.found["resnet50", "sip", ""].values) == {1: pytest.approx(90)}
    alone = table(tmp_path, "+table.where.augmentation=sip", "+table.where.seed=0")
    assert not alone.grids and "0 runs: there is nothing to show." in alone.notes
    assert "commit" not in markdown(alone) and "Diverged" in latex(alone) + markdown(alone)
    (folder / "summary.json").write_text('{"kind": "train", "seed": [1]}')
    damaged: list[str] = []
    assert len(select_runs(tmp_path, damaged=damaged)) == 4
    assert len(damaged) == 1 and str(folder) in damaged[0] and "\n" not in damaged[0]


def test_a_table_of_ones_own_states_only_what_differs(tmp_path: Path) -> None:
    write_run(tmp_path, "none", 0)
    write_run(tmp_path, "sip", 0)
    claim = {"claim": "SIP > none", "arm": "sip", "against": "none"}
    own = TableLayout.of(OmegaConf.create({"family": [claim]}))
    assert [one.arm for one in document(select_runs(tmp_path), own).claims] == ["sip"]
    with pytest.raises(UserError, match="^table.famly: no such key; did you mean family"):
        TableLayout.of(OmegaConf.create({"famly": [claim]}))
    figure = Figure.of(OmegaConf.create({"kind": "points", "x": "dataset.shots"}))
    assert (figure.x, figure.y) == ("dataset.shots", "test/top1")


def test_lists_tell_runs_apart_as_they_are_typed(tmp_path: Path) -> None:
    key = "classifier.schedule.milestones"
    for values, text in (([0.5], "[0.5]"), ([0.5, 0.75], "[0.5,0.75]")):
        config, accuracy = {key: values}, 0.5 + len(values) / 10
        for seed in range(2):
            write_run(tmp_path, "sip", seed, accuracy, config=config, overrides=(f"{key}={text}",))
    table = document(select_runs(tmp_path), TableLayout.of(composed(name="tables").table))
    assert {row for _, row, _ in table.found} == {"[0.5]", "[0.5,0.75]"}
    (run, _) = select_runs(tmp_path, where={key: [0.5, 0.75]})
    assert named(run, [key]) == "schedule milestones [0.5,0.75]"


def test_a_list_of_where_is_any_of_its_values(tmp_path: Path) -> None:
    for seed in range(4):
        write_run(tmp_path, "none", seed)
    runs = select_runs(tmp_path, where={"seed": [0, 2, 9], "augmentation": ["none", "sip"]})
    assert sorted(run.summary.seed for run in runs) == [0, 2]
    with pytest.raises(UserError, match=r"table.where.seed: must be one of 0, 1, 2, 3, got \[8"):
        select_runs(tmp_path, where={"seed": [8, 9]})
    shape = TableLayout.of(composed("+table.where.seed=[1,3]", name="tables").table)
    assert [run.summary.seed for run in select_runs(tmp_path, (), shape.where)] == [1, 3]
