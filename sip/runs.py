"""A run: one arm with one seed, in a folder named by its fingerprint.

The folder is `<backbone>-<augmentation>-seed<seed>-<fingerprint>` under `paths.runs`, and holds

- `summary.json`: the numbers; written last, so a run with it is finished
- `config.yaml`: the resolved configuration
- `metrics.csv`: the curves
- `pictures.parquet`: every picture used, the drawn ones with their provenance
- `predictions.parquet`: logits on val and test
- `classifier.safetensors`: the weights that validation chose
- `contact_sheet.png`: only where pictures were drawn
"""

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sip.build import build
from sip.classifier.base import Picture as Row
from sip.common.claims import write_atomically
from sip.common.contact_sheet import Pair, contact_sheet
from sip.common.errors import UserError
from sip.common.seeds import digest
from sip.dataset.base import Sample
from sip.pipeline import Offline, Picture, Stages, device, say

NUM_PAIRS = 12  # on the contact sheet
LIBRARIES = ("torch", "diffusers", "transformers", "timm", "pytorch-lightning")


def train(config: DictConfig) -> float:
    """Make what the run needs and does not find, train, test once; print the table.

    Returns:
        The validation accuracy, in [0, 1], for sweepers. The test accuracy is for people.

    Raises:
        UserError: Something is missing or wrong; before any costly work.
    """
    if config.runtime.num_threads:
        _set_threads(config.runtime.num_threads)
    run = Run(config)
    summary = run.found() if config.train.reuse else None
    if summary is None:
        summary = run.make()
    else:
        for stage in summary["stages"]:
            say(stage["stage"], f"found {stage['found'] + stage['made']}")
    print(table(summary, run.folder, Path(config.paths.store)))
    return summary["val_accuracy"]


