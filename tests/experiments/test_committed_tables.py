"""Committed tables come out of their values per seed again: by numpy and scipy, and by our code."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sip.tables.__main__ import task
from sip.tables.document import document
from sip.tables.formats import write
from sip.tables.query import select_runs
from tests.composing import composed
from tests.tables.made_up import write_arms
from tests.tables.test_tables import layout

ROOT = Path(__file__).parents[2] / "experiments"
COMMITTED = sorted(ROOT.rglob("*_runs.csv"))
# Page -> what its table was made with, but for table=arms.
OPTIONS = {
    "stability/table": ("table.value=val/top1", "table.also=[]", "table.family=[]"),
    "main/claims": ("table=confirmatory",),
    "cost/table": ("table=cost",),
    "main/avx2": ("table=confirmatory",),
    "ablations/prompts": ("table=ablation", "table.family=[]", "table.validation=true"),
    "ablations/paradigm": ("table=ablation", "table.family=[]", "table.validation=true"),
    "ablations/weights": (
        *("table.rows=prompts.label_weight", "table.columns=prompts.caption_weight"),
        *("table.control=1.5", "table.family=[]"),
        "table.title=Weights of the label by weights of the caption",
    ),
    "ablations/guidance": (
        *("table.rows=prompts/guidance", "table.control=quadratic", "table.family=[]"),
        *("table.validation=true", "table.title=Guidance scales"),
    ),
    "ablations/sampling": (
        *("table.rows=captions.sampling", "table.control=nucleus", "table.family=[]"),
        *("table.validation=true", "table.title=Sampling of the captions"),
    ),
    "ablations/noise_x_guidance": (
        *("table.rows=prompts.noise_rate", "table.columns=prompts.guidance.scale"),
        *("table.control=0.5", "table.family=[]", "table.title=Noise rates by guidance scales"),
    ),
    "ablations/generated": ("table=generated",),
    "ablations/distance": (
        *("table.rows=prompts.noise_rate", "table.columns=prompts.guidance.scale"),
        *("table.value=generated/diversity_original", "table.family=[]"),
        "table.title=Distance of the generated images to their originals",
    ),
    "number_and_shots/per_sample": (
        *("table.rows=images.per_sample", "table.control=1", "table.family=[]"),
        *("table.validation=true", "table.title=Generated images per original"),
    ),
    "number_and_shots/shots": ("table=shots",),
    "cifar10/claims": ("table=confirmatory",),
    "cifar10/candidates_sip": (
        *("table.rows=[prompts.noise_rate,images.per_sample]", "table.control='0.9, 4'"),
        *("table.family=[]", "table.validation=true"),
        "table.title=Noise rate and images per original of SIP",
    ),
    "cifar10/candidates_randaugment": (
        "table.rows=[augmentation.sample.arguments.num_ops,augmentation.sample.arguments.magnitude]",
        *("table.control='3, 14'", "table.family=[]", "table.validation=true"),
        "table.title=Operations and magnitude of RandAugment",
    ),
    "cifar10/upper": (),
    "cifar10/shots": ("table=shots",),
    "cifar10/shots_500": (
        *("table.rows=augmentation", "table.control=sip", "table.family=[]"),
        *("table.validation=true", "table.title=500 images a class"),
    ),
    "cifar10/paradigms": (
        *("table.rows=augmentation", "table.select=[prompts.noise_rate,images.per_sample]"),
        *("table.control=sip", "table.family=[]", "table.validation=true"),
        "table.title=SIP against other prompts and text to image",
    ),
    "cifar10/probe": (
        *("table=confirmatory", "table.title=A linear probe of ImageNet lite0"),
        "table.family=[{claim: 'SIP > none', arm: sip, against: none}]",
    ),
    "cifar10/probe_images": (
        *("table.rows=[augmentation,images.per_sample]", "table.control=none", "table.family=[]"),
        "table.validation=true",
        "table.title=A linear probe of ImageNet lite0 by generated images",
    ),
    "adaptive/table": ("table.validation=true",),
    "adaptive/policy": (),
    "adaptive/rounds": ("table=rounds",),
    "adaptive/harm": ("table.validation=true",),
}
Lines = list[dict[str, str]]


def lines(file: Path) -> Lines:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def values_of(runs: Lines) -> dict[tuple[str, ...], dict[int, float]]:
    """Return (block, row, column) -> seed -> value, of the setting that is best on validation."""
    cells: dict[tuple[str, ...], dict[str, dict[int, tuple[float, float]]]] = defaultdict(dict)
    for run in runs:
        place = run["block"], run["row"], run["column"]
        seeds = cells[place].setdefault(run["setting"], {})
        if run["value"] != "nan":  # it diverged
            seeds[int(run["seed"])] = float(run["value"]), float(run["val"] or "nan")
    found = {}
    for place, settings in cells.items():
        shared = set.intersection(*map(set, settings.values()))
        best = max(sorted(settings), key=lambda s: np.mean([settings[s][n][1] for n in shared]))
        found[place] = {seed: value for seed, (value, _) in settings[best].items()}
    columns = {column for _, _, column in found}
    if len(columns) > 1:
        for block, row in {(block, row) for block, row, _ in found}:
            here = [found.get((block, row, column)) for column in columns]
            if None not in here:
                seeds = set.intersection(*(set(cell or ()) for cell in here))
                means = {s: float(np.mean([(cell or {})[s] for cell in here])) for s in seeds}
                found[block, row, "mean"] = means
    return found


def interval(values: list[float]) -> float:
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def check(runs_file: Path) -> int:
    """Compare a table's CSV with its values per seed; return the number of compared differences."""
    found = values_of(lines(runs_file))
    families: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    num = 0
    for line in lines(runs_file.with_name(runs_file.name.replace("_runs.csv", ".csv"))):
        block, column = line["block"], line["column"]
        if line["claim"] and not line["difference"]:  # not computed, and counted all the same
            families[block, ""].append((1.0, 1.0))
            continue
        pooled = [found[block, row, column] for row in line["row"].split(" + ")]
        if not line["claim"]:
            (cell,) = pooled
            values = [cell[seed] for seed in sorted(cell)]
            assert float(line["mean"]) == pytest.approx(np.mean(values), rel=1e-5)
            if line["half_width"]:
                assert float(line["half_width"]) == pytest.approx(interval(values), rel=1e-4)
        if not line["against"]:
            continue
        others = [found[block, row, column] for row in line["against"].split(" + ")]
        seeds = sorted(set.intersection(*map(set, [*pooled, *others])))
        gains = [
            float(np.mean([a[s] - b[s] for a, b in zip(pooled, others, strict=True)]))
            for s in seeds
        ]
        assert int(float(line["pairs"])) == len(seeds)
        assert float(line["difference"]) == pytest.approx(np.mean(gains), rel=1e-4, abs=1e-5)
        num += 1
        if line["p"] and np.ptp(gains) > 1e-9:
            p = stats.ttest_1samp(gains, 0).pvalue
            assert float(line["p"]) == pytest.approx(p, rel=1e-4)
        if line["p_holm"]:
            families[block, "" if line["claim"] else column].append(
                (float(line["p"]), float(line["p_holm"]))
            )
    for family in families.values():
        least = 0.0
        for rank, (p, corrected) in enumerate(sorted(family)):
            least = max(least, min(1.0, (len(family) - rank) * p))
            assert corrected == pytest.approx(least, rel=1e-3)
    return num


