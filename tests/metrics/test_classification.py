"""Metrics of a classifier, against the formulas written out in numpy and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from sip.metrics.classification import classification, per_class

NUM, CLASSES = 400, 7


@pytest.fixture(scope="module")
def case() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    labels = rng.choice(CLASSES, NUM, p=np.arange(1, CLASSES + 1) / 28)
    logits = rng.normal(size=(NUM, CLASSES)) + 1.5 * np.eye(CLASSES)[labels]
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)


def probabilities(logits: torch.Tensor) -> np.ndarray:
    shifted = np.exp(logits.double().numpy() - logits.double().numpy().max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def test_shares_of_right_answers(case) -> None:
    logits, labels = case
    values = classification(*case)
    assert values["top1"] == pytest.approx(reference.accuracy_score(labels, logits.argmax(1)))
    top5 = reference.top_k_accuracy_score(labels, logits, k=5, labels=range(CLASSES))
    assert values["top5"] == pytest.approx(top5)
    balanced = reference.balanced_accuracy_score(labels, logits.argmax(1))
    assert values["mean_per_class"] == pytest.approx(balanced)


def test_calibration_error_is_guos(case) -> None:
    logits, labels = case
    shares = probabilities(logits)
    confidence, right = shares.max(1), shares.argmax(1) == labels.numpy()
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert error > 0.02
    assert classification(*case)["ece"] == pytest.approx(error, abs=1e-5)


def test_negative_log_likelihood(case) -> None:
    expected = reference.log_loss(case[1], probabilities(case[0]), labels=range(CLASSES))
    assert classification(*case)["nll"] == pytest.approx(expected, rel=1e-5)


def test_top5_says_nothing_of_five_classes() -> None:
    values = classification(torch.eye(5), torch.arange(5))
    assert "top5" not in values
    assert values["top1"] == 1


def test_groups_are_parts_of_the_whole(case) -> None:
    logits, labels = case
    groups = {"head": (5, 6), "middle": (2, 3, 4), "tail": (0, 1), "empty": ()}
    values = classification(logits, labels, groups)
    right = (logits.argmax(1) == labels).numpy()
    for name in ("head", "middle", "tail"):
        members = np.isin(labels.numpy(), groups[name])
        assert values[name] == pytest.approx(right[members].mean())
    assert "empty" not in values


def test_table_of_classes_is_scikit_learns(case) -> None:
    logits, labels = case
    names = [f"class {number}" for number in range(CLASSES + 1)]  # the last one never occurs
    logits = torch.cat([logits, torch.full((NUM, 1), -9.0)], 1)
    rows = per_class(logits, labels, names)
    known = reference.classification_report(
        labels, logits.argmax(1), output_dict=True, zero_division=0
    )
    for label, row in enumerate(rows[:-1]):
        expected = known[str(label)]
        assert row["n"] == expected["support"]
        assert row["recall"] == pytest.approx(expected["recall"])
        assert row["precision"] == pytest.approx(expected["precision"])
        assert row["f1"] == pytest.approx(expected["f1-score"])
    assert rows[-1] == {
        "class_name": "class 7", "n": 0, "recall": 0.0, "precision": 0.0, "f1": 0.0,
    }  # fmt: skip
