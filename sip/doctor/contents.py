"""What the chosen configuration reads: weights and data; nothing is fetched."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sip.core.errors import UserError
from sip.doctor.base import MISSING, NOTE, OK, Finding
from sip.pipeline.plan import nothing_downloaded
from sip.weights import hub
from sip.weights.missing import MissingWeightsError
from sip.weights.source import DEFAULT_REVISION, resolve
from sip.weights.stacks import stack_remarks

if TYPE_CHECKING:
    from omegaconf import DictConfig

STAGES = ("captions", "scores", "images")


def weights(config: "DictConfig") -> Iterator[Finding]:
    """Yield the weights of the chosen models, and of the profile's other backbones."""
    from sip.backbone.timm import Timm

    for name in STAGES:
        yield _look(name, MISSING, _shown(config[name]), partial(_require, config[name]))
    for remark in stack_remarks(str(config[name].get("model")) for name in STAGES):
        yield Finding("stack", NOTE, remark)
    chosen = config.backbone
    yield _look("backbone", MISSING, _shown(chosen), partial(_require, chosen))
    for name, facts in config.profile.backbone.items():
        if facts.weights is None or facts.name == chosen.name:
            continue
        size = config.profile.image_size
        other = Timm(facts.name, facts.weights, facts.revision, None, None, 0.0, size, None, None)
        yield _look("backbone", NOTE, f"{facts.name}, of backbone={name}", other.require)


def data(config: "DictConfig") -> Iterator[Finding]:
    """Yield whether the chosen data set is there: its list is read, its images are not."""
    from sip.config.build import build
    from sip.config.provenance import choice

    node = config.dataset.copy()
    can_fetch = "download" in node
    if can_fetch:
        node.download = False
    num = 0

    def look() -> None:
        nonlocal num
        num = len(build(node).class_names)

    found = _look("data set", MISSING, choice("dataset"), look)
    if found.state == OK:
        text = f"{found.text}, {num} classes"
        yield Finding(found.name, OK, text)
    elif can_fetch and "dataset.download=true" in found.text:
        fetch = f"dataset={choice('dataset')} dataset.download=true plan=true"
        command = f"python -m sip.generate profile={config.profile.name} {fetch}"
        yield Finding(found.name, MISSING, found.text, command)
    else:
        yield found


def _require(node: "DictConfig") -> None:
    from sip.config.build import build

    build(node).require()


def _look(name: str, if_missing: str, shown: str, look: Callable[[], Any]) -> Finding:
    """Return whether `look` finds everything; it may not download meanwhile."""
    try:
        with nothing_downloaded():
            look()
    except MissingWeightsError as error:
        ((_, missing),) = error.models
        text = "; ".join(part for part in (missing.model, missing.size, missing.reason) if part)
        return Finding(name, if_missing, text, missing.command or None)
    except UserError as error:
        return Finding(name, if_missing, str(error))
    return Finding(name, OK, f"{shown}: here")


def _shown(node: "DictConfig") -> str:
    """Return a stage's weights by name, and their revision if they are the hub's."""
    weights = node.get("model") or node.get("weights")
    if weights is None:
        return f"{node.get('name', 'no model')}, which needs no weights"
    shown = str(node.name if weights == "default" else weights)  # timm's for that name
    if Path(resolve(weights)).is_dir():
        return shown
    return f"{shown}, revision {hub.pinned(node.get('revision') or DEFAULT_REVISION)}"