@pytest.mark.parametrize("name", ["arms", "main", "confirmatory"])
def test_a_table_comes_out_of_its_values_per_seed(name: str, tmp_path: Path) -> None:
    arms = {"none": 0.6, "randaugment": 0.66, "cutmix": 0.65, "moex": 0.62, "sip": 0.7,
            "sip_randaugment": 0.72, "sip_cutmix": 0.71, "sip_moex": 0.64}  # fmt: skip
    for dataset in ("digits", "dtd") if name == "main" else ("digits",):
        write_arms(tmp_path / "runs", arms, num_seeds=4, dataset=dataset)
    shape = layout(f"table={name}")
    write(document(select_runs(tmp_path / "runs"), shape), shape.value, tmp_path / "table")
    assert check(tmp_path / "table_runs.csv") == {"arms": 7, "main": 21, "confirmatory": 10}[name]
    text = (tmp_path / "table_runs.csv").read_text()
    (tmp_path / "table_runs.csv").write_text(text.replace(",test/top1,7", ",test/top1,8"))
    with pytest.raises(AssertionError):
        check(tmp_path / "table_runs.csv")


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_committed_table_comes_out_of_its_values_per_seed(file: Path) -> None:
    check(file)


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_committed_table_comes_out_again(file: Path, tmp_path: Path) -> None:
    table = file.with_name(file.name.removesuffix("_runs.csv"))
    options = OPTIONS[table.relative_to(ROOT).as_posix()]
    task(composed(*options, f"from={file}", f"output={tmp_path}/again", name="tables"))
    again = (tmp_path / "again.md").read_text().replace(f", from {file.name}", "")
    assert again == table.with_suffix(".md").read_text()