class Run:
    """One arm with one seed.

    Args:
        config: The whole configuration.
    """

    def __init__(self, config: DictConfig) -> None:
        if type(config.seed) is not int or config.seed < 0:
            raise UserError(f"seed: expected a whole number >= 0, came {config.seed!r}")
        self.config = config
        self.dataset = build(config.dataset)
        self.augmentation = build(config.augmentation)
        self.backbone = build(config.backbone)
        self.classifier = build(config.classifier)
        self.offline = Offline(config) if self.augmentation.offline.draws else None
        self.recipe = {
            "seed": config.seed,
            "dataset": self.dataset.recipe(),
            "augmentation": self.augmentation.recipe(),
            "backbone": self.backbone.recipe(),
            "classifier": self.classifier.recipe(),
            "offline": self.offline.recipe() if self.offline else None,
        }
        self.fingerprint = digest(self.recipe)[:10]
        self.names = {
            "dataset": choice("dataset"),
            "backbone": choice("backbone"),
            "augmentation": arm(),
        }
        self.name = f"{self.names['backbone']}-{self.names['augmentation']}-seed{config.seed}"
        self.folder = Path(config.paths.runs) / f"{self.name}-{self.fingerprint}"

    def found(self) -> dict[str, Any] | None:
        """Return the summary of the same run, if it was finished before, under whatever name."""
        for file in Path(self.config.paths.runs).glob(f"*-{self.fingerprint}/summary.json"):
            self.folder = file.parent
            summary = json.loads(file.read_text())
            if self.config.experiment not in summary["experiments"]:
                summary["experiments"].append(self.config.experiment)
                _write_summary(file, summary)
            return summary
        return None

    def make(self) -> dict[str, Any]:
        """Do the run."""
        from sip.classifier.train import train as train_classifier
        from sip.loggers import log_results, make_loggers

        self._require()
        stages = Stages()
        with stages.stage("dataset") as row:
            parts = {split: self.dataset.samples(split) for split in ("train", "val", "test")}
            row["found"] = sum(len(samples) for samples in parts.values())
            _refuse_unreadable([sample for samples in parts.values() for sample in samples])
        pictures = self.offline.pictures(parts["train"], stages) if self.offline else []
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "summary.json").unlink(missing_ok=True)
        store = Path(self.config.paths.store)
        _write_pictures(self.folder / "pictures.parquet", parts, pictures, store)
        values = OmegaConf.to_container(self.config, resolve=True)
        assert isinstance(values, dict)
        OmegaConf.save(OmegaConf.create(values), self.folder / "config.yaml")
        sheet = self._contact_sheet(pictures)
        loggers = make_loggers(
            self.config.logger,
            self.folder,
            run_id=self.fingerprint,
            name=self.name,
            group=self.config.experiment,
            values=values,
        )
        with stages.stage("classifier") as row:
            result = train_classifier(
                backbone=self.backbone,
                recipe=self.classifier,
                augmentation=self.augmentation,
                train_rows=[*parts["train"], *(_drawn_row(picture) for picture in pictures)],
                val_rows=parts["val"],
                test_rows=parts["test"],
                class_names=self.dataset.class_names,
                seed=self.config.seed,
                run_folder=self.folder,
                trainer_kwargs=trainer_kwargs(self.config),
                loggers=loggers,
            )
            row["made"] = 1
        summary = {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "experiments": [self.config.experiment],
            **self.names,
            "seed": self.config.seed,
            "shots": self.config.dataset.get("shots"),
            "num_real": len(parts["train"]),
            "num_drawn": len(pictures),
            "num_val": len(parts["val"]),
            "num_test": len(parts["test"]),
            "steps": result.steps,
            "best_step": result.best_step,
            "best_epoch": result.best_epoch,
            "val_accuracy": result.val_accuracy,
            "test_accuracy": result.test_accuracy,
            "unet_evaluations": sum(picture.row["unet_evaluations"] for picture in pictures),
            "stages": stages.rows,
            "contact_sheet": sheet.name if sheet else None,
            "versions": {name: version(name) for name in LIBRARIES},
            "platform": platform.platform(),
            "commit": _commit(),
            "recipe": self.recipe,
        }
        log_results(
            loggers,
            {key: summary[key] for key in ("best_step", "val_accuracy", "test_accuracy")},
            sheet,
        )
        _write_summary(self.folder / "summary.json", summary)
        return summary

    def _require(self) -> None:
        from sip.loggers import require_logger

        require_logger(self.config.logger)
        if self.offline:
            self.offline.require()
        self.backbone.require()

    def _contact_sheet(self, pictures: list[Picture]) -> Path | None:
        if not pictures:
            return None
        step = max(1, len(pictures) // NUM_PAIRS)
        pairs = [_pair(picture) for picture in pictures[::step][:NUM_PAIRS]]
        path = self.folder / "contact_sheet.png"
        contact_sheet(pairs, path)
        return path


def arm() -> str:
    """Return the name of the augmentation by its parts, such as "sip_cutmix"; "none" for none."""
    parts = [choice(f"augmentation/{place}") for place in ("offline", "sample", "mix")]
    return "_".join(dict.fromkeys(part for part in parts if part != "none")) or "none"


def choice(group: str) -> str:
    """Return the name of the choice for a configuration group, "custom" outside of Hydra."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return "custom"
    return str(HydraConfig.get().runtime.choices.get(group, "custom")).split("/")[-1]


def trainer_kwargs(config: DictConfig) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer; the device is `runtime.device`."""
    kwargs = OmegaConf.to_container(config.trainer, resolve=True)
    assert isinstance(kwargs, dict)
    accelerator = "gpu" if device(config.runtime.device).startswith("cuda") else "cpu"
    return {"accelerator": accelerator, **{str(key): value for key, value in kwargs.items()}}


def table(summary: dict[str, Any], folder: Path, store: Path) -> str:
    """Return the table that a run ends with."""
    shots = summary["shots"]
    seconds = ", ".join(f"{row['stage']} {row['seconds']:.1f}" for row in summary["stages"])
    rows = {
        "arm": f"{summary['backbone']} + {summary['augmentation']}, seed {summary['seed']}",
        "dataset": summary["dataset"] + (f", {shots} shots a class" if shots else ""),
        "training images": f"{summary['num_real']} real + {summary['num_drawn']} drawn",
        "steps": f"{summary['steps']} optimiser steps",
        "best epoch": f"{summary['best_epoch']:.0f} (step {summary['best_step']}), by validation: "
        f"{summary['val_accuracy']:.3f} on {summary['num_val']} images",
        "test top-1": f"{summary['test_accuracy']:.3f} on {summary['num_test']} images",
        "seconds": seconds,
        "U-Net evaluations": f"{summary['unet_evaluations']:,}",
        "run": str(folder),
        "store": str(store) if summary["num_drawn"] else "not used",
        "contact sheet": str(folder / summary["contact_sheet"])
        if summary["contact_sheet"]
        else "none: nothing was drawn",
    }
    width = max(map(len, rows))
    rule = "-" * (width + 2 + max(map(len, rows.values())))
    lines = [f"{key:<{width}}  {value}" for key, value in rows.items()]
    return "\n".join([rule, *lines, rule])


def _write_summary(path: Path, summary: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(summary, indent=2, default=str) + "\n")


def _refuse_unreadable(samples: list[Sample]) -> None:
    """Refuse pictures whose header could not be read, before any work.

    Raises:
        UserError: There are some; names the first ones.
    """
    bad = [sample.path for sample in samples if sample.width == 0]
    if bad:
        raise UserError(
            f"dataset: expected pictures, {len(bad)} of {len(samples)} files cannot be read "
            f"({', '.join(bad[:5])}); mend or remove them"
        )


def _drawn_row(picture: Picture) -> Row:
    prompt = picture.prompt
    return Row(sample_id=prompt.image_id, path=picture.row["file"], label=prompt.label)


def _pair(picture: Picture) -> Pair:
    prompt = picture.prompt
    lines = [prompt.caption or "(no caption)"]
    if prompt.similarity is not None:
        lines.append(f"similarity {prompt.similarity:.3f}")
    lines.append(f"guidance scale {prompt.guidance_scale:g}")
    lines.append(f"noise rate {prompt.noise_rate:g}")
    return Pair(Path(prompt.source), Path(picture.row["file"]), prompt.class_name, lines)


def _write_pictures(
    path: Path, parts: dict[str, list[Sample]], pictures: list[Picture], store: Path
) -> None:
    """List every picture of the run: what it is, where it comes from, how it was drawn."""
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {
            "kind": "real",
            "id": sample.sample_id,
            "sample_id": sample.sample_id,
            "split": split,
            "label": sample.label,
            "class_name": sample.class_name,
            "sha256": sample.sha256,
        }
        for split, samples in parts.items()
        for sample in samples
    ]
    for picture in pictures:
        prompt = picture.prompt
        rows.append(
            {
                "kind": "drawn",
                "id": prompt.image_id,
                "sample_id": prompt.sample_id,
                "split": "train",
                "label": prompt.label,
                "class_name": prompt.class_name,
                "sha256": picture.row["file_sha256"],
                "file": os.path.relpath(picture.row["file"], store),
                "variant": prompt.variant,
                "spans": json.dumps([[span.text, span.weight] for span in prompt.spans]),
                "negative_prompt": prompt.negative_prompt,
                "guidance_scale": prompt.guidance_scale,
                "noise_rate": prompt.noise_rate,
                "seed": prompt.seed,
                "caption": prompt.caption,
                "similarity": prompt.similarity,
                "candidates": json.dumps(picture.candidates),
                "unet_evaluations": picture.row["unet_evaluations"],
            }
        )
    pd.DataFrame(rows).to_parquet(path)


def _set_threads(num: int) -> None:
    import torch

    torch.set_num_threads(num)


def _commit() -> str | None:
    """Return the commit of the code, if it runs from a checkout."""
    folder = Path(__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
