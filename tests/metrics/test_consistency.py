"""Similarity to texts against scipy's cosine distance, agreement against plain loops."""

import numpy as np
import pytest
from scipy.spatial.distance import cosine
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from sip.metrics.consistency import Consistency, label_similarity, zero_shot_labels
from tests.metrics.sets import embedded_set


def test_rows_equal_scipy_and_sklearn() -> None:
    images = embedded_set()
    rows = {row.metric: row for row in Consistency().measure(images)}
    to_label = [
        1 - cosine(image, images.label_texts[label])
        for image, label in zip(images.generated.astype(float), images.labels, strict=True)
    ]
    to_caption = [
        1 - cosine(image, text)
        for image, text in zip(images.generated.astype(float), images.caption_texts, strict=True)
    ]
    nearest = KNeighborsClassifier(1, metric="cosine").fit(images.label_texts, [0, 1, 2])
    agreement = accuracy_score(images.labels, nearest.predict(images.generated))
    assert rows["generated/consistency_label"].value == pytest.approx(np.mean(to_label), abs=1e-6)
    assert rows["generated/consistency_caption"].value == pytest.approx(
        np.mean(to_caption), abs=1e-6
    )
    assert rows["generated/label_agreement"].value == pytest.approx(agreement)
    assert 0.1 < agreement < 0.9  # else it would compare nothing
    assert all((row.n, row.split, row.higher_is_better) == (40, "train", True) for row in
               rows.values())  # fmt: skip


def test_an_image_that_is_its_label_has_similarity_1() -> None:
    texts = np.eye(3, 5)
    labels = np.array([2, 0, 1])
    assert label_similarity(texts[labels], texts, labels).tolist() == [1, 1, 1]
    assert label_similarity(-texts[labels], texts, labels).tolist() == [-1, -1, -1]
    assert zero_shot_labels(texts[labels], texts).tolist() == [2, 0, 1]


def test_without_captions_there_is_no_row_of_them() -> None:
    names = [row.metric for row in Consistency().measure(embedded_set(caption_texts=None))]
    assert names == ["generated/consistency_label", "generated/label_agreement"]
