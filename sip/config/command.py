"""A command line before Hydra reads it: help, refusals, and what a mistyped name could have meant.

Names are read from the files as they are: to compose them takes Hydra a third of a second.
"""

import os
import re
import string
from collections.abc import Iterator
from functools import cached_property
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from sip.config import guard, plugins
from sip.config.provenance import OPTION, SEARCHED
from sip.config.words import OPEN_GROUPS, by_meaning, for_shell, in_quotes, no_such, with_value
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.files import read_yaml
from sip.core.text import key_of

# key=value, group=choice, group@package=choice; "+" adds a key
OVERRIDE = re.compile(r"(\+{0,2})([^+~=@:\s]+)(@[^=]*)?=(.*)", re.DOTALL)
IS_THERE = re.compile(
    r"An item is already at '(?P<a>[^']+)'|Multiple values for (?P<b>\S+?)\. |"
    r"(?P<c>\S+) appears more than once in"
)
SEVERAL = re.compile(r"Ambiguous value for argument '([^=]+)=(.*?)'\n", re.DOTALL)
NOT_OVERRIDDEN = re.compile(r"Could not override '([^']+)'")
PACKAGE = re.compile(r"^# @package (\S+)", re.MULTILINE)
# Mappings whose keys are the user's own: any may be added.
OPEN = ("prompt_names", "arguments", "extra", "lora", "where")
OPENED = re.compile(rf"(?:\w+\.)*(?:{'|'.join(OPEN)})(?:\.[^=]+)?=")
WHERE = re.compile(r"\+*((?:table|figure)\.where)\.([\w.]+/[\w./]+)=(.+)", re.DOTALL)
UNREAD = re.compile(r"token recognition error at: ('.+?')")  # by Hydra's lexer
# Keys of folders, files and names: their values are texts, also where Hydra would read a number.
NAMES = re.compile(
    r"\+*(paths\.(store|runs|data|cache)|runs?|store|output|figures|experiments|folder|from|to"
    r"|prompts_out|caption_file|experiment|question)"
)
QUOTED_KEY = re.compile(r"([{,]\s*)([\"'])([\w .-]+)\2(?=\s*:)")  # Hydra's keys take no quotes
NAMED = re.compile(r"(?:\w+\.)*prompt_names=\{")  # a mapping that may be a text of YAML, too
EXTRAS = {  # choices that packages bring -> the extra that installs them
    "hydra/sweeper/optuna": "search",
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_slurm": "slurm",
}


