"""Every choice of every group that builds a component, composed a few at a time."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any
from unittest.mock import patch

from omegaconf import OmegaConf

from tests.composing import CONF, composed

ROOT = Path(__file__).parents[2]
PROFILES = ("embedded", "paper")
# Choices of different groups of a row do not influence each other, so one composition holds one
# of each: what the command line chooses wins over what another choice's defaults list asks for.
TOGETHER = (
    ("captions", "scores", "prompts", "images", "filter", "augmentation", "classifier", "dataset",
     "backbone"),
    ("augmentation/offline", "prompts/guidance", "classifier/schedule"),
    ("augmentation/sample", "prompts/weighting", "classifier/tuning"),
    ("augmentation/mix",),
    ("augmentation/base",),
    ("prompts/verdict", "images/masks"),
    ("images/condition",),
    ("method",),
)  # fmt: skip
NEEDS = {
    "prompts/verdict": ["prompts=sip_adaptive"],
    "images/masks": ["images=inpaint"],
    "images/condition": ["images=controlnet"],
}  # group -> what it is a part of
PRIMARY = {"method": "adapt"}  # group -> primary configuration that has it; "config" without


# At the end in this order, so that the older choices keep their partners in `nodes`.
NEWER = (
    *("retrieved", "flux_dev", "flux_schnell", "qwen_image", "sd35_medium", "z_image"),
    *("z_image_turbo", "sip_adaptive", "sip_adaptive_randaugment"),
    *("auto", "edit", "edit_kontext", "edit_qwen", "sd15_hyper8", "sdxl_hyper8"),
    *("table", "siglip2", "metaclip2", "openclip"),
    *("vlm", "qwen3_vl_2b", "internvl3_1b"),
    *("inpaint", "torchvision", "albumentations"),
    *("florence2", "column", "diff_mix_like"),
    "openai",
    *("controlnet", "sd15_canny", "sd15_depth", "sdxl_canny", "sdxl_depth", "chroma"),
    *("da_fusion_like", "datadream_like"),
    *("qwen2_5_vl_7b", "smolvlm2", "gemma3_4b"),
    "review",
)


def choices(group: str) -> list[str]:
    """Return the choices of a group."""
    names = (path.stem for path in (CONF / group).glob("*.yaml"))
    return sorted(names, key=lambda name: (NEWER.index(name) if name in NEWER else -1, name))


@cache
def nodes(profile: str) -> dict[str, dict[str, Any]]:
    """Return "group=choice" -> the resolved node of the group's stage."""
    found = {}
    for row in TOGETHER:
        for chosen in zip_longest(*map(choices, row)):
            pairs = [(g, c) for g, c in zip(row, chosen, strict=True) if c]
            overrides = [f"{group}={choice}" for group, choice in pairs]
            overrides = [*(o for group, _ in pairs for o in NEEDS.get(group, ())), *overrides]
            name = PRIMARY.get(row[0], "config")
            config = composed(f"profile={profile}", *overrides, name=name)
            for group, choice in pairs:
                node = config[group.split("/")[0]]
                found[f"{group}={choice}"] = OmegaConf.to_container(node, resolve=True)
    return dict(sorted(found.items()))


def recipe_lines() -> Iterator[tuple[str, str]]:
    """Yield (profile and choice, recipe as JSON in one line)."""
    from sip.captions.column import ColumnCaptions
    from sip.config.build import build
    from sip.dataset.reader import Reader
    from sip.filter.review import Review
    from sip.prompts.table import PromptTable

    content = "hash of files that are not in the repository"
    with ExitStack() as patched:
        for kind in (Reader, PromptTable, ColumnCaptions, Review):
            patched.enter_context(patch.object(kind, "content", content))
        for profile in PROFILES:
            for choice, node in nodes(profile).items():
                recipe = build(node).recipe()
                yield f"{profile} {choice}", json.dumps(recipe, sort_keys=True)
