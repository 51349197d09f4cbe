"""Which settings tell runs apart, and how to name a run by them."""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sip.core.text import key_of
from sip.records.read import TrainingRun, list_text
from sip.records.summary import BASE

NAMED = ("augmentation", "backbone", "dataset")  # more telling than their parts
# Of the configuration, what cannot change a result; seeds are told apart by the run's own.
WITHOUT_EFFECT = (
    *("experiment", "seed", "debug", "plan", "prompts_out", "retry", "train", "metrics"),
    *("paths", "runtime", "logger", "trainer", "executor"),
    *("exp", "sweep"),  # presets: they only give values to other keys
)
LAST = "profile"  # only gives values to other keys
# Last words of keys that say where data come from or go to, whatever the recipe.
OF_THE_MACHINE = ("seed", "root", "download", "index", "storage", "max_failed")
OF_SEED = "${seed}"  # in what is typed: the value goes with the run's seed
AMBIGUOUS = ("name", "model", "weights", "revision", "size", "scale")  # last words of a key
MAX_LEAVES, MAX_DEPTH = 10_000, 20  # keys of a configuration


def varied_keys(
    runs: Iterable[TrainingRun], first: Sequence[str] = (), given: Sequence[str] = ()
) -> list[str]:
    """Return as few keys as tell runs with unlike settings apart; seeds are no settings.

    A key that follows from others, such as the scale of a guidance rule from the choice of the
    rule, is left out. Of what nobody typed on a command line only those keys count that tell two
    runs of one seed apart: runs of an older version may lack a key, and differ in nothing else.

    Args:
        runs: Runs of one comparison.
        first: Keys to prefer, such as those that a sweep varied.
        given: Keys that are known already; they are not returned.
    """
    runs = list(runs)
    names: list[tuple[Hashable, ...]] = [tuple(run.value(key) for key in given) for run in runs]
    chosen: list[str] = []

    def add(key: str, values: Sequence[Hashable]) -> None:
        chosen.append(key)
        names[:] = [(*name, value) for name, value in zip(names, values, strict=True)]

    for key in _typed(runs, first):
        values = [run.value(key) for run in runs]
        if key not in given and not _follows(values, names):
            add(key, values)
    seeds = [run.summary.seed for run in runs]
    for key in _others(runs):
        places = list(zip(names, seeds, strict=True))
        if len({*places}) == len(runs):
            break
        values = [run.value(key) for run in runs]
        if key not in given and not _follows(values, places):
            add(key, values)
    return chosen


def named(run: TrainingRun, keys: Sequence[str], numbers: bool = True) -> str:
    """Return a run's values of these keys in words: "noise rate 0.3, guidance constant 7.5".

    This is the name of an arm in tables, figures and reports. Keys that play no part in the run are
    left out.

    Args:
        run: The run.
        keys: In the order of the name.
        numbers: Whether a choice with a single number is named with it.
    """
    config = run.config if numbers else {}
    return ", ".join(in_words({key: run.value(key) for key in keys}, config))


def in_words(values: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return settings in words, such as "noise rate 0.3" and "guidance constant 7.5".

    A choice with a single number, such as `prompts/guidance=constant_3`, is named with the number
    that the configuration has there.

    Args:
        values: Key -> value or name of the choice; None is left out.
        config: The configuration, with the numbers of the choices.
    """
    there = {key: value for key, value in values.items() if value is not None}
    numbers = {key: found for key in there if (found := _only_number(config, key))}
    covered = {place for place, _ in numbers.values()}
    texts = []
    for key, value in there.items():
        if key in covered:
            continue
        text = plain(value)
        if key in numbers and text != "none":
            text = f"{re.sub(r'_[0-9.]+$', '', text)} {plain(numbers[key][1])}"
        texts.append(text if key in NAMED else f"{key_words(key)} {text}")
    return texts


def key_words(key: str) -> str:
    """Return a key in words: "noise rate" for `prompts.noise_rate`."""
    parts = re.split(r"[./@]", key)
    is_inner = "/" not in key and len(parts) > 2 and parts[-2] != "arguments"
    words = parts[-2:] if is_inner or parts[-1] in AMBIGUOUS else parts[-1:]
    return " ".join(words).replace("_", " ")


def plain(value: Any) -> str:
    """Return a value as tables show it and configurations write it; "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list_text(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def known_keys(runs: Iterable[TrainingRun]) -> list[str]:
    """Return every key that a run has a value for: of summary, choices and configuration."""
    keys: dict[str, None] = {}
    for run in runs:
        keys |= dict.fromkeys([*vars(run.summary), *run.summary.choices, *_leaves(run.config)])
    return [key for key in keys if any(run.value(key) is not None for run in runs)]


def _typed(runs: Sequence[TrainingRun], first: Sequence[str]) -> list[str]:
    """Return the keys that people set, the more telling ones first."""
    typed = [key_of(text) for run in runs for text in run.summary.overrides]
    typed = [key for key in typed if key.rpartition(".")[2] not in OF_THE_MACHINE]
    keys, of_seeds = [*NAMED, BASE, *first, *typed], _of_seeds(runs)
    return _with_effect(dict.fromkeys(key for key in keys if key not in of_seeds))


def _of_seeds(runs: Sequence[TrainingRun]) -> set[str]:
    """Return the keys that go with the seed in all runs, as `dataset.split_seed='${seed}'`."""
    bound = [{key_of(text) for text in run.summary.overrides if OF_SEED in text} for run in runs]
    return {
        key
        for key in set[str]().union(*bound)
        if all(key in keys or run.value(key) is None for run, keys in zip(runs, bound, strict=True))
    }


def _others(runs: Sequence[TrainingRun]) -> list[str]:
    """Return all other keys: groups, then single settings, then the version of the code."""
    groups = [key for run in runs for key in run.summary.choices]
    leaves = [key for run in runs for key in _leaves(run.config)]
    leaves.sort(key=lambda key: key.startswith(LAST))
    return _with_effect(dict.fromkeys([*groups, *leaves, "commit"]))


def _with_effect(keys: Iterable[str]) -> list[str]:
    return [key for key in keys if key.replace("/", ".").split(".")[0] not in WITHOUT_EFFECT]


def _leaves(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of a configuration; aliases of YAML can make it endless."""
    return islice(_walk(values, ""), MAX_LEAVES)


def _walk(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if not isinstance(value, dict):
            yield f"{prefix}{key}"
        elif prefix.count(".") < MAX_DEPTH:
            yield from _walk(value, f"{prefix}{key}.")


def _follows(values: Sequence[Hashable], names: Sequence[Hashable]) -> bool:
    """Return whether runs of one name have one value."""
    known: dict[Hashable, Hashable] = {}
    return all(
        known.setdefault(name, value) == value for name, value in zip(names, values, strict=True)
    )


def _only_number(config: Mapping[str, Any], group: str) -> tuple[str, float] | None:
    """Return key and value of the only setting of a choice if it is a number; None otherwise."""
    node: Any = config if "/" in group else None
    for part in group.split("/"):
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        return None
    settings = {
        key: value for key, value in node.items() if key != "_target_" and value is not None
    }
    ((name, number),) = settings.items() if len(settings) == 1 else (("", None),)
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    return f"{group.replace('/', '.')}.{name}", number
