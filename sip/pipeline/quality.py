"""The quality of the pictures that a run drew: embedded by its scorer, then measured.

Rows go into the summary; `quality.parquet` in the run's folder says the same picture by picture.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from sip.config.build import build
from sip.core.errors import UserError
from sip.core.interrupt import raise_if_stopped
from sip.core.progress import say
from sip.core.spread import spread
from sip.core.stages import StageLog
from sip.dataset.base import Sample
from sip.metrics.base import EmbeddedSet, Metric, MetricRow
from sip.metrics.consistency import label_similarity, paired_cosines, zero_shot_labels
from sip.metrics.diversity import distance_to_original
from sip.pipeline.models import Models
from sip.pipeline.offline import Offline
from sip.pipeline.stored import StoredImage
from sip.scores.base import EmbeddingRow, ToEmbed
from sip.store.fill import cut

LABEL_TEXT = "a photo of a {label}"  # the prompt of the paper without its caption
MAX_PICTURES = 10_000  # that are embedded of the drawn set, and of the reference: n says how many
BATCH = 64  # pictures on the device at a time


@dataclass(frozen=True)
class Quality:
    """What was measured on a drawn set.

    Attributes:
        rows: The numbers; none where nothing could be measured.
        pictures: Columns of `quality.parquet`: "id" of the drawn picture, "label_similarity",
            "caption_similarity" and "original_distance" (1 - cosine), "zero_shot" (a class name).
    """

    rows: list[MetricRow]
    pictures: dict[str, list[Any]]

    @property
    def metrics(self) -> dict[str, float]:
        """Name -> value."""
        return {row.metric: row.value for row in self.rows}

    def write(self, folder: Path) -> None:
        """Write `quality.parquet` into a run's folder, where there is anything to say."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.pictures:
            pq.write_table(pa.table(self.pictures), folder / "quality.parquet")


NOTHING = Quality([], {})


def measure(
    config: DictConfig,
    offline: Offline,
    pictures: Sequence[StoredImage],
    reference: Sequence[Sample],
    class_names: Sequence[str],
    stages: StageLog,
) -> Quality:
    """Measure what `config.metrics` chooses; a stage of its own.

    A set whose scorer has no weights here is left unmeasured, with a line that says so: what is
    drawn and trained does not depend on it.

    Args:
        config: The whole configuration.
        offline: Its embedder is asked.
        pictures: Drawn ones with status "ok".
        reference: Real pictures that nothing was drawn from, of one split; may be empty.
        class_names: By label.
        stages: Where the time is noted.
    """
    metrics: list[Metric] = [build(node) for node in config.metrics.values()]
    if not metrics or not pictures:
        return NOTHING
    try:
        offline.embedder.require()
    except UserError as error:
        say("metrics", f"the drawn set is not measured: {error}; metrics=[] asks for no measures")
        return NOTHING
    with stages.stage("metrics") as row:
        chosen = spread(pictures, MAX_PICTURES)
        drawn = embed(offline.models, chosen, spread(reference, MAX_PICTURES), class_names)
        offline.models.drop("embeddings")
        if drawn is None:
            return NOTHING
        found = Quality(
            [number for metric in metrics for number in metric.measure(drawn.vectors)],
            per_picture(drawn, class_names),
        )
        row["made"] = len(found.rows)
    return found


@dataclass(frozen=True)
class Embedded:
    """A drawn set with the pictures that its rows are of."""

    vectors: EmbeddedSet
    pictures: list[StoredImage]


def embed(
    models: Models,
    pictures: Sequence[StoredImage],
    reference: Sequence[Sample],
    class_names: Sequence[str],
) -> Embedded | None:
    """Embed pictures and texts; files that cannot be read are left out. None if nothing is left."""
    sources = (ToEmbed(path, path) for path in {p.prompt.source: None for p in pictures})
    of_source = embed_files(models, sources)
    checksums = {picture.file: picture.row.file_sha256 for picture in pictures}
    of_drawn = embed_files(models, (ToEmbed(file, file, sha) for file, sha in checksums.items()))
    of_real = embed_files(models, (ToEmbed(sample.path, sample.path) for sample in reference))
    kept = [p for p in pictures if p.file in of_drawn and p.prompt.source in of_source]
    if not kept:
        return None
    rows = {source: row for row, source in enumerate(of_source)}
    captions = [picture.prompt.caption for picture in kept]
    said = None
    if None not in captions:
        of_text = embed_texts(models, [caption or "" for caption in captions])
        said = np.stack([of_text[caption or ""] for caption in captions])
    labels = [LABEL_TEXT.format(label=name) for name in class_names]
    of_label = embed_texts(models, labels)
    vectors = EmbeddedSet(
        generated=np.stack([of_drawn[picture.file] for picture in kept]),
        labels=np.array([picture.prompt.label for picture in kept]),
        originals=np.stack(list(of_source.values())),
        sources=np.array([rows[picture.prompt.source] for picture in kept]),
        label_texts=np.stack([of_label[text] for text in labels]),
        caption_texts=said,
        reference=np.stack(list(of_real.values())) if of_real else None,
        reference_split=reference[0].split if reference else "val",
    )
    return Embedded(vectors, kept)


def embed_files(models: Models, files: Iterable[ToEmbed]) -> dict[str, np.ndarray]:
    """Return path -> unit vector (D,), float32; files that cannot be read are left out.

    Raises:
        DamagedError: A generated image is not what was written.
    """
    vectors: dict[str, np.ndarray] = {}

    def keep(row: EmbeddingRow) -> None:
        if row.embedding is not None:
            vectors[row.key] = row.embedding

    by_path = {file.path: file for file in files}
    if not by_path:
        return vectors
    batches = ([by_path[path] for path in batch] for batch in cut(list(by_path), BATCH))
    models.predict("embeddings", batches, models.image_reader("embeddings"), _itself, keep)
    raise_if_stopped()
    return vectors


def _itself(row: EmbeddingRow) -> EmbeddingRow:
    return row


def embed_texts(models: Models, texts: Iterable[str]) -> dict[str, np.ndarray]:
    """Return text -> unit vector (D,), float32."""
    unique = list(dict.fromkeys(texts))
    vectors = models.module("embeddings").scorer.embed_texts(unique)
    return dict(zip(unique, vectors.numpy(), strict=True))


def per_picture(drawn: Embedded, class_names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns of `quality.parquet`."""
    vectors = drawn.vectors
    said: list[Any] = [None] * len(drawn.pictures)
    if vectors.caption_texts is not None:
        said = paired_cosines(vectors.generated, vectors.caption_texts).tolist()
    to_label = label_similarity(vectors.generated, vectors.label_texts, vectors.labels)
    distance = distance_to_original(vectors.generated, vectors.originals, vectors.sources)
    nearest = zero_shot_labels(vectors.generated, vectors.label_texts)
    return {
        "id": [picture.prompt.image_id for picture in drawn.pictures],
        "label_similarity": to_label.tolist(),
        "caption_similarity": said,
        "original_distance": distance.tolist(),
        "zero_shot": [class_names[label] for label in nearest],
    }