class Command:
    """A command line.

    Attributes:
        overrides: The arguments that are no options, such as `key=value`.
        unknown: Options that Hydra does not have.
        given: Folders of configurations that it adds to SIP's own.
        options: What says where they are, as typed: the option and its value one after the other.
        is_plain: Nothing in it can ask for a multirun.

    Args:
        folder: SIP's own configurations.
        config_name: The primary configuration.
        arguments: As typed; options and overrides in any order.
    """

    def __init__(self, folder: Path, config_name: str, arguments: list[str]) -> None:
        parsed, self.unknown = get_args_parser().parse_known_intermixed_args(arguments)
        self.folder = folder
        self.config_name = config_name
        # With shell completion they are its commands, not keys.
        self.overrides: list[str] = [] if parsed.shell_completion else parsed.overrides
        path = next((o for o in self.overrides if o.lstrip("+").startswith(SEARCHED)), "")
        value = _value(self.for_hydra(path.lstrip("+")))
        listed = value if isinstance(value, list) else [value or ""]
        places = [str(place).removeprefix("file://") for place in listed]
        typed = {name: getattr(parsed, f"config_{name}") for name in ("path", "name", "dir")}
        pairs = [(f"{OPTION}{name}", value) for name, value in typed.items() if value is not None]
        self.options = [*chain(*pairs), *([path.lstrip("+")] if path else [])]
        given = (parsed.config_dir, parsed.config_path, *places, *plugins.folders())
        # SIP's own folder is read in any case, and is no stranger's.
        self.given = [
            Path(place) for place in given if place and Path(place).resolve() != folder.resolve()
        ]
        starts = tuple(text.startswith(("+", "hydra")) for text in self.overrides)
        self.is_plain = len(self.overrides) == len(arguments) and not any(starts)

    @staticmethod
    def for_hydra(argument: str) -> str:
        """Return an argument as Hydra takes it.

        A key that is new gets "++", keys of mappings lose their quotes, and a value that is no
        Hydra expression, such as a path with umlauts or brackets, is quoted. So is a mapping of
        class names that Hydra cannot read, or reads as other names: null, 1.5; and a number in
        place of a folder or an experiment.
        """
        argument = WHERE.sub(r"++\1={\2: \3}", argument)  # Hydra's keys have no slash
        key, equals, value = argument.partition("=")
        if value.startswith("~/"):  # a shell expands it in front of a word only
            value = os.path.expanduser(value)
            argument = f"{key}={value}"
        read = value
        if OPENED.match(argument):
            key = f"++{key}"
            read = QUOTED_KEY.sub(r"\1\3", value) if value[:1] == "{" else value
        taken = f"{key}{equals}{read}"
        if NAMED.match(argument):
            is_read = _has_plain_keys(taken)
        else:
            is_read = value[:1] in ("", "[", "{", '"', "'") or _is_expression(taken)
            if is_read and NAMES.fullmatch(key):
                is_read = not isinstance(_value(taken), int | float)
        if not equals or is_read:
            return taken
        quoted = f"{key}={QuotedString(value, Quote.double).with_quotes()}"
        return quoted if _is_expression(quoted) else taken

    @staticmethod
    def of_text(key: str, value: str) -> str:
        """Return the argument that sets a key to a text, with quotes if Hydra needs them."""
        plain = f"{key}={value}"
        if _value(Command.for_hydra(plain)) == value:
            return plain
        return f"{key}={QuotedString(value, Quote.double).with_quotes()}"

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
        for option in self.unknown:
            name, _, value = option.lstrip("-").partition("=")
            example = by_meaning(name, value, self._tops) or "key=value"
            raise UserError(f"{option}: no such option; a key is set without dashes: {example}")
        for number, override in enumerate(self.overrides):
            if "=" not in override and override[:1] != "~":
                raise self._without_key(number)
            self._check_name(override)

    def _without_key(self, number: int) -> UserError:
        """Return the error for an override without "=": often the rest of a value with spaces."""
        override = self.overrides[number]
        first = next((n for n in range(number, -1, -1) if "=" in self.overrides[n]), None)
        if first is None:
            hint = by_meaning("data", override, self._tops) if Path(override).exists() else ""
            return UserError(f"{override}: must be key=value; write {hint or 'key=value'}")
        rest = takewhile(lambda text: "=" not in text, self.overrides[number:])
        whole = for_shell(" ".join([*self.overrides[first:number], *rest]))
        return UserError(
            f"{override}: must be key=value; a value with spaces needs quotes around the whole: "
            f"{whole}"
        )

    def _check_name(self, override: str) -> None:
        """Refuse a key that nothing reads; Hydra adds any with "+", and refuses others late."""
        match = OVERRIDE.fullmatch(override)
        if not match or match[2].startswith("hydra"):
            return
        added, name, _, value = match.groups()
        first = name if "/" in name.split(".")[0] else name.split(".")[0]
        known = {*self.groups, *self._main}
        group = name.replace(".", "/")
        if "." in name and group in self.groups and not value.startswith(("{", "$")):
            raise UserError(f"{override}: a group is set with slashes; write {group}={value}")
        if (first in known) if added else (name in self.groups or self._may_be(name)):
            return
        if meaning := by_meaning(name, value, self._tops):
            raise UserError(f"{override}: no such key; write {meaning}")
        if added:
            raise UserError(f"{override}: {no_such('group or key', first, known)}")
        if not self._is_complete:
            return
        raise UserError(f"{override}: {no_such('key', name, self._names)}")

    def _may_be(self, name: str) -> bool:
        """Return whether a choice has this key, or takes any key below one of its own."""
        parts = name.split(".")
        above = [".".join(parts[:n]) for n in range(1, len(parts))]
        return name in self._keys or any(self._keys.get(key) is False for key in above)

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
        values = read_yaml(file)
        shown = values.get("groups", self.groups)  # those that the job reads
        choices: dict[str, list[str]] = {group: [] for group in shown}
        for group, path in self._files():
            if group in choices and not group.startswith("hydra"):
                choices[group].append(path.stem)
        lines = [f"{group}: {', '.join(sorted(set(n)))}" for group, n in choices.items() if n]
        return string.Template(values["template"]).safe_substitute(
            APP_CONFIG_GROUPS="\n".join(lines), APP_CONFIG_KEYS="\n".join(self._stated_keys())
        )

    @property
    def flags(self) -> list[str]:
        """The keys of the primary configuration that are true or false there."""
        main = {key: value for key, value in self._main.items() if key != "hydra"}
        return [key for key, value in _flat_items(main) if isinstance(value, bool)]

    def _stated_keys(self) -> list[str]:
        """Return the lines of the primary configuration that state a key and what it means."""
        text = (self.folder / f"{self.config_name}.yaml").read_text(encoding="utf-8")
        return [line for line in text.splitlines() if re.match(r"\w.*  # ", line)]

    def explain(self, error: Exception) -> str:
        """Return one line on what is wrong with the command line, with the names that are near."""
        if several := SEVERAL.search(str(error)):
            key, values = several.groups()
            advice = f"{key}={values}: several values are a sweep, a job for each; add -m"
            kinds = self._kinds(key)
            others = [f"'{key}=[{values}]' for one list"] if kinds & {list, type(None)} else []
            others += [f"\"{key}='{values}'\" for one text"] if kinds & {str, type(None)} else []
            return f"{advice}, or write {', '.join(others)}" if others else advice
        if there := IS_THERE.search(str(error)):
            key = next(filter(None, there.groups()))
            added = [text for text in self.overrides if re.match(rf"\+{re.escape(key)}[@=]", text)]
            if added:
                return f"{added[0]}: {key} is there already; write {added[0].lstrip('+')}"
        match = NOT_OVERRIDDEN.search(str(error))
        key = match[1] if match else ""
        for written in self.overrides:
            if key and key_of(written).partition("@")[0] == key:
                if key in self.groups:
                    return f"{written}: {key} has no default choice to override; write +{written}"
                return f"{written}: {self._not_chosen(key, written.partition('=')[2])}"
        if isinstance(error, MissingConfigException) and error.options:
            missing = error.missing_cfg_file or ""
            groups = [group for group in self.groups if missing.startswith(f"{group}/")]
            group = max(groups, key=len, default="")
            choice = missing.removeprefix(f"{group}/")
            if extra := EXTRAS.get(missing):
                return f"{group}={choice}: not installed; {install_extras(extra)}"
            reason = no_such("choice", choice, error.options, show_all=True)
            if group in OPEN_GROUPS:
                what, template = OPEN_GROUPS[group]
                reason += f"; {what}: {with_value(template, choice)}"
            return f"{group}={choice}: {reason}"
        if isinstance(error, OverrideParseException):
            return _unread(error)
        return one_line(error)

    def _kinds(self, key: str) -> set[type]:
        """Return the types of a key's values in all choices; {list} for a group of several."""
        if key in self.groups:
            return {list} if key in self._listed(self.config_name) else set()
        kinds = {type(value) for name, value in _flat_items(self._main) if name == key}
        for group, file in self._files(shared=True):
            if group not in (".", "sweep") and not group.startswith("hydra"):
                package = match[1] if (match := PACKAGE.search(file.read_text())) else group
                top = "" if package == "_global_" else f"{package.replace('/', '.')}."
                values = _flat_items(read_yaml(file), top)
                kinds |= {type(value) for name, value in values if name == key}
        return kinds

    def _listed(self, name: str) -> set[str]:
        """Return the groups of which a primary configuration takes a list of choices."""
        found = set[str]()
        for base in read_yaml(self.folder / f"{name}.yaml").get("defaults", []):
            if isinstance(base, dict):
                found |= {str(group) for group, choice in base.items() if isinstance(choice, list)}
            elif base != "_self_":
                found |= self._listed(base)
        return found

    def _not_chosen(self, key: str, value: str) -> str:
        """Return why a key is none of the composed configuration, and which choices have it."""
        choices: dict[str, list[str]] = {}
        for group, file in self._files():
            if group in self.groups and key in dict(self._keys_of(group, file)):
                choices.setdefault(group, []).append(file.stem)
        for group in sorted(choices, key=len, reverse=True):  # the group of the key itself first
            names = choices[group]
            chosen = f"{group}={names[0]}"
            offline = self.folder / "augmentation" / "offline" / f"{names[0]}.yaml"
            if group == "images" and offline.is_file():  # an arm that chooses it, with its prompts
                chosen = f"augmentation={names[0]}"
            example = with_value(f"{chosen} {key}={{}}", value)
            further = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
            typed = [text for text in self.overrides if text.partition("=")[0] == group]
            where = typed[-1] if typed else f"the choice of {group} in use"
            return f"{where} has no key {key.rpartition('.')[2]}; write {example}{further}"
        return no_such("key", key, self._names - {key})

    @cached_property
    def _keys(self) -> dict[str, bool]:
        """Keys of all choices, each as one types it -> whether it has a fixed set of keys."""
        main = {key: value for key, value in self._main.items() if key != "hydra"}
        keys = dict(_flat_keys(main))
        for group, file in self._files(shared=True):
            if group not in (".", "sweep") and not group.startswith("hydra"):
                for key, closed in self._keys_of(group, file):
                    keys[key] = closed and keys.get(key, True)
        return keys

    def _keys_of(self, group: str, file: Path) -> Iterator[tuple[str, bool]]:
        """Yield the keys that a choice sets, each as one types it; see `_keys`."""
        text = file.read_text()
        package = match[1] if (match := PACKAGE.search(text)) else group.replace("/", ".")
        parts = [] if package == "_global_" else package.split(".")
        yield from ((".".join(parts[: n + 1]), True) for n in range(len(parts)))
        prefix = "".join(f"{part}." for part in parts)
        yield from _flat_keys(read_yaml(file), prefix)

    @property
    def _names(self) -> set[str]:
        """Keys and groups that the program reads."""
        tops = self._tops
        keys = [key for key in self._keys if key.replace(".", "/") not in self.groups]
        return {name for name in [*self.groups, *keys] if re.split("[./]", name)[0] in tops}

    @property
    def _is_complete(self) -> bool:
        """Whether all configurations are read here: those inside of packages are not."""
        return all(given.is_dir() for given in self.given)

    @property
    def _main(self) -> dict[str, Any]:
        """The primary configuration with what it takes over from another one."""
        return self._primary[0]

    @property
    def _tops(self) -> set[str]:
        """Keys and groups of the primary configuration."""
        return {"exp", *self._main, *self._primary[1]}

    @cached_property
    def _primary(self) -> tuple[dict[str, Any], set[str]]:
        return self._read_primary(self.config_name)

    def _read_primary(self, name: str) -> tuple[dict[str, Any], set[str]]:
        """Return the keys of a primary configuration, and the groups among its defaults."""
        values, groups = read_yaml(self.folder / f"{name}.yaml"), set[str]()
        for base in values.pop("defaults", []):
            if isinstance(base, dict):
                groups |= {str(group) for group in base}
            elif base != "_self_":
                taken, further = self._read_primary(base)
                values, groups = taken | values, groups | further
        return values, groups

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


