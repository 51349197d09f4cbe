"""The pages on the configuration, made of `conf` and of the source at each build.

One page a group, inner groups on it, every choice with its options, defaults and what the
class's docstring, else the comment next to it, says of each. So a page cannot say what the code
does not.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from source_docs import ROOT, package_line, source_of

from sip.config.options import GLOBAL, SHARED, ConfigFile, Option, read_choice

CONF = ROOT / "conf"
HIDDEN = ("hydra",)  # texts of --help
MAIN = "config"
PURPOSE = {  # of groups without a package, whose docstring would say it
    "exp": "A run in one word, with question, command, cost and expected result.",
    "figure": "A figure of `sip.tables`, in place of a table.",
    "logger": "Where curves and results go in addition to the local files.",
    "method": "How `sip.adapt` adapts a generator to the classes of a data set.",
    "profile": "The scale: models, sizes and recipes; one switch between the laptop and the paper.",
    "runtime": "How the work is done on this machine; nothing in it changes a result.",
    "sweep": "Many runs in one word, with question, command, cost and expected result.",
    "table": "A table of `sip.tables`.",
    "trainer": "Devices, machines and strategy: Lightning's.",
}
# What the header of a choice states that names a model, each in a line of its own: all of it if it
# generates images, the first three if it captions or scores.
FACTS = ("Source", "Licence", "Parameters", "GPU memory", "Evaluations", "Prompt weights")
NUM_SHARED = 3
PLAIN = str.maketrans({"<": "&lt;", "|": "\\|", "*": "\\*", "{": "&#123;", "[": "\\[", "_": "\\_"})


def groups() -> list[str]:
    """Return the top groups, those that choose a class first, in the order of config.yaml."""
    folders = [path.name for path in CONF.iterdir() if path.is_dir() and path.name not in HIDDEN]
    order = list(_defaults())
    folders.sort()
    return sorted(folders, key=lambda name: order.index(name) if name in order else len(order))


def pages() -> dict[str, str]:
    """Return the name of each page, without suffix, and its Markdown."""
    return {"index": main_page(), **{group: group_page(group) for group in groups()}}


def main_page() -> str:
    """Return the page on config.yaml and on the other programs' files."""
    main = read_choice(CONF / f"{MAIN}.yaml")
    lines = [
        "# Configuration",
        "Every option of every group, made from the files under `conf/` and the docstrings at each "
        "build of these pages. On the command line, `group=choice` takes another choice and "
        "`key=value` another value; `--cfg job` prints what comes out.",
        "| group | default | what it is |\n|---|---|---|\n" + "\n".join(_group_rows()),
        "Groups without a default are added with a plus: `+exp=NAME`, `+sweep=NAME`.",
        "## Options outside of the groups",
        _table(main.options, None, ""),
    ]
    for file in sorted(CONF.glob("*.yaml")):
        if file.stem != MAIN:
            program = read_choice(file)
            lines += [f"## `{file.stem}`", _text(program.header)]
            if program.base:
                lines.append(f"Groups and options are those of `{program.base}`; it adds:")
            lines.append(_table(program.own(), None, ""))
    return "\n\n".join(lines) + "\n"


def group_page(group: str) -> str:
    """Return the page on a group, and on those within it."""
    folder = CONF / group
    inner = sorted({file.parent for file in folder.rglob("*/*.yaml") if file.parent.name != SHARED})
    lines = [f"# {group}", _text(_purpose(group)), models_table(group)]
    for place in [folder, *inner]:
        name = place.relative_to(CONF).as_posix()
        choices = [read_choice(file, name) for file in sorted(place.glob("*.yaml"))]
        default = _defaults().get(name)
        choices.sort(key=lambda choice: (choice.name != default, choice.name))
        if place != folder:
            lines += [f"## {name}", _text(_purpose(name))]
        level = "###" if place != folder else "##"
        lines += [_usage(name, default), *_choices(name, choices, level)]
        for file in sorted((place / SHARED).glob("*.yaml")):
            if is_whole(shared := read_choice(file, name)):
                lines += [f"{level} What the choices share", _yaml(shared)]
    return "\n\n".join(line for line in lines if line) + "\n"


def models_table(group: str) -> str:
    """Return a table of the models among a group's choices; empty if there are none."""
    names = FACTS if group == "images" else FACTS[:NUM_SHARED]
    rows = []
    for file in sorted((CONF / group).glob("*.yaml")):
        choice = read_choice(file, group)
        if facts := facts_of(choice.header, names):
            cells = [_link(group, choice.name), *(_text(facts[name]) for name in names)]
            rows.append(f"| {' | '.join(cells)} |")
    head = ["choice", *(name.lower() for name in names)]
    heads = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*heads, *rows]) if rows else ""


def facts_of(header: str, names: Sequence[str] = FACTS) -> dict[str, str]:
    """Return the facts that a header states, all of these names or none.

    Raises:
        ValueError: It states some of them.
    """
    any_of = "|".join(names)
    found = dict(re.findall(rf"\b({any_of}): (.+?)\.(?= (?:{any_of}): |$)", header))
    if found and set(found) != set(names):
        raise ValueError(f"{header}: must state {', '.join(names)}, got {', '.join(found)}")
    return found


