"""A command line before Hydra reads it: help, refusals, and what a mistyped name could have meant.

Names are read from the files as they are: to compose them takes Hydra a third of a second.
"""

import re
import string
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from sip.config import guard
from sip.core.errors import UserError
from sip.core.files import read_yaml

ADDITION = re.compile(r"\+{1,2}([^=@:]+)[^=]*=")  # +key=value, +group@package=choice
NOT_OVERRIDDEN = re.compile(r"Could not override '([^']+)'")
PACKAGE = re.compile(r"^# @package (\S+)", re.MULTILINE)
SEARCHED = re.compile(r"\+*hydra\.searchpath=(.*)")
PLACES = re.compile(r"(?:file://)?([^\s,\[\]'\"]+)")  # of [file://a,b]
# Mappings whose keys are the user's own: any may be added.
OPEN = ("prompt_names", "arguments", "lora", "where")
OPENED = re.compile(rf"(?:\w+\.)*(?:{'|'.join(OPEN)})(?:\.[^=]+)?=")
QUOTED_KEY = re.compile(r"([{,]\s*)([\"'])([\w .-]+)\2(?=\s*:)")  # Hydra's keys take no quotes
NUM_NEAR = 3
EXTRAS = {  # choices that packages bring -> the extra that installs them
    "hydra/sweeper/optuna": "search",
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_slurm": "slurm",
}


class Command:
    """A command line.

    Attributes:
        overrides: The arguments that are no options, such as `key=value`.
        given: Folders of configurations that it adds to SIP's own.
        is_plain: Nothing in it can ask for a multirun.

    Args:
        folder: SIP's own configurations.
        config_name: The primary configuration.
        arguments: As typed; options and overrides in any order.
    """

    def __init__(self, folder: Path, config_name: str, arguments: list[str]) -> None:
        parsed = get_args_parser().parse_intermixed_args(arguments)
        self.folder = folder
        self.config_name = config_name
        self.overrides: list[str] = parsed.overrides
        path = next(
            (o for o in self.overrides if o.lstrip("+").startswith("hydra.searchpath=")), ""
        )
        places = [place.removeprefix("file://") for place in PLACES.findall(path.partition("=")[2])]
        given = (parsed.config_dir, parsed.config_path, *places)
        self.given = [Path(place) for place in given if place]
        starts = tuple(text.startswith(("+", "hydra")) for text in self.overrides)
        self.is_plain = len(self.overrides) == len(arguments) and not any(starts)

    @staticmethod
    def for_hydra(argument: str) -> str:
        """Return an argument as Hydra takes it: "++" before a key that is new, no quoted keys."""
        if not OPENED.match(argument):
            return argument
        return "++" + QUOTED_KEY.sub(r"\1\3", argument)

    def check(self) -> None:
        """Refuse what a stranger's folder may not contain, and names that nothing reads.

        Raises:
            UserError: There is one.
        """
        for given in self.given:
            guard.check_folder(given)
            for file in sorted(given.rglob("*.yaml")):
                if (self.folder / file.relative_to(given)).is_file():
                    raise UserError(
                        f"{file}: must have a name of its own, got one of SIP's, which would be "
                        "read in its place; rename it (its defaults may begin with SIP's)"
                    )
        known = {*self.groups, *self._main}
        for override in self.overrides:  # Hydra adds any name, and nothing would read it
            name = match[1] if (match := ADDITION.match(override)) else ""
            first = name if "/" in name else name.split(".")[0]
            if first and first not in known and not first.startswith("hydra"):
                raise UserError(f"{override}: {_no_such('group or key', first, known)}")

    @cached_property
    def groups(self) -> list[str]:
        """The configuration groups, such as "prompts/guidance"."""
        return sorted({place for place, _ in self._files() if place != "."})

    def help(self, job_name: str) -> str | None:
        """Return the text under hydra/help that has the job's name or the configuration's, if any.

        Hydra would compose the same, in seconds that grow with the number of groups.
        """
        names = (job_name, self.config_name)
        files = (self.folder / "hydra" / "help" / f"{name}.yaml" for name in names)
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            return None
        choices: dict[str, list[str]] = {group: [] for group in self.groups}
        for group, path in self._files():
            if group != "." and not group.startswith("hydra"):
                choices[group].append(path.stem)
        lines = [f"{group}: {', '.join(sorted(set(n)))}" for group, n in choices.items() if n]
        return string.Template(read_yaml(file)["template"]).safe_substitute(
            APP_CONFIG_GROUPS="\n".join(lines)
        )

    def explain(self, error: Exception) -> str:
        """Return one line on what is wrong with the command line, with the names that are near."""
        match = NOT_OVERRIDDEN.search(str(error))
        key = match[1] if match else ""
        for written in self.overrides:
            if key and written.partition("=")[0].lstrip("+~").partition("@")[0] == key:
                if key in self.groups:
                    return f"{written}: {key} has no default choice to override; write +{written}"
                known = {*self.groups, *self._keys()}
                if key in known:
                    return f"{written}: {one_line(error.__cause__ or error)}; to add it: +{written}"
                return f"{written}: {_no_such('key', key, known)}"
        if isinstance(error, MissingConfigException) and error.options:
            missing = error.missing_cfg_file or ""
            group, _, choice = missing.rpartition("/")
            if extra := EXTRAS.get(missing):
                return f"{group}={choice}: not installed; pip install 'sip-augmentation[{extra}]'"
            return f"{group}={choice}: {_no_such('choice', choice, error.options, show_all=True)}"
        if isinstance(error, OverrideParseException):
            return (
                f"{(error.override or '').lstrip('+')!r}: must be key=value ({one_line(error)}); a "
                "text with spaces or signs needs quotes within quotes: \"key='a text'\"; a mapping "
                "whose keys have letters beyond a-z needs a YAML file of your own"
            )
        return one_line(error)

    def _keys(self) -> Iterator[str]:
        """Yield the keys of all choices, each as one types it."""
        yield from _flat_keys({key: value for key, value in self._main.items() if key != "hydra"})
        for group, file in self._files(shared=True):
            text = file.read_text()
            package = match[1] if (match := PACKAGE.search(text)) else group.replace("/", ".")
            if group not in (".", "sweep") and not group.startswith("hydra"):
                prefix = "" if package == "_global_" else f"{package}."
                yield from (prefix + key for key in _flat_keys(read_yaml(file)))

    @cached_property
    def _main(self) -> dict[str, Any]:
        """The primary configuration with what it takes over from another one."""
        values = read_yaml(self.folder / f"{self.config_name}.yaml")
        for base in values.pop("defaults", []):
            if isinstance(base, str) and base != "_self_":
                values = read_yaml(self.folder / f"{base}.yaml") | values
        return values

    def _files(self, shared: bool = False) -> Iterator[tuple[str, Path]]:
        """Yield (group, file) of every choice; `shared`: of the files that choices share, too."""
        for folder in (self.folder, *self.given):
            for file in sorted(folder.rglob("*.yaml")):
                place = file.relative_to(folder).parent
                if place.name == "_base" and shared:
                    yield place.parent.as_posix(), file
                elif place.name[:1] not in ("_", ".") or place.name == "":
                    yield place.as_posix(), file


