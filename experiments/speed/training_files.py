"""The images of the training benchmark: JPEG files like photographs, and generated ones next to."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sip.classifier.base import TrainingImage

SIZE = (500, 375)  # px, width and height: as ImageNet's images are on average
NUM_CLASSES = 10
QUALITY = 90
BRIGHTNESS = (0.7, 1.3)  # of which a generated image differs from its original


def photographs(folder: Path, num: int) -> list[TrainingImage]:
    """Write `num` JPEG files and return their rows.

    They are cut at random, and mirrored, from the two photographs that scikit-learn ships, so
    that a decoder has the texture of real ones to work through.

    Args:
        folder: For the files; made if it is not there.
    """
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng = np.random.default_rng(0)
    rows = []
    for number in range(num):
        whole = sources[number % len(sources)]
        left = int(rng.integers(whole.width - SIZE[0] + 1))
        top = int(rng.integers(whole.height - SIZE[1] + 1))
        image = whole.crop((left, top, left + SIZE[0], top + SIZE[1]))
        if rng.random() < 0.5:
            image = ImageOps.mirror(image)
        path = folder / f"{number:05d}.jpg"
        image.save(path, quality=QUALITY)
        rows.append(TrainingImage(path.stem, str(path), number % NUM_CLASSES))
    return rows


def generated_next_to(rows: Sequence[TrainingImage], folder: Path) -> list[TrainingImage]:
    """Write one further file for each image, of its format and size, and return their rows.

    They stand for generated ones, which are ordinary files too: the originals, brighter or darker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    generated = []
    for row in rows:
        path = folder / Path(row.path).name
        with Image.open(row.path) as image:
            factor = rng.uniform(*BRIGHTNESS)
            # A PNG file takes no notice of the quality.
            image.point(lambda level, factor=factor: int(level * factor)).save(
                path, quality=QUALITY
            )
        generated.append(
            TrainingImage(f"generated-{row.sample_id}", str(path), row.label, row.sample_id)
        )
    return generated
