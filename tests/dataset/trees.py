"""Small trees in the true on-disk form of each data set, without images of it."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from scipy.io import savemat

from sip.config.build import build
from tests.composing import composed

CONF = Path(__file__).parents[2] / "conf" / "dataset"


def node(name: str) -> DictConfig:
    """Return what a data set's YAML states, with what it inherits, unresolved."""
    return composed(name=f"dataset/{name}").dataset


def source(name: str, root: Path | str | None, **changes: Any) -> Any:
    """Return the data set that a YAML describes, in `root` and with other values."""
    changes = {"root": root and str(root), "seed": 0, "index": None} | changes
    stated = {key: value for key, value in node(name).items_ex(resolve=False) if key not in changes}
    return build(OmegaConf.to_container(OmegaConf.create(stated)) | changes)


def write_image(path: Path, value: int, size: tuple[int, int] = (12, 8)) -> Path:
    """Write an image whose content depends on `value`; size is (width, height) in px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.full((height, width, 3), value % 251, np.uint8)
    pixels[0, 0] = (value // 251, 7, 9)
    pixels[-1, -1] = 255  # contrast
    Image.fromarray(pixels).save(path)
    return path


def encoded(value: int, image_format: str) -> bytes:
    """Return an image of 10 x 6 px as the bytes of a file."""
    buffer = io.BytesIO()
    Image.new("RGB", (10, 6), (value, 0, 255 - value)).save(buffer, image_format)
    return buffer.getvalue()


def pickled(path: Path, content: dict) -> None:
    """Write a pickle as CIFAR's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def cifar10(root: Path, num: int = 20) -> None:
    """Write five train batches and the test batch of `num` images each, and the names."""
    folder = root / "cifar-10-batches-py"
    rng = np.random.default_rng(0)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        data = rng.integers(0, 256, (num, 3072), dtype=np.uint8)
        pickled(folder / name, {"data": data, "labels": [i % 10 for i in range(num)]})
    names = [*("airplane", "automobile", "bird", "cat", "deer"),
             *("dog", "frog", "horse", "ship", "truck")]  # fmt: skip
    pickled(folder / "batches.meta", {"label_names": names})


def cifar100(root: Path) -> None:
    """Write train (3 a class) and test (1 a class) and the names of CIFAR-100."""
    folder = root / "cifar-100-python"
    rng = np.random.default_rng(0)
    for name, num in (("train", 300), ("test", 100)):
        data = rng.integers(0, 256, (num, 3072), dtype=np.uint8)
        pickled(folder / name, {"data": data, "fine_labels": [i % 100 for i in range(num)]})
    known = ["can", "mouse", "plain", "plate", "poppy", "ray", "seal", "tank", "aquarium_fish"]
    names = sorted(known + [f"thing_{i:02d}" for i in range(91)])
    pickled(folder / "meta", {"fine_label_names": names})


def oxford_pets(root: Path, breeds: list[str]) -> None:
    """Write 4 trainval and 2 test images a breed, lists as the original's."""
    folder = root / "oxford-iiit-pet"
    for part, numbers in (("trainval", range(1, 5)), ("test", range(5, 7))):
        lines = []
        for label, breed in enumerate(breeds, 1):
            for number in numbers:
                image_id = f"{breed.replace(' ', '_').lower()}_{number}"
                lines.append(f"{image_id} {label} 1 1")
                write_image(folder / "images" / f"{image_id}.jpg", 10 * label + number)
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")


def dtd(root: Path, names: list[str]) -> None:
    """Write 2 images a class for each of train, val and test of partition 1."""
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for offset, part in enumerate(("train", "val", "test")):
        lines = []
        for label, name in enumerate(names):
            for number in (2 * offset + 1, 2 * offset + 2):
                lines.append(f"{name}/{name}_{number:04d}.jpg")
                write_image(folder / "images" / lines[-1], 10 * label + number)
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(lines) + "\n")


def flowers102(root: Path) -> None:
    """Write one image a class for train and val, two for test, and the two .mat files."""
    folder = root / "flowers-102"
    ids = np.arange(1, 409)
    for image_id in ids:
        write_image(folder / "jpg" / f"image_{image_id:05d}.jpg", int(image_id))
    savemat(folder / "imagelabels.mat", {"labels": (ids - 1) % 102 + 1})
    parts = {"trnid": ids[:102], "valid": ids[102:204], "tstid": ids[204:]}
    savemat(folder / "setid.mat", parts)


def caltech101(root: Path, names: list[str]) -> None:
    """Write 33 images a class and the background class."""
    folder = root / "caltech101" / "101_ObjectCategories"
    for label, name in enumerate([*names, "BACKGROUND_Google"]):
        for number in range(1, 34):
            write_image(folder / name / f"image_{number:04d}.jpg", 40 * label + number, (4, 4))


