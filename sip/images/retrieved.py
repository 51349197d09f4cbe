"""The control of every generator: real images of its pool in place of generated ones.

A generator saw images that the classifier does not get. As many real ones, retrieved from there,
tell how much of a gain is the method's and how much is the pool's (Burg et al., "Image retrieval
outperforms diffusion models on data augmentation", TMLR 2023, arXiv 2304.10253). Whatever is
retrieved has the class of its original; text, guidance and noise rate play no part.

`random`: pool and originals of a class have a random order each, given by `seed`. The first variant
of original i is image i of the pool, the next ones follow, so an image comes twice only when the
pool is used up. `nearest`: variant v is the v-th nearest to the original by the scorer's cosine.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sip.core.component import Part, component, known_by, refuse
from sip.core.hashing import digest
from sip.core.ranges import Seed
from sip.core.spill import Spilled
from sip.dataset.base import Dataset, Sample
from sip.dataset.subsets import Subset
from sip.device.settings import Runtime
from sip.images.base import Generator
from sip.prompts.base import Prompt
from sip.scores.base import Scorer

if TYPE_CHECKING:
    from sip.images.retrieval import RetrievalModule

OF_THE_RUN = ("shots", "fraction", "imbalance", "label_noise", "seed")  # of the pool's data set


@component
class Retrieved(Generator):
    """Retrieves real images.

    Args:
        pool: Data set; which of its training images a run takes is without effect.
        part: Part of the data set that is retrieved from; of `train`, never the original itself.
        choose: "random" or "nearest".
        scorer: Whose cosine says what is near; asked for "nearest" only.
        seed: Seed of the random order.
    """

    reads_source: ClassVar[bool] = False
    kind: ClassVar[str] = "retrieved"

    pool: Part[Dataset] = known_by("known_pool")
    part: Literal["pretrain", "train"]
    choose: Literal["random", "nearest"]
    scorer: Part[Scorer]
    seed: Seed

    @property
    def known_pool(self) -> dict[str, Any]:
        """The pool's recipe, without what chooses a run's training images."""
        return {key: v for key, v in self.pool.recipe().items() if key not in OF_THE_RUN}

    @property
    def unread(self) -> frozenset[str]:
        """All of it but class and variant."""
        return frozenset({"noise_rate", "guidance_scale", "negative_prompt"})

    def require(self) -> None:
        """Check that there is such a part, and weights of the scorer if it is asked.

        Raises:
            UserError: There is not.
        """
        parts = getattr(self.pool, "all_splits", ("train",))
        if self.part not in parts:
            rule = f"a part of the data set ({', '.join(parts)})"
            fix = "set dataset.pretrain_fraction to what the generator was trained on"
            raise refuse("images.part", rule, self.part, fix)
        if self.choose == "nearest":
            self.scorer.require()

    def completed(self, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> Sequence[Prompt]:
        """Return prompts whose keys have what chooses an image: class, original and variant."""
        return Spilled(
            replace(one, extra_key=digest(one.label, one.sample_id, one.variant))
            for one in super().completed(prompts, samples)
        )

    def num_evaluations(self, prompt: Prompt) -> int:
        """Return 0: nothing is generated."""
        return 0

    def load(self, runtime: Runtime) -> "RetrievalModule":
        """Return a new module, with the scorer's weights on the device if it is asked."""
        from sip.images.retrieval import RetrievalModule

        self.require()
        scorer = self.scorer.load(runtime) if self.choose == "nearest" else None
        return RetrievalModule(self, self, runtime, scorer)

    @cached_property
    def candidates(self) -> dict[int, list[Sample]]:
        """Label -> its images of the pool, in random order."""
        return self._by_class(self._whole.samples(self.part))

    def in_order(self, prompt: Prompt) -> list[Sample]:
        """Return the candidates of a prompt in the random order, its own first one first."""
        found = [
            s for s in self.candidates.get(prompt.label, ()) if s.sample_id != prompt.sample_id
        ]
        if not found:
            return []
        rank, num = self._ranks.get(prompt.sample_id, (0, 1))
        start = (rank + prompt.variant * num) % len(found)
        return found[start:] + found[:start]

    @cached_property
    def _ranks(self) -> dict[str, tuple[int, int]]:
        """Original -> its place among those of its class, and their number."""
        by_class = self._by_class(self._whole.samples("train"))
        return {
            sample.sample_id: (rank, len(members))
            for members in by_class.values()
            for rank, sample in enumerate(members)
        }

    @property
    def _whole(self) -> Dataset:
        """The data set with all training images, so that a run's subset moves no row."""
        if not isinstance(self.pool, Subset):
            return self.pool
        whole: Any = replace(self.pool, shots=None, fraction=None, imbalance=None, label_noise=None)
        return whole

    def _by_class(self, samples: Sequence[Sample]) -> dict[int, list[Sample]]:
        classes: dict[int, list[Sample]] = defaultdict(list)
        for sample in sorted(samples, key=lambda s: digest("retrieved", self.seed, s.sample_id)):
            classes[sample.label].append(sample)
        return classes
