"""One stack in one folder: what it is made from, which parts are missing, who makes them."""

import json
import multiprocessing
import os
import shlex
import signal
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from sip.config.build import build
from sip.config.provenance import choice, command_line
from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.hashing import digest
from sip.core.interrupt import Stopped, forward, graceful, raise_if_stopped
from sip.core.progress import say
from sip.dataset.base import Dataset
from sip.dataset.digits import Digits
from sip.stack import parts
from sip.stack.fit import forget
from sip.stack.pool import Pool
from sip.stack.sizes import IMAGE_SIZES, Preset, preset
from sip.stack.sources import grammar_of, load, part_of
from sip.stack.texts import Measured
from sip.stack.work import OutOfTimeError, Work, work_of

MADE_FROM, GRAMMAR = "stack.json", "grammar.json"
NAME = "stack"
START = "spawn"  # how processes begin; a forked one would have a device's state half


class Stack:
    """The stack that a configuration describes.

    Args:
        config: Of `conf/stack.yaml`.

    Raises:
        UserError: A value is wrong.
    """

    def __init__(self, config: DictConfig) -> None:
        for key in ("labels", "mirror"):
            known = (True, False) if key == "labels" else (True, False, "auto")
            if config[key] not in known:
                raise UserError(f"{key}: expected true or false, came {config[key]!r}")
        if config.image_size not in IMAGE_SIZES:
            sizes = " or ".join(map(str, IMAGE_SIZES))
            raise UserError(f"image_size: expected {sizes}, came {config.image_size!r}")
        if type(config.scale) not in (int, float) or config.scale <= 0:
            raise UserError(f"scale: expected a number above 0, came {config.scale!r}")
        if type(config.seed) is not int or config.seed < 0:
            raise UserError(f"seed: expected a whole number >= 0, came {config.seed!r}")
        self.config = config
        self.dataset: Dataset = build(config.dataset)
        self.is_digits = isinstance(self.dataset, Digits) and config.caption_file is None
        self.preset: Preset = preset(config.size, self.is_digits).scaled(config.scale)
        self.folder = folder_of(config)
        self.labelled = bool(config.labels)
        self.mirrored = not self.is_digits if config.mirror == "auto" else bool(config.mirror)
        if self.mirrored and self.is_digits:
            raise UserError("mirror=true: a mirrored digit is none; leave mirror=auto")
        again = config.again
        self.again: list[str] = [again] if isinstance(again, str) else list(again or [])
        self.parts = [p for p in parts.MAKERS if self.labelled or p not in parts.LABELLED]

    @cached_property
    def made_from(self) -> dict[str, Any]:
        """What decides the weights next to the code, in words and numbers."""
        config = self.config
        captions = None
        if config.caption_file is not None:
            try:
                captions = digest(Path(config.caption_file).read_text())[:16]
            except (OSError, ValueError) as error:
                raise UserError(f"caption_file: cannot be read: {error}") from error
        part = part_of(self.dataset)
        samples = self.dataset.samples(part)
        seen = sorted([sample.sha256, sample.label * self.labelled] for sample in samples)
        return {
            "dataset": config.dataset.get("name") or choice("dataset"),
            "part": part,
            "images": f"{len(seen):,} ({digest(seen)[:8]})",
            "size": config.size,
            "scale": config.scale,
            "image_size": config.image_size,
            "labels": self.labelled,
            "captions": captions,
            "mirror": self.mirrored,
            "seed": config.seed,
        }

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

    def missing(self) -> list[str]:
        """Return the parts that are to be made; a new autoencoder asks for a new diffusion model.

        Raises:
            UserError: `again` names something else.
        """
        again = self.again
        if unknown := sorted(set(again) - {*self.parts, "all"}):
            raise UserError(
                f"again: expected some of {', '.join(self.parts)} or all, came {', '.join(unknown)}"
            )
        there = self.reports()
        missing = {p for p in self.parts if p in again or "all" in again or p not in there}
        if "vae" in missing:
            missing.add("diffusion")
        return [part for part in self.parts if part in missing]

    def make(self) -> list[str]:
        """Make what is missing; return what is missing still, since the time was over.

        Raises:
            UserError: The folder holds a stack of something else, or the pool cannot be read.
            Stopped: A stop was asked for; checkpoints are written.
        """
        work = work_of(self.config, self.folder)
        missing = self.missing()
        if "all" not in self.again:
            self.check()
        for part in self.parts:
            if part not in missing:
                say(part, f"found in {self.folder}")
        if not missing:
            return []
        pool = self.pool()  # before anything is written: it may be refused
        self._settle(work, missing)
        if isinstance(pool.texts, Measured):
            grammar = pool.texts.grammar.as_dict()
            write_atomically(self.folder / GRAMMAR, json.dumps(grammar, indent=2) + "\n")
        say(NAME, self._line(pool, work))
        task = parts.Task(pool, self.preset, self.config.seed, work)
        chains = [tuple(p for p in chain if p in missing) for chain in parts.CHAINS]
        chains = [chain for chain in chains if chain]
        on_cpu = torch.device(work.device).type == "cpu"
        with graceful():
            if on_cpu and len(chains) > 1 and threads() > 1:
                _side_by_side(chains, task)
            else:
                pool = pool.to(work.device)
                for chain in chains:
                    make_chain(chain, replace(task, pool=pool), None)
            raise_if_stopped()
        there = self.reports()
        return [part for part in missing if part not in there]

    def check(self) -> None:
        """Refuse a folder whose stack, whole or in part, was made from something else.

        Raises:
            UserError: It was; says what differs.
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
                "another folder, or make it again with again=[all]"
            )

    def _settle(self, work: Work, missing: list[str]) -> None:
        """Write down what the stack is made from; forget what is to be made again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.made_from, indent=2)
        write_atomically(self.folder / MADE_FROM, text + "\n")
        again = self.again
        for part in missing:
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


