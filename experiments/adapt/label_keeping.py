"""Print how many generated images a judge takes for their class, arm by arm and seed by seed.

    python experiments/adapt/label_keeping.py JUDGE RUNS > label_keeping.csv

JUDGE is the run folder of a classifier of real images, RUNS the folder of the runs that are judged.
"""

import csv
import sys
from pathlib import Path

import pandas as pd

from sip.backbone.saved import SavedClassifier
from sip.classifier.predictor import Predictor
from sip.records.read import training_runs


def main(judge: Path, runs: Path) -> None:
    """Judge the images of every run that has generated some, before its filter and after."""
    predictor = Predictor(SavedClassifier(judge), "cpu")
    names = list(predictor.class_names)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["arm", "adapted", "seed", "generated", "label_kept", "copies", "trained_on"])
    for run in training_runs(runs):
        rows = pd.DataFrame(run.images())
        rows = rows[(rows.kind == "generated") & (rows.status != "failed")]
        if rows.empty:
            continue
        files = [str(run.store / file) for file in rows.file]
        found = [names[row] for row in predictor(files).argmax(1)]
        kept = sum(a == b for a, b in zip(found, rows.class_name, strict=True))
        rejected = int((rows.status == "rejected").sum())
        summary = run.summary
        adapted = run.value("images.lora") is not None
        row = [summary.augmentation, adapted, summary.seed, len(rows), kept, rejected]
        table.writerow([*row, len(rows) - rejected])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