def _defaults() -> dict[str, str]:
    """Return the groups that config.yaml names, with its choices."""
    return read_choice(CONF / f"{MAIN}.yaml").chosen()


def _group_rows() -> Iterator[str]:
    defaults = _defaults()
    for group in groups():
        choice = f"`{defaults[group]}`" if group in defaults else ""
        first = _purpose(group).partition("\n\n")[0]
        yield f"| [{group}]({group}.md) | {choice} | {_text(first)} |"


def _purpose(group: str) -> str:
    """Return what a group is for; empty for an inner one without a package."""
    return package_line(f"sip.{group.replace('/', '.')}") or PURPOSE.get(group, "")


def _usage(name: str, default: str | None) -> str:
    programs = [read_choice(file).chooses for file in CONF.glob("*.yaml")]
    has_default = any(f"`{name}=" in said for chooses in programs for said in chooses)
    plus = "" if has_default or "/" in name else "+"
    known = f", by default `{default}`" if default else ""
    return f"Chosen by `{plus}{name}=NAME`{known}."


def _choices(group: str, choices: list[ConfigFile], level: str) -> Iterator[str]:
    """Yield the parts of a page on the choices of one group.

    The options of a class are listed in full once, inherited ones too; a further choice of it, or
    a preset without a class, says what differs.
    """
    first: dict[str, ConfigFile] = {}
    for choice in choices:
        yield f"{level} `{choice.name}` {{ #{_anchor(group, choice.name)} }}"
        if is_whole(choice):
            yield _yaml(choice)
            continue
        yield _text(choice.header)
        target = choice.target
        known = first.get(target) if target else None
        like = choice.base or (known.name if known else None)
        options = choice.options
        if target and not known:
            first[target] = choice
            yield _class(target)
        elif like:
            options = choice.own() if choice.base else _other(choice, known)
            kind = f"Class: `{target}`, as" if target else "As"
            yield f"{kind} {_link(group, like)}."
        if choice.chooses:
            yield f"With it: {', '.join(choice.chooses)}."
        if options:
            if like and options is not choice.options:
                yield "What differs:"
            yield _table(options, target, f"{choice.package or group.replace('/', '.')}.", group)


def is_whole(choice: ConfigFile) -> bool:
    """Return whether a choice is shown as its file: it sets keys of other groups, or of Hydra."""
    return choice.package is not None and choice.package.startswith((GLOBAL, "hydra."))


def _yaml(choice: ConfigFile) -> str:
    return f"```yaml\n{choice.text.rstrip()}\n```"


def _anchor(group: str, choice: str) -> str:
    return f"{group.replace('/', '-')}-{choice}"


def _link(group: str, choice: str) -> str:
    return f"[`{choice}`](#{_anchor(group, choice)})"


def _other(choice: ConfigFile, known: ConfigFile | None) -> list[Option]:
    """Return the options of a choice that another one of the same class does not have so."""
    same = {(option.name, option.default) for option in known.options} if known else set()
    return [option for option in choice.options if (option.name, option.default) not in same]


def _class(target: str) -> str:
    """Return a class with its docstring's first lines, and what its file says of sources."""
    source = source_of(target)
    name = target.rpartition(".")[2]
    file = _file_of(target)
    about = "\n".join(f"    {line}".rstrip() for line in source.module.splitlines())
    return (
        f"Class: `{target}`. {_text(source.summary)}\n\n"
        f'??? quote "{name} in {file}"\n\n    ```text\n{about}\n    ```'
    )


def _file_of(target: str) -> str:
    place = Path(*target.split(".")[:-1])
    return f"{place}/__init__.py" if (ROOT / place).is_dir() else f"{place}.py"


def _table(options: list[Option], target: str | None, prefix: str, group: str = "") -> str:
    """Return a table: option as one types it, default, meaning and where it is from.

    The meaning is the docstring's; the YAML's comment if there is none, or if it lists values that
    the docstring does not.
    """
    documented = source_of(target).arguments if target else {}
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for option in options:
        meaning = documented.get(option.name, "")
        values = option.comment.partition(";")[0].split(" | ")
        is_shown = not meaning or (len(values) > 1 and any(one not in meaning for one in values))
        parts = [option.comment if is_shown else "", meaning]
        texts = [_text(part) for part in parts if part]
        if option.base and option.base != SHARED:
            texts.append(f"as {_link(group, option.base)}")
        cell = "<br>".join(texts)
        rows.append(f"| `{prefix}{option.name}` | {code(option.default)} | {cell} |")
    return "\n".join(rows)


def code(text: str) -> str:
    """Return a text as code within a table; empty if it is."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def _text(text: str) -> str:
    """Return a text in which nothing but code between backticks means anything to Markdown."""
    parts = " ".join(text.split()).split("`")
    plain = [part.translate(PLAIN) for part in parts[::2]]
    coded = [f"`{part}`".replace("|", "\\|") for part in parts[1::2]]
    if len(parts) % 2 == 0:  # a backtick without another one
        return text.translate(PLAIN)
    return "".join(one for pair in zip(plain, [*coded, ""], strict=True) for one in pair)
