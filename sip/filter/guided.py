"""Keeps, among the candidates of each original, the most informative and diverse ones.

Source: GIF, Zhang et al., Expanding Small-Scale Datasets with Guided Imagination, NeurIPS 2023
(arXiv 2211.13976), section 4; code github.com/Vanint/DatasetExpansion. With p the zero-shot
probabilities by CLIP of the original, p' of a candidate (softmax of 100 cosines with the classes'
prompts), H the entropy in nat and f' its unit vector, GIF maximises

    p'[class] + H(p') - H(p)  +  a divergence of f' from the mean of the original's K candidates

What we changed:
- GIF moves the latents of each image up this score's gradient, by one step through the decoder.
  Here K candidates are generated from different noise, and the best ones are selected: the
  generator stays as it is, and images in the store are used.
- GIF's class is what CLIP takes the original for; here it is the label, which is known.
- A candidate that CLIP takes for another class is rejected, unless CLIP takes the original for
  another class than its own as well. In GIF the class is held by the score only.
- The divergence is 1 - cosine of f' with the mean of the candidates'. GIF's is a
  Kullback-Leibler divergence of softmaxes over the dimensions of unit vectors, which is close to
  zero whatever the images.
"""

from collections.abc import Sequence

import numpy as np

from sip.core.component import component
from sip.core.errors import UserError
from sip.core.ranges import Count, NotNegative, Positive
from sip.filter.base import DECIMALS, KEPT, Candidate, Facts, LabelFilter, Verdict
from sip.filter.zero_shot import zero_shot


@component
class Guided(LabelFilter):
    """Selects among the candidates of each original.

    Args:
        num: Images kept of each original at most; images.per_sample is the number of candidates.
        diversity: Weight of the divergence; the entropy gain and p' weigh 1.
        logit_scale: Scale of the zero-shot softmax; 100 is CLIP's.
    """

    num: Count
    diversity: NotNegative
    logit_scale: Positive

    def check(self, per_sample: int) -> None:
        """Refuse to keep more images than there are candidates.

        Raises:
            UserError: `num` is larger than `per_sample`.
        """
        if self.num > per_sample:
            raise UserError(
                f"filter.num: must be at most images.per_sample={per_sample}, the candidates of "
                f"each original, got {self.num}; raise images.per_sample"
            )

    def judge(self, images: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Score the candidates; keep the best of each original."""
        texts = facts.texts(self.prompts(facts.class_names))
        vectors = self.vectors([image.sha256 for image in images], facts)
        sources = self.vectors([image.source_sha256 for image in images], facts)
        labels = np.array([image.label for image in images])
        source_labels = [i.label if i.source_label is None else i.source_label for i in images]
        by_source: dict[str, list[int]] = {}
        for row, image in enumerate(images):
            by_source.setdefault(image.sample_id, []).append(row)
        seen = zero_shot(vectors, texts, self.logit_scale)
        of_source = zero_shot(sources, texts, self.logit_scale)
        scores = informativeness(seen, of_source, labels)
        for rows in by_source.values():
            scores[rows] += self.diversity * divergence(vectors[rows])
        scores = scores.round(DECIMALS)
        same_class = (seen.argmax(1) == labels) | (of_source.argmax(1) != source_labels)
        verdicts = [KEPT] * len(images)
        for rows in by_source.values():
            right = [row for row in rows if same_class[row]]
            right.sort(key=lambda row: -scores[row])
            for place, row in enumerate(right[self.num :], self.num + 1):
                detail = f"score {scores[row]:.2f}, place {place} of {len(rows)}"
                verdicts[row] = Verdict("less informative", detail)
            for row in set(rows).difference(right):
                other = facts.class_names[int(seen[row].argmax())]
                verdicts[row] = Verdict("another class", f"zero-shot {other}")
        return verdicts


def informativeness(seen: np.ndarray, of_source: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return p'[label] + H(p') - H(p), (N,), of probabilities (N, classes)."""
    gain: np.ndarray = entropy(seen) - entropy(of_source)
    return seen[np.arange(len(labels)), labels] + gain


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy in nat, (N,), of probabilities (N, classes)."""
    logs = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    return -(probabilities * logs).sum(1)


def divergence(vectors: np.ndarray) -> np.ndarray:
    """Return 1 - cosine, (K,), of unit vectors (K, D) with their mean; 0 for a single one."""
    mean = vectors.astype(np.float64).mean(0)
    return 1 - vectors @ mean / np.linalg.norm(mean)