def stanford_cars(root: Path) -> None:
    """Write 10 train and 4 test images of 2 models, and the three .mat files."""
    folder = root / "stanford_cars"
    kind = [("fname", object), ("class", np.uint8)]
    for part, num in (("train", 10), ("test", 4)):
        rows = [(f"{i:05d}.jpg", i % 2 + 1) for i in range(num)]
        for i, (name, _) in enumerate(rows):
            write_image(folder / f"cars_{part}" / name, i + 100 * num)
        path = {"train": "devkit/cars_train_annos", "test": "cars_test_annos_withlabels"}[part]
        (folder / "devkit").mkdir(exist_ok=True)
        savemat(folder / f"{path}.mat", {"annotations": np.array(rows, dtype=kind)})
    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012"], dtype=object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})


def food101(root: Path, names: list[str]) -> None:
    """Write 10 train and 3 test images a dish, and the two lists."""
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for part, numbers in (("train", range(10)), ("test", range(10, 13))):
        lists = {
            name: [f"{name}/{1000 * label + number}" for number in numbers]
            for label, name in enumerate(names)
        }
        for file in (file for files in lists.values() for file in files):
            write_image(folder / "images" / f"{file}.jpg", int(file.rpartition("/")[2]))
        (folder / "meta" / f"{part}.json").write_text(json.dumps(lists))


def fgvc_aircraft(root: Path, names: list[str]) -> None:
    """Write one image a variant for each of train, val and test, and the lists."""
    data = root / "fgvc-aircraft-2013b" / "data"
    data.mkdir(parents=True)
    (data / "variants.txt").write_text("".join(f"{name}\n" for name in names))
    for place, part in enumerate(("train", "val", "test")):
        lines = []
        for label, name in enumerate(names):
            number = f"{1000 * place + label:07d}"
            lines.append(f"{number} {name}\n")
            write_image(data / "images" / f"{number}.jpg", int(number))
        (data / f"images_variant_{part}.txt").write_text("".join(lines))


def eurosat(root: Path, names: list[str]) -> None:
    """Write 10 images a kind of land."""
    for label, name in enumerate(names):
        for number in range(1, 11):
            file = root / "eurosat" / "2750" / name / f"{name}_{number}.jpg"
            write_image(file, 20 * label + number, (64, 64))


def stl10(root: Path) -> None:
    """Write 5 train and 2 test images a class as STL-10's binary files, labels from 1."""
    folder = root / "stl10_binary"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, num in (("train", 50), ("test", 20)):
        rng.integers(0, 256, (num, 3, 96, 96), dtype=np.uint8).tofile(folder / f"{part}_X.bin")
        (np.arange(num, dtype=np.uint8) % 10 + 1).tofile(folder / f"{part}_y.bin")
    (folder / "unlabeled_X.bin").write_bytes(b"")
    names = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
    (folder / "class_names.txt").write_text("".join(f"{name}\n" for name in names))
    folds = [" ".join(map(str, range(5 * fold, 5 * fold + 5))) for fold in range(10)]
    (folder / "fold_indices.txt").write_text("".join(f"{fold} \n" for fold in folds))


def cub200(root: Path, names: list[str]) -> None:
    """Write 4 train and 2 test images a bird, and the four lists, numbers from 1."""
    folder = root / "CUB_200_2011"
    classes, images, labels, split = [], [], [], []
    for label, name in enumerate(names, 1):
        classes.append(f"{label} {label:03d}.{name}")
        for number in range(1, 7):
            image = len(images) + 1
            file = f"{label:03d}.{name}/{name.title()}_{number:04d}_{1000 + image}.jpg"
            write_image(folder / "images" / file, 10 * label + number)
            images.append(f"{image} {file}")
            labels.append(f"{image} {label}")
            split.append(f"{image} {int(number not in (2, 5))}")
    for list_name, lines in (
        ("classes", classes),
        ("images", images),
        ("image_class_labels", labels),
        ("train_test_split", split),
    ):
        (folder / f"{list_name}.txt").write_text("".join(f"{line}\n" for line in lines))


def stanford_dogs(root: Path, names: list[str]) -> None:
    """Write 4 train and 2 test images a breed, annotations' folders and the two .mat lists."""
    folder = root / "stanford_dogs"
    parts: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for label, name in enumerate(names, 1):
        synset = f"n{2085000 + label:08d}"
        (folder / "Annotation" / f"{synset}-{name}").mkdir(parents=True)
        for number in range(1, 7):
            file = f"{synset}-{name}/{synset}_{number}.jpg"
            write_image(folder / "Images" / file, 10 * label + number)
            parts["test" if number in (2, 5) else "train"].append((file, label))
    for part, rows in parts.items():
        cells = np.empty((len(rows), 1), object)  # MATLAB's columns of cells
        annotations = np.empty((len(rows), 1), object)
        cells[:, 0] = [file for file, _ in rows]
        annotations[:, 0] = [file.removesuffix(".jpg") for file, _ in rows]
        labels = np.array([[label] for _, label in rows], np.uint8)
        lists = {"file_list": cells, "annotation_list": annotations, "labels": labels}
        savemat(folder / f"{part}_list.mat", lists)
