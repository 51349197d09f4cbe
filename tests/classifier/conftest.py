"""Images that the tests of the classifier share."""

import pytest

from tests.classifier.made_up import Splits, make_splits


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return make_splits(tmp_path_factory.mktemp("images"))
