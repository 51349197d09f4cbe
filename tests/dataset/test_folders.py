"""Messy folders, by list: the result is right, or one line says what is wrong."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.dataset import folders
from sip.dataset.reader import say_made_parts
from tests.dataset.test_image_folder import fill, folder
from tests.dataset.trees import write_image

RED = (220, 30, 40)


def everything(dataset: Any) -> list[str]:
    """Return the ids of all images of all parts."""
    parts = ("train", "val", "test")
    return sorted(row.sample_id for part in parts for row in dataset.samples(part))


def red(root: Path) -> dict[str, Image.Image]:
    """Return a red image in every form that people have, by file name."""
    plain = Image.new("RGB", (12, 8), RED)
    palette = plain.convert("P", palette=Image.Palette.ADAPTIVE)
    return {
        "plain.png": plain,
        "photo.JPG": plain,
        "photo.jpeg": plain,
        "photo.jfif": plain,
        "web.webp": plain,
        "old.BMP": plain,
        "scan.TIFF": plain,
        "scan.tif": plain.convert("CMYK"),
        "print.jpg": plain.convert("CMYK"),
        "clip.gif": palette,
        "icon.png": palette,
        "layer.png": Image.new("RGBA", (12, 8), (*RED, 255)),
        "raw.ppm": plain,
        "with blank, and (brackets).png": plain,
        "ünï cödé 犬.png": plain,
        "a=b;c&d'e.png": plain,
        "plain.jpg": plain,  # one name, two formats
    }


def test_every_format_is_listed_and_read_alike(tmp_path: Path) -> None:
    images = red(tmp_path)
    for name, content in images.items():
        path = tmp_path / "a class" / name
        path.parent.mkdir(exist_ok=True)
        options = {"format": "JPEG"} if path.suffix == ".jfif" else {}
        content.save(path, **options)
    rows = folder(tmp_path, val_fraction=0, test_fraction=0).samples("train")
    assert sorted(row.sample_id for row in rows) == sorted(f"a class/{name}" for name in images)
    for row in rows:
        assert (row.width, row.height) == (12, 8), row.path
        pixels = np.asarray(read_rgb(row.path, 4)).astype(int)
        assert np.abs(pixels - RED).max() <= 8, row.path


def test_what_systems_leave_behind_is_no_image_and_no_class(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fill(tmp_path, 2)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "dog/Thumbs.db", "dog/._1.png"):
        (tmp_path / name).write_bytes(b"stray")
    for name in ("__MACOSX/dog", ".git", "dog/@eaDir/1.png", "dog/.thumbnails"):
        write_image(tmp_path / name / "1.png", 3)
    dataset = folder(tmp_path, val_fraction=0, test_fraction=0)
    assert everything(dataset) == [f"{c}/{n}.png" for c in ("dog", "grey_cat") for n in (0, 1)]
    assert dataset.class_names == ("dog", "grey cat")
    assert capsys.readouterr().err == ""


def test_other_files_are_passed_over_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fill(tmp_path, 2)
    for name in (
        "dog/notes.txt",
        "dog/IMG_1.RAW",
        "dog/in/labels.csv",
        "grey_cat/x",
        "grey_cat/y",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    write_image(tmp_path / "loose.png", 3)
    assert len(everything(folder(tmp_path, val_fraction=0, test_fraction=0))) == 4
    assert capsys.readouterr().err.splitlines() == [
        "dataset      passed over 1 image in no class folder: loose.png",
        "dataset      passed over 5 files without the name of an image: dog/IMG_1.RAW, "
        "dog/in/labels.csv, dog/notes.txt, ...",
    ]


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere" / "1.png", 1)
    write_image(tmp_path / "elsewhere" / "deep" / "2.png", 2)
    root = tmp_path / "root"
    write_image(root / "dog" / "0.png", 0)
    write_image(root / "dog" / "own" / "4.png", 4)
    write_image(root / "cow" / "5.png", 5)
    (root / "dog" / "3.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (root / "dog" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "dog" / "again").symlink_to(root / "dog" / "own")
    (root / "dog" / "up").symlink_to(root)  # would bring the cows into the dogs
    (root / "dog" / "self").symlink_to(root / "dog" / "self")
    (root / "cat").symlink_to(tmp_path / "elsewhere")
    assert everything(folder(root, val_fraction=0, test_fraction=0)) == [
        *("cat/1.png", "cat/deep/2.png", "cow/5.png"),
        *("dog/0.png", "dog/3.png", "dog/more/1.png", "dog/more/deep/2.png", "dog/own/4.png"),
    ]


def test_one_name_in_two_formats_and_identical_files_stay_apart(tmp_path: Path) -> None:
    for name in ("dog/1.png", "dog/1.bmp", "dog/copy of 1.png", "cat/1.png"):
        write_image(tmp_path / name, 7)
    rows = folder(tmp_path, val_fraction=0, test_fraction=0).samples("train")
    assert [row.sample_id for row in rows] == [
        "cat/1.png",
        "dog/1.bmp",
        "dog/1.png",
        "dog/copy of 1.png",
    ]
    assert len({row.sha256 for row in rows}) == 2


def with_broken_files(root: Path) -> None:
    """Write 20 images of 2 classes and three more that cannot be decoded."""
    fill(root, 10)
    (root / "dog" / "empty.png").touch()
    whole = (root / "dog" / "0.png").read_bytes()
    (root / "dog" / "half.png").write_bytes(whole[: len(whole) // 2])
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(root / "grey_cat" / "half.jpg")
    photo = root / "grey_cat" / "half.jpg"
    photo.write_bytes(photo.read_bytes()[:-1000])


@pytest.mark.parametrize("shares", [{"val_fraction": 0, "test_fraction": 0}, {}])
def test_broken_files_of_all_parts_are_named_at_once(shares: dict, tmp_path: Path) -> None:
    with_broken_files(tmp_path)
    for part in ("train", "recipe"):
        with pytest.raises(UserError) as error:
            read = folder(tmp_path, **shares)
            _ = read.recipe() if part == "recipe" else read.samples("train")
        message = str(error.value)
        assert message.startswith("dataset: images must be readable, got 3 of 23 that are not: ")
        for name in ("dog/empty.png (cannot", "dog/half.png (image", "grey_cat/half.jpg (image"):
            assert name in message
        assert message.endswith("; fix or delete them, or pass over them with dataset.broken=skip")
        assert " at 0x" not in message and "\n" not in message


def test_broken_files_can_be_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with_broken_files(tmp_path)
    skipped = {
        part: folder(tmp_path, broken="skip").samples(part) for part in ("train", "val", "test")
    }
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert sum(int(line.split("left out ")[1].split()[0]) for line in lines) == 3
    for name in ("empty.png", "half.png", "half.jpg"):
        (file,) = tmp_path.rglob(name)
        assert any(f"{file.parent.name}/{name} (" in line for line in lines)
        file.unlink()
    left = {part: folder(tmp_path).samples(part) for part in skipped}
    assert sum(map(len, left.values())) == sum(map(len, skipped.values())) == 20


def test_shots_are_chosen_among_what_can_be_read(tmp_path: Path) -> None:
    everything = {"val_fraction": 0, "test_fraction": 0}
    fill(tmp_path, 4)
    first = folder(tmp_path, shots=1, **everything).samples("train")
    (tmp_path / first[0].sample_id).write_bytes(b"no image")
    with pytest.raises(UserError, match=f"not: {first[0].sample_id} .cannot identify image file"):
        folder(tmp_path, shots=1, **everything).samples("train")
    rows = folder(tmp_path, shots=1, broken="skip", **everything).samples("train")
    assert len(rows) == 2 and rows[1] == first[1] and rows[0] != first[0]
    (tmp_path / first[0].sample_id).unlink()  # as if it had never been there
    assert folder(tmp_path, shots=1, **everything).samples("train") == rows


def test_one_image_of_one_class_can_be_generated_from(tmp_path: Path) -> None:
    write_image(tmp_path / "dog" / "0.png", 1)
    parts = [folder(tmp_path).samples(part) for part in ("train", "val", "test")]
    assert [len(rows) for rows in parts] == [1, 0, 0]


def test_a_folder_above_the_classes_is_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fill(tmp_path / "images", 2)
    assert len(everything(folder(tmp_path, val_fraction=0, test_fraction=0))) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "one class, images, with images in 2 folders (dog, grey_cat)" in line
    assert line.endswith(f"dataset.root={tmp_path / 'images'}")


def tree(*paths: str) -> Callable[[Path], None]:
    """Return what writes an image at each path."""

    def write(root: Path) -> None:
        for number, path in enumerate(paths):
            write_image(root / path, number)

    return write


def link(path: str, target: str) -> Callable[[Path], None]:
    """Return what writes an image, and a link."""

    def write(root: Path) -> None:
        write_image(root / "dog" / "0.png", 0)
        (root / path).symlink_to(target)

    return write


def latin1(root: Path) -> None:
    write_image(root / "dog" / "0.png", 0)
    os.rename(root / "dog" / "0.png", os.fsencode(root / "dog") + b"/caf\xe9.png")


BAD = {
    "a file": (
        lambda root: (root.parent / "root").write_text("zip"),
        "must be a folder of images, got the file .*root; unpack it",
    ),
    "nothing": (lambda root: None, "must be a folder of images, got .*root, which does not exist"),
    "empty": (lambda root: root.mkdir(), "must contain a folder for each class, got none in"),
    "no class folders": (
        tree("1.png", "2.png"),
        "must contain a folder for each class, got none in",
    ),
    "no images": (
        lambda root: (root / "dog" / "more").mkdir(parents=True),
        r"must contain images \(.jpg, .*\), got none in .*dog; fill or delete it",
    ),
    "a broken link": (
        link("dog/1.png", "/nowhere/1.png"),
        "dog/1.png must be an image, got a link to /nowhere/1.png, which does not exist; fix",
    ),
    "a link to itself": (
        link("dog/1.png", "1.png"),
        "must be an image, got a link to 1.png",
    ),
    "latin-1": (latin1, r"names must be in UTF-8, got b'caf\\xe9.png' in .*dog; rename it"),
    "a class in latin-1": (
        lambda root: os.makedirs(os.fsencode(root) + b"/caf\xe9"),
        r"names must be in UTF-8, got b'caf\\xe9' in .*root; rename it",
    ),
    "no train": (
        tree("val/a/1.png", "test/a/1.png"),
        "must contain train next to val and test, got no train",
    ),
    "valid": (tree("train/a/1.png", "valid/a/1.png"), "got valid in .*; rename valid to val"),
    "capitals": (
        tree("Train/a/1.png", "Test/a/1.png"),
        "got Test, Train in .*; rename Test to test, Train to train",
    ),
    "long names": (
        tree("training/a/1.png", "testing/a/1.png"),
        "got testing, training in .*; rename testing to test, training to train",
    ),
    "parts within": (
        tree("a/train/1.png", "a/test/2.png", "b/train/3.png"),
        "train must be above the classes, got .*a/train; set it to .*a if its folders are the",
    ),
    "one too high": (tree("x/train/a/1.png", "x/test/a/1.png"), "above the classes, got .*x/train"),
    "other classes": (
        tree("train/a/1.png", "train/b/1.png", "val/c/1.png"),
        "classes of the training part, got 'c' in .*val; the classes are a, b$",
    ),
    "other capitals": (
        tree("train/Dog/1.png", "val/dog/1.png"),
        "got 'dog' in .*; the classes are Dog; rename it to Dog",
    ),
    "only capitals": (
        tree("Dog/1.png", "cat/1.png", "dog/1.png"),
        r"got 'Dog' and 'dog', .*; merge them, or .*dataset.prompt_names=\{dog: .....\}",
    ),
    "only blanks": (tree("red_dog/1.png", "red dog/1.png"), "'red dog' and 'red_dog'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_cannot_be_right_is_one_line(case: str, tmp_path: Path) -> None:
    make, message = BAD[case]
    make(tmp_path / "root")
    with pytest.raises(UserError, match=message) as caught:
        folder(tmp_path / "root").samples("train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("list.csv", "dataset=csv dataset.path={}/list.csv"),
        ("train.parquet", "dataset=huggingface dataset.path={}"),
        ("train-0.tar", "dataset=webdataset dataset.root={}"),
    ],
)
def test_a_file_of_another_data_set_comes_with_its_command(
    name: str, command: str, tmp_path: Path
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        folder(tmp_path / name).samples("train")
    assert str(caught.value).endswith(f" {command.format(tmp_path)}")


def test_classes_that_differ_in_capitals_may_have_words_of_their_own(tmp_path: Path) -> None:
    tree("A/1.png", "a/2.png")(tmp_path)
    words = {"A": "capital letter a", "a": "small letter a"}
    assert folder(tmp_path, prompt_names=words).class_names == tuple(words.values())


def test_a_class_may_have_the_name_of_a_part(tmp_path: Path) -> None:
    tree("Train/1.png", "Bus/2.png", "valid/3.png")(tmp_path)
    assert folder(tmp_path).class_names == ("Bus", "Train", "valid")


def test_what_is_kept_for_val_and_test_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fill(tmp_path, 10)
    say_made_parts(folder(tmp_path))
    assert capsys.readouterr().err == (
        "dataset      parts made by split_seed: 2 val and 6 test, taken from train, which keeps "
        "12; to generate from all: dataset.val_fraction=0 dataset.test_fraction=0\n"
    )


def test_parts_are_counted_without_broken_images(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fill(tmp_path, 10)
    for file in tmp_path.glob("*/3.png"):
        file.write_bytes(b"broken")
    dataset = folder(tmp_path, broken="skip", shots=2)
    say_made_parts(dataset)
    sizes = dataset.num_readable()
    text = f"{sizes['val']} val and {sizes['test']} test, taken from train, which keeps "
    assert sum(sizes.values()) in (18, 19, 20)  # of train only the shots are opened
    assert f"parts made by split_seed: {text}{sizes['train']};" in capsys.readouterr().err
    whole = folder(tmp_path, broken="skip")
    assert sum(whole.num_readable().values()) == 18


def test_what_is_no_plain_image_file_is_counted_by_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip.dataset.index.SETTLED", -1e18)
    tree("cat/1.png", "dog/2.png")(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("none")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    pages = [Image.new("RGB", (8, 8), (n, 2 * n, 200)) for n in (0, 90)]
    for name in ("dog/scan.tif", "dog/moves.gif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    for _ in range(2):  # decoded, then from the index
        folders.say_once.cache_clear()
        index = str(tmp_path.parent / "index")
        dataset = folder(tmp_path, index=index, val_fraction=0, test_fraction=0)
        assert len(dataset.samples("train")) == 4
        told = capsys.readouterr().err
        assert "passed over 1 file without the name of an image: cat/notes.txt" in told
        assert "passed over 1 file (pipe, socket or device): cat/pipe.png" in told
        assert (
            "2 files of train with several pages or frames, of which the first is used: "
            "dog/moves.gif, dog/scan.tif"
        ) in told
        monkeypatch.setattr("sip.dataset.files.look_at", lambda _: pytest.fail("decoded again"))


def test_one_class_of_many_folders_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tree("cat/1.png", "dog/2.png", "3.png")(tmp_path)
    assert folder(tmp_path, label="pet").class_names == ("pet",)
    expected = "2 folders (cat, dog) are merged into one class, pet; to keep them as classes: "
    assert expected + "dataset.label=null" in capsys.readouterr().err


def test_unicode_composition_of_class_folders(tmp_path: Path) -> None:
    one, other = (unicodedata.normalize(form, "\u00c4pfel") for form in ("NFC", "NFD"))
    tree(f"train/{other}/1.png", "train/b/2.png", f"test/{one}/3.png")(tmp_path / "parts")
    read = folder(tmp_path / "parts", val_fraction=0, prompt_names={one: "apples"})
    assert [row.class_name for row in read.samples("test")] == ["apples"]
    assert set(folder(tmp_path / "parts").class_names) == {one, "b"}
    tree(f"{other}/1.png", f"{one}/2.png")(tmp_path / "both")
    with pytest.raises(UserError, match="differ only in Unicode composition; merge the two"):
        folder(tmp_path / "both").samples("train")
    tree(f"test/{other}/4.png")(tmp_path / "parts")
    with pytest.raises(UserError, match="differ only in Unicode composition; merge the two"):
        folder(tmp_path / "parts").samples("test")


def test_generated_images_of_an_export_are_not_tested_on(tmp_path: Path) -> None:
    fill(tmp_path / "train", 5)
    lines = [f"train/{path.parent.name}/{path.name}" for path in tmp_path.glob("train/*/*.png")]
    text = "".join(f"{line},generated\n" for line in lines)
    (tmp_path / "metadata.csv").write_text(f"file_name,kind\n{text}")
    with pytest.raises(UserError, match="val must contain real images only, got 2 with the kind"):
        folder(tmp_path, test_fraction=0).samples("train")
    assert len(folder(tmp_path, val_fraction=0, test_fraction=0).samples("train")) == 10


def test_folders_next_to_the_parts_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    fill(tmp_path / "train", 3)
    write_image(tmp_path / "annotations" / "1.png", 1)
    assert len(everything(folder(tmp_path, val_fraction=0, test_fraction=0))) == 6
    expected = "dataset      passed over 1 folder next to train: annotations\n"
    assert capsys.readouterr().err == expected


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 2)
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    with pytest.raises(UserError, match="cannot read the folder .*dog: Permission denied; change"):
        folder(tmp_path).samples("train")


def test_the_root_may_lie_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "images", 2)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(everything(folder(Path("~/images")))) == 4
