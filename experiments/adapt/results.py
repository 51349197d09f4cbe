"""Write the values of each seed, and print their table.

    python experiments/adapt/results.py JUDGE RUNS results.csv

JUDGE is the run folder of a classifier of real images, which says how many generated images show
their class; RUNS is the folder of the arms' runs.
"""

import sys
from pathlib import Path

import pandas as pd
from scipy import stats

from sip.backbone.saved import SavedClassifier
from sip.classifier.predictor import Predictor
from sip.records.read import TrainingRun, training_runs


def main(judge: Path, runs: Path, file: Path) -> None:
    """Judge the images of every run, copies too, and compare the arms with none."""
    predictor = Predictor(SavedClassifier.of(judge), "cpu")
    table = pd.DataFrame([values(run, predictor) for run in training_runs(runs)])
    table = table.sort_values(["arm", "adapted", "seed"])
    table.to_csv(file, index=False)
    print(summary(table))


def values(run: TrainingRun, predictor: Predictor) -> dict[str, object]:
    """Return the row of a run; shares in %."""
    images = pd.DataFrame(run.images())
    made = images[(images.kind == "generated") & (images.status != "failed")]
    kept = None
    if len(made):
        found = predictor([str(run.store / name) for name in made.file]).argmax(1)
        names = [predictor.class_names[label] for label in found]
        kept = 100 * float((pd.Series(names, made.index) == made.class_name).mean())
    return {
        "arm": run.summary.augmentation,
        "adapted": run.value("images.lora") is not None if len(made) else False,
        "seed": run.summary.seed,
        "generated": len(made),
        "copies": int((made.status == "rejected").sum()),
        "label_kept": kept,
        "val_top1": 100 * run.summary.val_accuracy,
        "test_top1": 100 * run.summary.test_accuracy,
    }


def summary(table: pd.DataFrame) -> str:
    """Return the arms in Markdown: means over seeds, and paired differences to none."""
    control = table[table.arm == "none"].set_index("seed").test_top1
    lines = [
        "| arm | generator | label kept, % | test top-1, % | against none |",
        "|---|---|---|---|---|",
    ]
    for (arm, adapted), rows in table.groupby(["arm", "adapted"], sort=False):
        top1 = rows.set_index("seed").test_top1
        kept = "" if rows.label_kept.isna().all() else with_interval(rows.label_kept)
        against = "" if arm == "none" else with_interval(top1 - control[top1.index], sign="+")
        how = "" if arm == "none" else "adapted" if adapted else "as it is"
        lines.append(f"| {arm} | {how} | {kept} | {with_interval(top1)} | {against} |")
    return "\n".join(lines)


def with_interval(numbers: pd.Series, sign: str = "") -> str:
    """Return the mean and the half-width of Student's 95 % interval."""
    half = stats.t.ppf(0.975, len(numbers) - 1) * stats.sem(numbers)
    return f"{numbers.mean():{sign}.1f} ± {half:.1f}"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
