"""A drawn set refuses what does not fit together."""

import numpy as np
import pytest

from tests.metrics.sets import drawn_set, unit

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_texts": unit(RNG, 3, 5)}, r"label_texts: expected \(rows, 12\), came \(3, 5\)"),
        ({"drawn": np.ones((40, 12))}, "drawn: expected vectors of length 1"),
        ({"drawn": np.full((40, 12), np.nan)}, "drawn: expected vectors of length 1"),
        ({"labels": np.full(40, 3)}, r"labels: expected 40 numbers in 0 \.\. 2"),
        ({"sources": np.arange(40)}, r"sources: expected 40 numbers in 0 \.\. 19"),
        ({"caption_texts": unit(RNG, 3, 12)}, "caption_texts: expected 40 rows, came 3"),
        ({"drawn": np.zeros((0, 12))}, "expected at least one picture"),
    ],
)
def test_wrong_arrays_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn_set(**changes)
