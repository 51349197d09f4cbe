"""All bad inputs of the lists."""

from tests.trust import datasets, files, models, settings

ALL = [*settings.CASES, *datasets.CASES, *models.CASES, *files.CASES]