def folder_of(config: DictConfig) -> Path:
    """Return the folder of the stack: `folder`, else models/<profile or data set>-<size>."""
    if config.folder is not None:
        return Path(config.folder)
    has_own = "stack" in config.profile
    name = config.profile.name if has_own else choice("dataset")
    return Path("models") / f"{name}-{config.size}"


def training_command(config: DictConfig) -> str | None:
    """Return how to train with the stack; None where no profile reads it."""
    if config.folder is not None or "stack" not in config.profile:
        return None
    given = command_line()["overrides"]
    kept = [text for text in given if text.startswith(("profile", "dataset"))]
    if config.size != config.profile.size:
        kept.append(f"profile.size={config.size}")
    if config.image_size != config.profile.image_size:
        kept += [
            f"profile.{name}={config.image_size}" for name in ("image_size", "generation_size")
        ]
    return shlex.join(["python", "-m", "sip.train", *kept, "augmentation=sip"])


def reports_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return part -> what its training took, of a stack's folder."""
    files = sorted(folder.glob("*.report.json"))
    return {file.name.split(".")[0]: json.loads(file.read_text()) for file in files}


def read_grammar(folder: Path) -> Any:
    """Return the grammar of a stack; None where it learnt from own captions."""
    file = folder / GRAMMAR
    return grammar_of(json.loads(file.read_text())) if file.exists() else None


def threads() -> int:
    """Return the cores that this process may use, or what OMP_NUM_THREADS says."""
    return torch.get_num_threads()


def make_chain(chain: tuple[str, ...], task: parts.Task, num_threads: int | None) -> None:
    """Make the parts of one chain in turn, until the time is over.

    Args:
        chain: Names of `parts.MAKERS`.
        task: What they are made from.
        num_threads: torch's; None leaves them.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    with task.work.fast(), suppress(OutOfTimeError):
        for part in chain:
            if task.work.is_late:
                return
            report = parts.MAKERS[part](task)
            text = json.dumps(report)
            write_atomically(task.work.folder / f"{part}.report.json", text + "\n")
            forget(part, task.work)
            say(part, text)


def _child(chain: tuple[str, ...], task: parts.Task, num_threads: int) -> None:
    """Make a chain in a process of its own; exit code 1 with one line for a mistake."""
    try:
        with graceful():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the first process passes it on
            make_chain(chain, task, num_threads)
    except Stopped:
        raise SystemExit(0) from None
    except UserError as error:
        say(chain[0], f"error: {error}")
        raise SystemExit(1) from None


def _side_by_side(chains: list[tuple[str, ...]], task: parts.Task) -> None:
    """Make the chains in a process each, which share the cores.

    Raises:
        UserError: One of them failed; it has said why, and the others have finished.
    """
    context: Any = multiprocessing.get_context(START)
    each = max(1, threads() // len(chains))
    children = {
        chain[0]: context.Process(target=_child, args=(chain, task, each)) for chain in chains
    }
    for child in children.values():
        child.start()
    tell = _teller([child.pid for child in children.values()])
    forward.append(tell)
    try:
        for child in children.values():
            child.join()
    finally:
        forward.remove(tell)
        for child in children.values():
            if child.is_alive():
                child.terminate()
    failed = [name for name, child in children.items() if child.exitcode]
    if failed:
        raise UserError(
            f"{', '.join(failed)}: the process failed, see above; the same command goes on from "
            "the last checkpoints"
        )


def _teller(pids: list[int]) -> Any:
    def tell(number: int) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    return tell
