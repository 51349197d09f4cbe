"""A generated set is embedded by the scorer that ranks captions, and measured image by image."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from sip.core.image_io import read_rgb
from sip.core.stages import StageLog
from sip.dataset.base import Sample
from sip.dataset.digits import CLASS_NAMES
from sip.pipeline.offline import Offline
from sip.pipeline.quality import NOTHING, embed, measure, per_image
from sip.pipeline.stored import StoredImage
from sip.prompts.base import Prompt, Span
from tests.dataset.trees import source
from tests.kills import configuration
from tests.pipeline.made_up import stored

METRICS = {
    "consistency": {"_target_": "sip.metrics.consistency.Consistency"},
    "distribution": {
        "_target_": "sip.metrics.distribution.Distribution",
        "precision_neighbours": 3,
        "coverage_neighbours": 5,
    },
}


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Offline:
    folder = tmp_path_factory.mktemp("offline")
    return Offline(configuration(folder))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = str(tmp_path_factory.mktemp("data"))
    return source("digits", folder, image_size=32, shots=2).samples("train")


def stored_images(
    samples: list[Sample], caption: str | None = "a digit, wide"
) -> list[StoredImage]:
    """Take the other image of the same class for the generated one."""
    made = []
    for number, sample in enumerate(samples):
        other = next(s for s in samples if s.label == sample.label and s is not sample)
        prompt = Prompt(
            sample.sample_id, sample.path, sample.sha256, sample.label, sample.class_name, 0,
            (Span(sample.class_name, 1.5),), "", 4.0, 0.5, number, caption, None,
        )  # fmt: skip
        made.append(stored(prompt, other.path))
    return made


def test_similarities_are_the_scorers_own(offline: Offline, samples: list[Sample]) -> None:
    found = embed(offline.models, stored_images(samples), samples, CLASS_NAMES)
    assert found is not None
    columns = per_image(found, CLASS_NAMES)
    for row in (0, 7, 19):
        image = found.images[row]
        scorer = offline.models.module("embeddings").scorer
        pixels = scorer.prepare([read_rgb(image.file, None)])
        texts = [f"a photo of a {name}" for name in CLASS_NAMES]
        cosines = scorer.score([[*texts, "a digit, wide"]], pixels)[0]
        label = image.prompt.label
        assert columns["label_similarity"][row] == pytest.approx(cosines[label], abs=1e-3)
        assert columns["caption_similarity"][row] == pytest.approx(cosines[-1], abs=1e-3)
        best = max(range(10), key=cosines.__getitem__)
        assert columns["zero_shot"][row] == CLASS_NAMES[best]
    sources = found.vectors.originals[found.vectors.sources]
    assert columns["original_distance"][3] == pytest.approx(
        1 - float(found.vectors.generated[3] @ sources[3]), abs=1e-5
    )
    # The reference holds the same images as the generated set, in another order.
    assert sorted(found.vectors.reference[:, 0]) == pytest.approx(
        sorted(found.vectors.generated[:, 0])
    )


def test_unreadable_files_are_left_out(
    offline: Offline, samples: list[Sample], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    some = stored_images(samples, caption=None)
    some[2] = stored(some[2].prompt, str(broken))
    found = embed(offline.models, some, [], CLASS_NAMES)
    assert found is not None and len(found.images) == 19 and some[2] not in found.images
    assert found.vectors.caption_texts is None and found.vectors.reference is None
    some = [stored(image.prompt, str(broken)) for image in some]
    assert embed(offline.models, some, [], CLASS_NAMES) is None


def test_a_run_gets_rows_and_a_file(
    offline: Offline, samples: list[Sample], tmp_path: Path
) -> None:
    stages = StageLog()
    config = OmegaConf.create({"metrics": METRICS})
    some = stored_images(samples)
    found = measure(config, offline, some, samples, CLASS_NAMES, stages, tmp_path)
    assert set(found.metrics) >= {"generated/consistency_label", "generated/frechet"}
    assert found.metrics["generated/frechet"] == pytest.approx(0, abs=1e-4)
    assert found.metrics["generated/coverage"] == 1
    assert {row.n for row in found.rows} == {20}
    assert [(row["stage"], row["computed"]) for row in stages.rows] == [("metrics", 9)]
    found.write(tmp_path)
    rows = pq.read_table(tmp_path / "quality.parquet").to_pylist()
    assert [row["id"] for row in rows] == [image.prompt.image_id for image in some]
    again = measure(config, offline, some, samples, CLASS_NAMES, stages, tmp_path)
    assert again == found and (stages.rows[1]["cached"], stages.rows[1]["computed"]) == (9, 0)
    for changed in (
        (OmegaConf.create({"metrics": dict(list(METRICS.items())[:1])}), some, samples),
        (config, some[:19], samples),
        (config, some, samples[:19]),
    ):
        measure(changed[0], offline, *changed[1:], CLASS_NAMES, stages, tmp_path)
        assert stages.rows[-1]["cached"] == 0 and stages.rows[-1]["computed"] > 0


def test_a_scorer_without_weights_costs_the_measures_alone(
    samples: list[Sample], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = OmegaConf.create({"metrics": METRICS})
    offline = Offline(configuration(tmp_path, f"scores.model={tmp_path / 'nowhere'}"))
    found = measure(config, offline, stored_images(samples), [], CLASS_NAMES, StageLog(), tmp_path)
    assert found is NOTHING and found.metrics == {} and found.rows == []
    assert "the generated set is not measured" in capfd.readouterr().err
    nothing = OmegaConf.create({"metrics": {}})
    assert (
        measure(nothing, offline, stored_images(samples), [], CLASS_NAMES, StageLog(), tmp_path)
        is found
    )