def one_line(error: BaseException) -> str:
    """Return an error's text, and that of its cause in OmegaConf, in one line."""
    texts = [str(error) or type(error).__name__]
    if isinstance(error.__cause__, OmegaConfBaseException):
        texts.append(str(error.__cause__))
    lines = (line.strip() for text in texts for line in text.splitlines())
    return "; ".join(line for line in lines if line)


def _no_such(kind: str, name: str, known: Iterable[str], show_all: bool = False) -> str:
    """Return that `name` is not known, and which of the known it may have been."""
    known = sorted(set(known))
    near = get_close_matches(name, known, NUM_NEAR, cutoff=0.75)
    last = name.rpartition(".")[2]
    if not near:  # the right key without its stage, or in another one
        near = [key for key in known if get_close_matches(last, [key.rpartition(".")[2]])]
    texts = [f"no such {kind}"]
    if near:
        texts.append(f"did you mean {' or '.join(near[:NUM_NEAR])}?")
    if show_all:
        texts.append(f"there are {', '.join(known)}")
    elif not near:
        texts.append("--help lists the groups, --cfg job all keys")
    return "; ".join(texts)


def _flat_keys(values: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of nested dicts, those of inner nodes too."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key in ("defaults", "_target_"):
                continue
            yield f"{prefix}{key}"
            yield from _flat_keys(value, f"{prefix}{key}.")
