"""Write the images of this experiment: digits turned by a quarter, which no miniature has seen.

    python experiments/adapt/turned_digits.py FOLDER

FOLDER/turned is the data set of the arms: five turned digits, in the split of `dataset=digits`.
FOLDER/judge is the judge's: these, and all ten upright digits; its training part holds the part
`pretrain` too. All are real scans.
"""

import sys
from pathlib import Path

from PIL import Image

from sip.dataset.digits import CLASS_NAMES, enlarge, scans, split_indices

TURNED = ("two", "three", "four", "five", "seven")  # turned, these are like no upright digit
SIZE = 32  # px


def main(folder: Path) -> None:
    """Write both data sets."""
    images, labels = scans()
    for part, rows in split_indices().items():
        for row in rows:
            name = CLASS_NAMES[labels[row]]
            upright = enlarge(images[row], SIZE)
            judged = "train" if part == "pretrain" else part
            save(upright, folder / "judge" / judged / name / f"{row:04d}.png")
            if name in TURNED:
                turned = upright.transpose(Image.Transpose.ROTATE_270)
                save(turned, folder / "judge" / judged / f"turned {name}" / f"{row:04d}.png")
                if part != "pretrain":
                    save(turned, folder / "turned" / part / f"turned {name}" / f"{row:04d}.png")


def save(image: Image.Image, file: Path) -> None:
    """Write an image as PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