def _flat_keys(values: Any, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the dotted keys of nested dicts, inner nodes too, and whether each is an inner node."""
    for key, value in _flat_items(values, prefix):
        yield key, bool(value) and isinstance(value, dict)


def _flat_items(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of nested dicts, inner nodes too, each with its value."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key not in ("defaults", "_target_"):
                yield f"{prefix}{key}", value
                yield from _flat_items(value, f"{prefix}{key}.")


def _unread(error: OverrideParseException) -> str:
    """Return one line on an override that Hydra's grammar does not read."""
    lines = str(error).splitlines()
    reason = next((line for line in lines if not line.startswith(("Error parsing", "See "))), "")
    override = (error.override or "").lstrip("+")
    key, _, value = override.partition("=")
    if sign := UNREAD.search(str(error.__context__)):
        reason = f"{sign[1]} is outside of quotes"
    if value[:1] in ("[", "{"):
        inner = "[{name: 'a text'}]" if "{" in value else "['a text']"
        within = f'texts in it that have signs need quotes of their own, as in "{key}={inner}"'
        return f"{override}: must be a value that Hydra reads ({reason}); {within}"
    text = for_shell(f"{key}={in_quotes(value)}")
    return f"{override}: must be a value that Hydra reads ({reason}); to give it as a text: {text}"


def _is_expression(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _value(override: str) -> Any:
    """Return the value that Hydra reads; None also if it reads none."""
    try:
        return OverridesParser.create().parse_override(override).value()
    except HydraException:
        return None


def _has_plain_keys(override: str) -> bool:
    """Return whether Hydra reads a mapping whose keys stay what they are."""
    value = _value(override)
    return isinstance(value, dict) and all(isinstance(key, str | int) for key in value)
