"""The quality of the images that a run generated: embedded by its scorer, then measured.

Metrics with a network of their own get its features instead (`sip.pipeline.features`).

Rows go into the summary; `quality.parquet` in the run's folder says the same image by image.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from sip.config.build import build
from sip.core.errors import UserError
from sip.core.files import atomic_file
from sip.core.hashing import digest
from sip.core.interrupt import raise_if_stopped
from sip.core.progress import say
from sip.core.spread import spread
from sip.core.stages import StageLog
from sip.core.uri import place_of
from sip.dataset.base import Sample
from sip.metrics.base import EmbeddedSet, FeatureMetric, Metric, MetricRow
from sip.metrics.consistency import label_similarity, paired_cosines, zero_shot_labels
from sip.metrics.diversity import distance_to_original
from sip.pipeline.features import feature_set
from sip.pipeline.models import Models
from sip.pipeline.offline import Offline
from sip.pipeline.stored import StoredImage
from sip.scores.base import EmbeddingRow, ToEmbed
from sip.store.fill import cut

LABEL_TEXT = "a photo of a {label}"  # SIP's prompt without its caption
FILE, METADATA = "quality.parquet", b"sip"
MAX_IMAGES = 10_000  # of the generated set and of the reference that are embedded; n says how many
BATCH = 64  # images on the device at a time


@dataclass(frozen=True)
class Quality:
    """The measures of a generated set.

    Attributes:
        rows: The numbers; none if nothing could be measured.
        images: Columns of `quality.parquet`: "id" of the generated image, "label_similarity",
            "caption_similarity" and "original_distance" (1 - cosine), "zero_shot" (a class name).
        key: Hash of all that the numbers depend on; a file with the same key is not measured again.
    """

    rows: list[MetricRow]
    images: dict[str, list[Any]]
    key: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """Name -> value."""
        return {row.metric: row.value for row in self.rows}

    def write(self, folder: Path) -> None:
        """Write `quality.parquet` into a run's folder, where there is anything to say."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.images:
            known = {"key": self.key, "rows": [asdict(row) for row in self.rows]}
            table = pa.table(self.images).replace_schema_metadata({METADATA: json.dumps(known)})
            with atomic_file(folder / FILE) as file:
                pq.write_table(table, file)

    @classmethod
    def read(cls, folder: Path, key: str) -> "Quality | None":
        """Return what an earlier run of the same folder measured; None if that was another set."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(folder / FILE)
            known = json.loads(table.schema.metadata[METADATA])
            if known["key"] != key:
                return None
            return cls([MetricRow(**row) for row in known["rows"]], table.to_pydict(), key)
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
            return None


NOTHING = Quality([], {})


def measure(
    config: DictConfig,
    offline: Offline,
    images: Sequence[StoredImage],
    reference: Sequence[Sample],
    class_names: Sequence[str],
    stages: StageLog,
    folder: Path,
) -> Quality:
    """Measure what `config.metrics` chooses; a stage of its own.

    A set whose scorer has no weights here is left unmeasured, with a line that says so: what is
    generated and trained does not depend on it.

    Args:
        config: The whole configuration.
        offline: Its embedder is asked.
        images: Generated ones with status "ok".
        reference: Real images that nothing was generated from, of one split; may be empty.
        class_names: By label.
        stages: Log that gets the time.
        folder: Folder of the run; what it holds of the same set is not measured again.
    """
    metrics: list[Metric | FeatureMetric] = [build(node) for node in config.metrics.values()]
    if not metrics or not images:
        return NOTHING
    try:
        offline.embedder.require()
    except UserError as error:
        say(
            "metrics",
            f"the generated set is not measured: {error}; metrics=[] asks for no measures",
        )
        return NOTHING
    with stages.stage("metrics") as row:
        chosen = spread(images, MAX_IMAGES)
        shown = [(p.row.file_sha256, p.prompt.caption, p.prompt.label) for p in chosen]
        sets = [*shown, *(sample.sha256 for sample in spread(reference, MAX_IMAGES))]
        how = [metric.recipe() for metric in metrics]
        key = digest(how, offline.embedder.recipe(), list(class_names), sets)
        if (known := Quality.read(folder, key)) is not None:
            row["cached"] = len(known.rows)
            return known
        embedded = embed(offline.models, chosen, spread(reference, MAX_IMAGES), class_names)
        offline.models.drop("embeddings")
        if embedded is None:
            return NOTHING
        rows: list[MetricRow] = []
        for metric in metrics:
            if not isinstance(metric, FeatureMetric):
                rows += metric.measure(embedded.vectors)
            elif embedded.reference:
                features = feature_set(
                    metric.network,
                    embedded.images,
                    embedded.reference,
                    place_of(config.paths.store),
                    offline.runtime.device,
                )
                rows += metric.measure(features)
        found = Quality(rows, per_image(embedded, class_names), key)
        row["computed"] = len(found.rows)
    return found


@dataclass(frozen=True)
class Embedded:
    """A generated set with the images that its rows are of, and the real ones of the reference."""

    vectors: EmbeddedSet
    images: list[StoredImage]
    reference: Sequence[Sample]


def embed(
    models: Models,
    images: Sequence[StoredImage],
    reference: Sequence[Sample],
    class_names: Sequence[str],
) -> Embedded | None:
    """Embed images and texts; files that cannot be read are left out. None if nothing is left."""
    sources = (ToEmbed(path, path) for path in {p.prompt.source: None for p in images})
    of_source = embed_files(models, sources)
    checksums = {image.file: image.row.file_sha256 for image in images}
    of_generated = embed_files(
        models, (ToEmbed(file, file, sha) for file, sha in checksums.items())
    )
    of_real = embed_files(models, (ToEmbed(sample.path, sample.path) for sample in reference))
    kept = [p for p in images if p.file in of_generated and p.prompt.source in of_source]
    if not kept:
        return None
    rows = {source: row for row, source in enumerate(of_source)}
    captions = [image.prompt.caption for image in kept]
    caption_vectors = None
    if None not in captions:
        of_text = embed_texts(models, [caption or "" for caption in captions])
        caption_vectors = np.stack([of_text[caption or ""] for caption in captions])
    labels = [LABEL_TEXT.format(label=name) for name in class_names]
    of_label = embed_texts(models, labels)
    vectors = EmbeddedSet(
        generated=np.stack([of_generated[image.file] for image in kept]),
        labels=np.array([image.prompt.label for image in kept]),
        originals=np.stack(list(of_source.values())),
        sources=np.array([rows[image.prompt.source] for image in kept]),
        label_texts=np.stack([of_label[text] for text in labels]),
        caption_texts=caption_vectors,
        reference=np.stack(list(of_real.values())) if of_real else None,
        reference_split=reference[0].split if reference else "val",
    )
    return Embedded(vectors, kept, [sample for sample in reference if sample.path in of_real])


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


def per_image(embedded: Embedded, class_names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns of `quality.parquet`."""
    vectors = embedded.vectors
    to_caption: list[Any] = [None] * len(embedded.images)
    if vectors.caption_texts is not None:
        to_caption = paired_cosines(vectors.generated, vectors.caption_texts).tolist()
    to_label = label_similarity(vectors.generated, vectors.label_texts, vectors.labels)
    distance = distance_to_original(vectors.generated, vectors.originals, vectors.sources)
    nearest = zero_shot_labels(vectors.generated, vectors.label_texts)
    return {
        "id": [image.prompt.image_id for image in embedded.images],
        "label_similarity": to_label.tolist(),
        "caption_similarity": to_caption,
        "original_distance": distance.tolist(),
        "zero_shot": [class_names[label] for label in nearest],
    }
