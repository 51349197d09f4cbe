"""A generated set refuses what does not fit together."""

import numpy as np
import pytest

from sip.core.errors import UserError
from sip.metrics.base import MetricRow
from tests.metrics.sets import embedded_set, unit

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_texts": unit(RNG, 3, 5)}, r"label_texts: must be \(rows, 12\), got \(3, 5\)"),
        ({"generated": np.ones((40, 12))}, "generated: must be vectors of length 1"),
        ({"generated": np.full((40, 12), np.nan)}, "generated: must be vectors of length 1"),
        ({"labels": np.full(40, 3)}, r"labels: must be 40 numbers in 0 \.\. 2"),
        ({"sources": np.arange(40)}, r"sources: must be 40 numbers in 0 \.\. 19"),
        ({"caption_texts": unit(RNG, 3, 12)}, "caption_texts: must be 40 rows, got 3"),
        ({"generated": np.zeros((0, 12))}, "must be one image at least, got none"),
    ],
)
def test_wrong_arrays_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embedded_set(**changes)


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UserError, match="^metrics: own/x must be a finite number, got nan; fix"):
        MetricRow("own/x", float("nan"), "share", True, "train", 3)
