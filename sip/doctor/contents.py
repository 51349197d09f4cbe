"""What the chosen configuration reads: weights and data. Nothing is downloaded."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sip.core.errors import UserError
from sip.core.text import counted
from sip.doctor.base import MISSING, NOTE, OK, Finding
from sip.pipeline.components import Components
from sip.pipeline.plan import nothing_downloaded
from sip.weights import hub
from sip.weights.missing import Missing, MissingWeightsError
from sip.weights.source import DEFAULT_REVISION, resolve
from sip.weights.stacks import stack_remarks

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sip.dataset.survey import Survey

# Overrides that say which data, and where: not the choices themselves, nor the download.
OF_DATA = re.compile(r"(paths|profile|dataset)[./](?!download=)")


def weights(config: "DictConfig") -> Iterator[Finding]:
    """Yield the weights that the configuration uses: of generation, and of the backbone.

    An arm that generates nothing does without those of generation; sip.generate needs them.
    """
    from sip.config.build import build

    generates = build(config.augmentation).offline.generates
    state = MISSING if generates else NOTE
    stages = Components(config).with_weights()
    for name, stage in stages.items():
        for found in _look(name, state, _shown(config[name]), stage.require):
            if found.state == NOTE:
                text = f"{found.text}; only sip.generate and arms that generate need it"
                found = replace(found, text=text)
            yield found
    for remark in stack_remarks(str(config[name].get("model")) for name in stages):
        yield Finding("stack", NOTE, remark)
    yield from _look("backbone", MISSING, _shown(config.backbone), build(config.backbone).require)


def other_backbones(config: "DictConfig") -> Iterator[Finding]:
    """Yield the weights of the profile's backbones that are not chosen."""
    from sip.backbone.timm import Timm

    for name, facts in config.profile.backbone.items():
        if facts.weights is None or facts.name == config.backbone.name:
            continue
        size = config.profile.image_size
        other = Timm(facts.name, facts.weights, facts.revision, None, None, 0.0, size, None, None)
        yield from _look("backbone", NOTE, f"{facts.name}, of backbone={name}", other.require)


def data(config: "DictConfig") -> Iterator[Finding]:
    """Yield whether the chosen data set is there, its images by part and class, and broken ones.

    Image files are decoded, those that `dataset.index` knows excepted; the index is written.
    """
    from sip.config.build import build
    from sip.config.provenance import choice
    from sip.dataset.survey import Survey

    name = choice("dataset")
    node = config.dataset.copy()
    can_download = "download" in node
    if can_download:
        node.download = False
    surveys: list[Survey] = []

    (found,) = _look("data set", MISSING, name, lambda: surveys.append(Survey.of(build(node))))
    if surveys:
        yield from _of_survey(name, surveys[0], node.get("broken", "refuse"))
        yield from _of_prompts(config, surveys[0])
        return
    text, command = found.text, None
    if can_download and "dataset.download=true" in text:
        command = _download(name, config.profile.name)
    if not _is_chosen("dataset"):
        text += f"; {name} is the default of profile={config.profile.name}, for your own images: "
        text += "dataset=image_folder dataset.root=/path/to/images"
    yield Finding("data set", MISSING, text, command)


def _of_survey(name: str, survey: "Survey", broken: str) -> Iterator[Finding]:
    """Yield the size of a data set, its images by class, broken ones, and remarks."""
    from sip.dataset.reader import require_trainable
    from sip.dataset.remarks import remarks

    how = "all are readable" if survey.is_decoded else "listed, not decoded: no image files"
    if survey.broken:
        broken_files = counted(len(survey.broken), "unreadable image")
        how = f"and {broken_files}"
    yield Finding("data set", OK, f"{name}: {survey.sizes()}; {how}")
    yield Finding("per class", OK, survey.per_class())
    if survey.broken:
        skips = broken == "skip"
        end = (
            "left out, as dataset.broken=skip says"
            if skips
            else "fix or delete them, or leave them out with dataset.broken=skip"
        )
        text = f"{broken_files}: {survey.broken_names()}; {end}"
        yield Finding("broken", NOTE if skips else MISSING, text)
    try:
        require_trainable(survey.class_names, survey.parts)
    except UserError as error:
        yield Finding("training", NOTE, f"{error}; sip.generate can use the data set as it is")
    for line in remarks(survey.parts, survey.class_names) if survey.is_decoded else ():
        yield Finding("data set", NOTE, line)


def _of_prompts(config: "DictConfig", survey: "Survey") -> Iterator[Finding]:
    """Yield an example of a prompt, and what class names are no words."""
    from sip.dataset.remarks import codes

    notes = codes(survey.class_names)
    train = survey.parts["train"]
    if train and (text := Components(config).example(train[0])):
        yield Finding("prompts", NOTE if notes else OK, f"such as {text!r}")
    for line in notes:
        yield Finding("prompts", NOTE, line)


def _download(name: str, profile: str) -> str:
    """Return the command that downloads a data set, to where the command line wants it."""
    from sip.config.provenance import recorded

    chosen = [f"profile={profile}", f"dataset={name}"]
    line = recorded()
    given = [text for text in line.overrides if OF_DATA.match(text.lstrip("+"))]
    return line.line("generate", [*chosen, *given, "dataset.download=true", "plan=true"])


def _is_chosen(group: str) -> bool:
    """Return whether the command line, or a preset on it, chooses from a group."""
    from sip.config.provenance import command_line

    overrides = command_line()["overrides"]
    return any(text.lstrip("+").startswith((f"{group}=", "exp=", "sweep=")) for text in overrides)


def _look(name: str, if_missing: str, shown: str, look: Callable[[], Any]) -> list[Finding]:
    """Return that `look` finds everything, or what it lacks; it may not download meanwhile."""
    try:
        with nothing_downloaded():
            look()
    except MissingWeightsError as error:
        return [_of_missing(part or name, if_missing, missing) for part, missing in error.models]
    except UserError as error:
        return [Finding(name, if_missing, str(error))]
    return [Finding(name, OK, f"{shown}: here")]


def _of_missing(name: str, state: str, missing: Missing) -> Finding:
    text = "; ".join(part for part in (missing.model, missing.size, missing.reason) if part)
    return Finding(name, state, text, missing.command or None)


def _shown(node: "DictConfig") -> str:
    """Return a stage's weights by name, and their revision if they are the hub's."""
    weights = node.get("model") or node.get("weights")
    if weights is None:
        return f"{node.get('name', 'no model')}, which needs no weights"
    shown = str(node.name if weights == "default" else weights)  # timm's for that name
    if Path(resolve(weights)).is_dir():
        return shown
    return f"{shown}, revision {hub.pinned(node.get('revision') or DEFAULT_REVISION)}"
