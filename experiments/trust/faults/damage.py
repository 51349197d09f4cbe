"""A bit that flips in what is finished: found by its checksum, named, made again on request."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from experiments.trust.faults import jobs, killing
from experiments.trust.faults.base import Ended, Outcome, fault, holds, in_child, one_line

TAR = "images.storage=webdataset"


def _copy(folder: Path) -> None:
    """Begin with what an unbroken job generated."""
    jobs.whole(killing.whole_folder())
    for name in ("store", "data"):
        shutil.copytree(killing.whole_folder() / name, folder / name)


def _repaired(folder: Path, line: str, expected: dict, *more: str) -> Outcome:
    """Ask for what is damaged to be made again, and compare."""
    ended = jobs.generate(folder, *more, "retry=damaged")
    holds(ended.code == 0, "retry=damaged failed", ended)
    jobs.same(folder, expected)
    holds(list((folder / "store").glob("*/*/damaged/*")), "the damaged shard was not kept")
    again = jobs.generate(folder, *more)
    holds("computed 0" in again.line("images", "cached 10"), "computed again once more", again)
    said = ended.line("sound rows kept").replace(str(folder), "...")
    kept = said.partition("; ")[2].partition(";")[0]
    return Outcome(line.replace(str(folder), "..."), f"nothing else: {kept}, same bytes")


@fault("a bit flipped in a generated image's file", quick=True)
def image(folder: Path) -> Outcome:
    expected = jobs.whole(killing.whole_folder())
    _copy(folder)
    file = next(jobs.shards(folder, "images")[0].glob("*.png"))
    jobs.flip(file)
    line = one_line(jobs.train(folder), file.name, "is damaged", "retry=damaged")
    return _repaired(folder, line, expected)


@fault("a generated image's file removed")
def removed(folder: Path) -> Outcome:
    expected = jobs.whole(killing.whole_folder())
    _copy(folder)
    file = next(jobs.shards(folder, "images")[0].glob("*.png"))
    file.unlink()
    line = one_line(jobs.train(folder), file.name, "is damaged", "retry=damaged")
    return _repaired(folder, line, expected)


@fault("a bit flipped in a tar shard")
def tar(folder: Path) -> Outcome:
    holds(jobs.generate(folder, TAR).code == 0, "generation failed")
    expected = jobs.generated(folder)
    from sip.core.tars import split_reference
    from sip.store.shards import read_rows

    shard = jobs.shards(folder, "images")[0]
    row = next(read_rows(shard, {key.partition("/")[2] for key in expected}))
    parts = split_reference(row["file"])
    assert parts is not None
    data = bytearray(Path(parts[0]).read_bytes())
    data[parts[1] + parts[2] // 2] ^= 1
    Path(parts[0]).write_bytes(data)
    line = one_line(jobs.train(folder, TAR), "images.tar", "is damaged", "retry=damaged")
    return _repaired(folder, line, expected, TAR)


def _rows(folder: Path, stage: str, at: float) -> Outcome:
    expected = jobs.whole(killing.whole_folder())
    _copy(folder)
    file = jobs.shards(folder, stage)[0] / "rows.parquet"
    jobs.flip(file, at)
    line = one_line(jobs.generate(folder), "rows.parquet", "checksum", "retry=damaged")
    return _repaired(folder, line, expected)


@fault("a bit flipped in the rows (Parquet) of captions")
def captions(folder: Path) -> Outcome:
    return _rows(folder, "captions", 0.1)


@fault("a bit flipped in the rows of images, in many places")
def everywhere(folder: Path) -> Outcome:
    places = killing.chosen(40, 40)
    for number in places:
        place = folder / f"at{number}"
        place.mkdir()
        _copy(place)
        file = jobs.shards(place, "images")[0] / "rows.parquet"
        jobs.flip(file, (number - 1) / 40, number % 8)
        line = one_line(jobs.generate(place), "rows.parquet", "retry=damaged")
        shutil.rmtree(place)
    return Outcome(
        line.replace(str(folder), "..."), f"nothing; found at {len(places)} places of it"
    )


@fault("a bit flipped in a training's checkpoint (resume)")
def unfinished(folder: Path) -> Outcome:
    from sip.classifier.base import UNFINISHED

    work = killing.small_training(folder / "run")
    whole = in_child(killing.small_training(folder / "whole"), folder / "whole.txt")

    def stopped() -> None:
        from sip.classifier.module import Classifier

        real = Classifier.training_step

        def step(self: Classifier, *args: object) -> object:
            if self.global_step == 7:
                raise SystemExit(3)
            return real(self, *args)  # type: ignore[arg-type]

        Classifier.training_step = step  # type: ignore[method-assign,assignment]
        work()

    holds(in_child(stopped, folder / "stopped.txt").code == 3, "not stopped")
    jobs.flip(folder / "run" / UNFINISHED)
    ended = in_child(work, folder / "said.txt")
    holds(ended.code == 0 and ended.value == whole.value, "another training", ended)
    line = ended.line(UNFINISHED, "cannot be read", "checksum", "from step 0")
    return Outcome(line.replace(str(folder), "..."), "the steps until the checkpoint, taken again")


@fault("a bit flipped in the weights of a finished classifier (the control)", quick=True)
def control(folder: Path) -> Outcome:
    import torch

    from sip.core.errors import DamagedError
    from sip.weights import sealed

    file = folder / "model.safetensors"
    sealed.save({"weight": torch.arange(1000.0), "count": torch.tensor(3)}, file)
    sound = file.read_bytes()
    for number in range(64):
        jobs.flip(file, number / 64, number % 8)
        try:
            sealed.load(file)
        except DamagedError as error:
            line = str(error)
        else:
            raise AssertionError(f"a bit at {number}/64 of the file was not seen")
        file.write_bytes(sound)
    holds(len(sealed.load(file)) == 2, "the sound file is refused")
    return Outcome(line.replace(str(folder), "..."), "nothing; 64 places of the file tried")


@fault("a bit flipped in the package's own weights", quick=True)
def packaged(folder: Path) -> Outcome:
    from sip.weights import checksums

    shutil.copytree(checksums.PACKAGED, folder / "miniature")
    jobs.flip(folder / "miniature" / "captioner" / "model.safetensors")

    def before() -> None:
        checksums.PACKAGED = folder / "miniature"

    model = f"profile.captioner.model={folder / 'miniature' / 'captioner'}"
    line = one_line(jobs.generate(folder, model, before=before), "model.safetensors", "damaged")
    holds(not (folder / "store" / "captions").exists(), "captions were made")
    return Outcome(line.replace(str(folder), "..."), "nothing; said before any work")


@fault("a bit flipped in weights from the hub", quick=True)
def hub(folder: Path) -> Outcome:
    import hashlib

    from sip.core.errors import DamagedError
    from sip.weights.checksums import PACKAGED, check_hub

    data = (PACKAGED / "vit" / "model.safetensors").read_bytes()
    blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
    link = folder / "snapshots" / "1" / "model.safetensors"
    for file in (blob, link):
        file.parent.mkdir(parents=True)
    blob.write_bytes(data)
    link.symlink_to(blob)
    check_hub(link.parent)
    jobs.flip(blob)
    try:
        check_hub(link.parent)
    except DamagedError as error:
        return Outcome(str(error).replace(str(folder), "..."), "nothing; checked at loading")
    raise AssertionError("not seen")


@fault("a bit flipped in a user's own weights", quick=True)
def own_weights(folder: Path) -> Outcome:
    from sip.weights.checksums import PACKAGED
    from sip.weights.source import weights_recipe

    shutil.copytree(PACKAGED / "vit", folder / "vit")
    before = weights_recipe(str(folder / "vit"), None)
    jobs.flip(folder / "vit" / "model.safetensors")
    holds(weights_recipe(str(folder / "vit"), None) != before, "the same fingerprint")
    return Outcome(
        "nothing: it is another model, with another fingerprint",
        "nothing of the sound model's rows is used for it, or the other way round",
    )


def _recipe(folder: Path, change: Callable[[Path], None]) -> Ended:
    _copy(folder)
    (file,) = (folder / "store" / "images").glob("*/recipe.json")
    change(file)
    return jobs.generate(folder)


def _healed(folder: Path, change: Callable[[Path], None]) -> Outcome:
    ended = _recipe(folder, change)
    holds(ended.code == 0, "it failed", ended)
    jobs.same(folder, jobs.whole(killing.whole_folder()))
    holds(
        "cached 10, computed 0" in ended.line("images", "cached"), "images generated again", ended
    )
    line = ended.line("recipe.json", "written again").replace(str(folder), "...")
    return Outcome(line, "nothing: the folder's name is the recipe's fingerprint")


@fault("recipe.json missing", quick=True)
def recipe_missing(folder: Path) -> Outcome:
    return _healed(folder, lambda file: file.unlink())


@fault("recipe.json empty")
def recipe_empty(folder: Path) -> Outcome:
    return _healed(folder, lambda file: file.write_text("") and None)


def _edit(file: Path, **changed: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


@fault("recipe.json of another recipe")
def recipe_of_another(folder: Path) -> Outcome:
    return _healed(folder, lambda file: _edit(file, num_steps=99))


@fault("recipe.json from a newer version", quick=True)
def recipe_newer(folder: Path) -> Outcome:
    return _healed(folder, lambda file: _edit(file, version=99))


@fault("an image of the data set changed after captions were made")
def dataset_changed(folder: Path) -> Outcome:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    files = [
        folder / "own" / part / name / f"{number}.png"
        for part in ("train", "val", "test")
        for name in ("cat", "dog")
        for number in range(2)
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(file)
    own = ("dataset=image_folder", f"dataset.root={folder / 'own'}", "dataset.shots=null")
    holds(jobs.generate(folder, *own).code == 0, "generation failed")
    before = jobs.generated(folder)
    file = next(file for file in files if file.name == "0.png")
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(file)
    ended = jobs.generate(folder, *own)
    holds(ended.code == 0, "generation failed", ended)
    line = f"{ended.line('captions', 'computed 1')}; {ended.line('images', 'computed 1')}"
    after = jobs.generated(folder)
    holds(len(after) == len(before) + 3, "not one row a stage")
    holds(before.items() <= after.items(), "an old row changed")
    return Outcome(line, "nothing: the other rows are cached, the changed image's are new")
