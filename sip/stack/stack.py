"""A stack in its folder: what it is trained on, which parts are missing, and their training."""

import json
import math
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig

from sip.config.build import build
from sip.config.provenance import choice
from sip.core.errors import UserError
from sip.core.files import check_can_be_made, held, write_atomically
from sip.core.hashing import digest
from sip.core.interrupt import graceful, raise_if_stopped
from sip.core.progress import say
from sip.core.text import reason_of
from sip.dataset.base import Dataset
from sip.dataset.digits import Digits
from sip.stack import chains, parts
from sip.stack.fit import forget
from sip.stack.folder import GRAMMAR, folder_of, reports_of
from sip.stack.judge import LITE0_NAME, NETWORKS, network_of
from sip.stack.pool import Pool
from sip.stack.sizes import IMAGE_SIZES, Preset, preset
from sip.stack.sources import load, part_of
from sip.stack.texts import Measured
from sip.stack.work import Work, work_of
from sip.weights.packages import require_package
from sip.weights.stacks import CARD, LEARNT, MADE_FROM, name_of_pool

NAME = "stack"


class Stack:
    """The stack that a configuration describes.

    Args:
        config: Configuration composed from `conf/stack.yaml`.

    Raises:
        UserError: A value is wrong.
    """

    def __init__(self, config: DictConfig) -> None:
        for key, also in (("labels", ()), ("mirror", ("auto",)), ("card", ())):
            if config[key] not in (True, False, *also):
                rule = " or ".join(["true", "false", *also])
                raise UserError(f"{key}: must be {rule}, got {config[key]!r}")
        if config.image_size not in IMAGE_SIZES:
            sizes = " or ".join(map(str, IMAGE_SIZES))
            raise UserError(f"image_size: must be {sizes}, got {config.image_size!r}")
        if type(config.scale) not in (int, float) or not 0 < config.scale < math.inf:
            raise UserError(f"scale: must be a number > 0, got {config.scale!r}")
        if type(config.seed) is not int or config.seed < 0:
            raise UserError(f"seed: must be a whole number >= 0, got {config.seed!r}")
        self.config = config
        self.dataset: Dataset = build(config.dataset)
        has_digits = isinstance(self.dataset, Digits)
        self.is_digits = has_digits and config.caption_file is None
        self.folder = folder_of(config)
        chosen = preset(config.size, self.is_digits)
        if self._judge_network() == "lite0":
            chosen = chosen.with_lite0()
        self.preset: Preset = chosen.scaled(config.scale)
        self.labelled = bool(config.labels)
        self.mirrored = not has_digits if config.mirror == "auto" else bool(config.mirror)
        if self.mirrored and has_digits:
            raise UserError(
                "mirror: must be false for digits, got true; a mirrored digit is no digit"
            )
        self.again = _names("again", config.again)
        self.parts = [p for p in parts.MAKERS if self.labelled or p not in parts.LABELLED]
        self.chosen = self._known("parts", _names("parts", config.parts)) or self.parts

    def _judge_network(self) -> str:
        """Return what the judge is: the configured network, else that which is there."""
        choice = self.config.judge
        if choice not in (None, *NETWORKS):
            raise UserError(
                f"judge: must be {', '.join(NETWORKS)} or null, got {choice!r}; null keeps what "
                f"is there, else {NETWORKS[0]}"
            )
        return choice or self.reports().get("judge", {}).get("network", NETWORKS[0])

    @cached_property
    def made_from(self) -> dict[str, Any]:
        """What decides the weights, apart from the code."""
        config, captions = self.config, None
        part = part_of(self.dataset)
        samples = self.dataset.samples(part)
        if config.caption_file is not None:
            try:
                captions = digest(Path(config.caption_file).read_text())[:16]
            except (OSError, ValueError) as error:
                raise UserError(
                    f"caption_file: must be a CSV file, got {config.caption_file} "
                    f"({reason_of(error)})"
                ) from error
        images = ((sample.sha256, sample.label) for sample in samples)
        return {
            "dataset": config.dataset.get("name") or choice("dataset"),
            "part": part,
            "images": name_of_pool(images, self.labelled),
            "size": config.size,
            "scale": config.scale,
            "image_size": config.image_size,
            "labels": self.labelled,
            "classes": self._classes() if self.labelled else None,
            "captions": captions,
            "mirror": self.mirrored,
            "seed": config.seed,
        }

    def _classes(self) -> str:
        """Return what the classes are called, which prompts and captions say.

        Raises:
            UserError: There is one only, which no judge and no ViT can learn to tell.
        """
        names = list(self.dataset.class_names)
        if len(names) < 2:
            raise UserError(
                f"labels: must be false for images of one class, got true ({', '.join(names)}); "
                "set labels=false, or give each class a folder"
            )
        return f"{len(names):,} ({digest(names)[:8]})"

    def pool(self) -> Pool:
        """Read the images that the stack learns from."""
        return load(
            self.dataset,
            self.config.image_size,
            labelled=self.labelled,
            mirrored=self.mirrored,
            captions=self.config.caption_file,
            seed=self.config.seed,
        )

    def reports(self) -> dict[str, dict[str, Any]]:
        """Return part -> report of those parts that are there."""
        return reports_of(self.folder)

    @property
    def has_judge(self) -> bool:
        """Whether the card's judge is there, and the network that is configured."""
        there = self.reports().get("judge", {"network": None})
        return bool(there.get("network", NETWORKS[0]) == network_of(self.preset))

    def missing(self) -> list[str]:
        """Return the parts to train; a new autoencoder asks for a new diffusion model.

        Raises:
            UserError: `again` names something else.
        """
        again = self._known("again", self.again, "all")
        there = self.reports()
        missing = {p for p in self.parts if p in again or "all" in again or p not in there}
        if "vae" in missing:
            missing.add("diffusion")
        if not self.has_judge:
            missing.add("judge")
        return [part for part in self.parts if part in missing]

    def to_train(self) -> list[str]:
        """Return the missing parts that are chosen, in the order of training.

        Raises:
            UserError: A diffusion model is to be trained without its autoencoder, or a part again
                that is not chosen.
        """
        missing = self.missing()
        if others := [part for part in self.again if part not in (*self.chosen, "all")]:
            raise UserError(
                f"again: must be some of parts ({', '.join(self.chosen)}), got "
                f"{', '.join(others)}; add it to parts"
            )
        chosen = [part for part in missing if part in self.chosen]
        if "vae" in missing and "diffusion" in chosen and "vae" not in chosen:
            raise UserError(
                "parts: must have vae with diffusion, which learns on its latents, got "
                f"{', '.join(self.chosen)}; add vae"
            )
        return chosen

    def _known(self, key: str, given: list[str], *more: str) -> list[str]:
        if unknown := sorted(set(given) - {*self.parts, *more}):
            raise UserError(
                f"{key}: must be some of {', '.join(self.parts)}{' or all' if more else ''}, got "
                f"{', '.join(unknown)}"
            )
        return given

    def make(self) -> list[str]:
        """Train what is missing of the chosen parts; return what is missing at the time limit.

        Raises:
            UserError: The folder holds a stack of something else, or the pool cannot be read.
            Stopped: A stop was asked for; checkpoints are written.
        """
        work = work_of(self.config, self.folder)
        missing = self.to_train()
        if "all" not in self.again:
            self.check()
        for part in self.chosen:
            if part not in missing:
                say(part, f"is in {self.folder}")
        if not missing:
            return []
        if "judge" in missing and network_of(self.preset) == "lite0":
            require_package(LITE0_NAME)
        # Before anything is written: each may be refused.
        check_can_be_made(self.folder, "folder")
        _ = self.made_from
        pool = self.pool().to(work.device)
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as until_done:
            try:
                until_done.enter_context(held(self.folder))
            except BlockingIOError:
                raise UserError(
                    f"folder: must be trained by one process, got {self.folder}, where another is "
                    "at work; wait for it, or name another folder"
                ) from None
            self._train(pool, work, missing)
        there = self.reports()
        return [part for part in missing if part not in there]

    def _train(self, pool: Pool, work: Work, missing: list[str]) -> None:
        """Train parts on a pool."""
        self._settle(work, missing)
        if isinstance(pool.texts, Measured):
            grammar = pool.texts.grammar.as_dict()
            write_atomically(self.folder / GRAMMAR, json.dumps(grammar, indent=2) + "\n")
        say(NAME, self._line(pool, work))
        task = parts.Task(pool, self.preset, self.config.seed, work)
        missing_chains = [tuple(p for p in chain if p in missing) for chain in parts.CHAINS]
        missing_chains = [chain for chain in missing_chains if chain]
        on_cpu = torch.device(work.device).type == "cpu"
        with graceful():
            if on_cpu and len(missing_chains) > 1 and chains.threads() > 1:
                chains.make_side_by_side(missing_chains, task)
            else:
                for chain in missing_chains:
                    chains.make_chain(chain, task, None)
            raise_if_stopped()

    def check(self) -> None:
        """Refuse a folder whose stack, whole or in part, was trained on something else.

        Raises:
            UserError: It was; the message names what differs.
        """
        file = self.folder / MADE_FROM
        if not file.exists():
            return
        there = json.loads(file.read_text())
        differ = ", ".join(
            f"{key} {there[key]}, now {value}"
            for key, value in self.made_from.items()
            if there.get(key, value) != value
        )
        if differ:
            raise UserError(
                f"folder: {self.folder} holds a stack of other settings ({differ}); name "
                "another folder, or train it again with again=[all]"
            )

    def _settle(self, work: Work, missing: list[str]) -> None:
        """Write what the stack is trained on; remove what is of parts to train again.

        With `again=[all]` no part counts as there, chosen or not: each is of other settings.
        """
        text = json.dumps(self.made_from, indent=2)
        learnt = sorted({sample.sha256 for sample in self.dataset.samples(part_of(self.dataset))})
        write_atomically(self.folder / LEARNT, "".join(f"{sha256}\n" for sha256 in learnt))
        write_atomically(self.folder / MADE_FROM, text + "\n")
        (self.folder / CARD).unlink(missing_ok=True)  # it would be of older weights
        again = self.again
        for part in parts.MAKERS if "all" in again else missing:
            if part in again or "all" in again or (part == "diffusion" and "vae" in again):
                forget(part, work)
            (self.folder / f"{part}.report.json").unlink(missing_ok=True)

    def _line(self, pool: Pool, work: Work) -> str:
        kind = "bfloat16" if work.bfloat16 else "float32"
        mirrored = " and their mirror images" if pool.mirrored else ""
        labels = f"{pool.num_classes} classes" if self.labelled else "no labels"
        return (
            f"{len(pool.images):,} images{mirrored} of {part_of(self.dataset)}, "
            f"{pool.side} px, {labels}; {work.device}, {kind}; to {self.folder}"
        )


def _names(key: str, given: Any) -> list[str]:
    """Return names of parts, of which one may stand without a list.

    Raises:
        UserError: It is neither.
    """
    names = [given] if isinstance(given, str) else given or []
    if not isinstance(names, list | ListConfig) or {type(name) for name in names} - {str}:
        raise UserError(f"{key}: must be a list of parts, got {given}; write {key}=[vae]")
    return list(names)
