"""Train a classifier, choose its checkpoint on val, read test once, write the results."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import Logger
from torch import Tensor

from sip.augmentation.base import Augmentation
from sip.backbone import saved
from sip.backbone.base import Backbone
from sip.classifier.base import LabelledImage, Result
from sip.classifier.callbacks import Bar, KeepBest
from sip.classifier.data import SplitData
from sip.classifier.failures import plain_errors
from sip.classifier.features import FeatureData, can_be_kept, feature_data
from sip.classifier.finite import Finite
from sip.classifier.loading import Loading
from sip.classifier.module import LOG_EVERY, Classifier
from sip.classifier.recipe import Recipe, require_batch
from sip.classifier.resume import AtomicCheckpointIO, Checkpoints, StopTrainingError
from sip.classifier.rows import sources
from sip.core.errors import UserError
from sip.core.files import atomic_file
from sip.core.hashing import digest_of_rows, seed_of
from sip.core.interrupt import graceful, raise_if_stopped
from sip.core.uri import Place
from sip.device.predict import quiet

PREDICTIONS = "predictions.parquet"


def train(
    backbone: Backbone,
    recipe: Recipe,
    augmentation: Augmentation,
    train_rows: Sequence[LabelledImage],
    val_rows: Sequence[LabelledImage],
    test_rows: Sequence[LabelledImage],
    class_names: Sequence[str],
    seed: int,
    run_folder: str | Path,
    trainer_kwargs: Mapping[str, Any],
    loggers: Sequence[Logger],
    store: str | Place | None = None,
    loading: Loading | None = None,
) -> Result:
    """Train one classifier for `recipe.steps` steps.

    The weights at the start, the order of the images and all random changes are functions of
    `seed`: on one kind of machine with one number of threads, the same seed gives the same bits,
    also if the training was killed in between (see `sip.classifier.resume`).

    Args:
        train_rows: Real images, then the generated ones.
        run_folder: Gets the classifier and the predictions, at the very end. The checkpoint stays
            until the caller has written its own results and removes it (`Checkpoints.remove`).
        trainer_kwargs: Arguments of Lightning's Trainer: accelerator, devices, ...
        loggers: Lightning's; they get train/loss, lr, val/loss, val/accuracy, test/loss and
            test/accuracy.
        store: The store, in which a linear probe keeps features; None: in the run folder.
        loading: How images are read; affects only the speed.

    Raises:
        UserError: A split is empty, an image cannot be read or is damaged, the recipe does not fit
            the backbone, the loss is not finite, or as `sip.classifier.failures`.
        Stopped: A stop was requested; the next start resumes from here.
    """
    started = time.perf_counter()
    for split, rows in (("train", train_rows), ("val", val_rows), ("test", test_rows)):
        if not rows:
            raise UserError(f"classifier: must have images in {split}, got none")
    recipe.check(backbone)
    originals = sources(train_rows)
    pool = augmentation.offline.pool(originals, seed)
    recipe = recipe.resolved(len(pool))
    torch.manual_seed(seed_of(seed, "weights"))
    network = backbone.create(len(class_names), class_names)
    config = backbone.describe(network, class_names)
    module = Classifier(
        network,
        recipe,
        augmentation.mix,
        len(class_names),
        *backbone.normalisation,
        seed,
        len(pool),
    )
    named = digest_of_rows([row.sample_id, row.label] for row in train_rows)
    kept = Checkpoints(Path(run_folder), named)
    start = kept.steps()
    data: SplitData | FeatureData
    if can_be_kept(recipe, augmentation):
        module.to("cuda" if trainer_kwargs.get("accelerator") == "gpu" else "cpu")
        splits = (train_rows, val_rows, test_rows)
        place = store or run_folder
        data = feature_data(module, backbone, augmentation, splits, seed, place, start=start)
    else:
        data = SplitData(
            train_rows,
            val_rows,
            test_rows,
            backbone.input_size,
            augmentation.transforms,
            recipe,
            seed,
            loading or Loading(),
            augmentation.offline,
            start,
            len(class_names),
        )
    best = KeepBest()
    facts = {"seed": seed, "lr": recipe.lr, "augmentation": augmentation.recipe()}
    finite = Finite(Path(run_folder), _batches(data, train_rows), facts, LOG_EVERY)
    with quiet(), graceful(), plain_errors(recipe.batch_size):
        trainer = make_trainer(recipe, best, run_folder, trainer_kwargs, loggers, finite, kept)
        share = recipe.batch_size // trainer.world_size
        require_batch(module.network, backbone.input_size, share)
        with suppress(StopTrainingError):  # `graceful` turns it into Stopped
            trainer.fit(
                module, datamodule=data, ckpt_path=kept.path if start else None, weights_only=True
            )
        raise_if_stopped()
        module.load_weights(best.weights)
        # Test is read once, after validation has chosen.
        scores = trainer.test(module, datamodule=data, verbose=False)[0]
    logits = {"val": (val_rows, best.logits), "test": (test_rows, module.logits)}
    folder = Path(run_folder)
    if trainer.is_global_zero:
        write_predictions(folder / PREDICTIONS, logits)
        saved.save(folder / saved.FOLDER, config, best.weights)
    trainer.strategy.barrier()  # the other processes may read it
    steps = int(best.history[-1]["step"])
    return Result(
        best_step=best.step,
        best_epoch=best.step * recipe.batch_size / len(pool),
        steps=steps,
        epochs=steps * recipe.batch_size / len(pool),
        # What a ratio leaves out is not trained on; a pass without generated images shows any.
        num_train=len(train_rows) if originals[pool[-1]] is None else len(pool),
        val_accuracy=best.accuracy,
        test_accuracy=scores["test/accuracy"],
        seconds=kept.earlier + time.perf_counter() - started,
        earlier=kept.earlier,
        history=best.history,
        classifier=str(folder / saved.FOLDER),
        predictions=str(folder / PREDICTIONS),
    )


def _batches(
    data: SplitData | FeatureData, rows: Sequence[LabelledImage]
) -> Callable[[int], Sequence[LabelledImage]]:
    """Return a function that returns the training images of a step."""

    def batch(step: int) -> list[LabelledImage]:
        size = data.recipe.batch_size
        return [rows[number] for number in data.stream.order[step * size : (step + 1) * size]]

    return batch


def make_trainer(
    recipe: Recipe,
    best: KeepBest,
    run_folder: str | Path,
    trainer_kwargs: Mapping[str, Any],
    loggers: Sequence[Logger],
    *more: Callback,
) -> Trainer:
    """Return a Trainer that takes `recipe.steps` steps at most and prints nothing of its own.

    Args:
        more: Further callbacks.
    """
    callbacks: list[Callback] = [best, *more, Bar(best, LOG_EVERY)]
    if recipe.patience is not None:
        callbacks.append(
            EarlyStopping("val/accuracy", mode="max", patience=recipe.patience, min_delta=0)
        )
    return Trainer(
        max_steps=recipe.steps,
        max_epochs=1,  # the stream is one pass
        val_check_interval=recipe.val_every,
        precision=recipe.precision,
        gradient_clip_val=recipe.gradient_clip,
        callbacks=callbacks,
        logger=list(loggers) or False,
        log_every_n_steps=LOG_EVERY,
        default_root_dir=str(run_folder),
        enable_checkpointing=False,  # `best` holds the weights
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the data module divides the batches itself
        **trainer_kwargs,
    )


def write_predictions(
    path: Path, predictions: Mapping[str, tuple[Sequence[LabelledImage], Tensor]]
) -> None:
    """Write the predictions, whole or not at all.

    Args:
        predictions: By split, the rows and their logits (N, num_classes).
    """
    columns: dict[str, list] = {"sample_id": [], "split": [], "label": []}
    for split, (rows, _) in predictions.items():
        columns["sample_id"] += [row.sample_id for row in rows]
        columns["split"] += [split] * len(rows)
        columns["label"] += [row.label for row in rows]
    logits = as_lists(torch.cat([values for _, values in predictions.values()]))
    with atomic_file(path) as part:
        pq.write_table(pa.table({**columns, "logits": logits}), part)


def as_lists(logits: Tensor) -> pa.Array:
    """Return logits (N, num_classes) as a column of lists of float32, one a row."""
    lists = pa.FixedSizeListArray.from_arrays(logits.flatten().numpy(), logits.shape[1])
    return lists.cast(pa.list_(pa.float32()))
