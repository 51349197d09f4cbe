"""`python -m sip`: the programs, a line each, as their help texts state them."""

import re
import shlex
import sys
from collections.abc import Collection, Sequence

from sip.config.provenance import program_versions
from sip.config.words import near_names
from sip.core.files import read_yaml
from sip.core.paths import conf_folder

ORDER = (
    "train",
    "generate",
    "predict",
    "evaluate",
    "studio",
    "tables",
    "report",
    "export",
    "doctor",
)
USAGE = re.compile(r"python -m (sip[\w.]+)")


def programs() -> dict[str, str]:
    """Return module -> what it is for, in one line."""
    files = {file.stem: file for file in (conf_folder() / "hydra" / "help").glob("*.yaml")}
    known = [name for name in ORDER if name in files]
    found = {}
    for name in [*known, *sorted(files.keys() - known)]:
        title, _, text = read_yaml(files[name])["template"].partition("\n")
        found[USAGE.findall(text)[0]] = title.removeprefix("SIP: ")
    return found


def main() -> None:
    """Print them, or the versions for `--version`; refuse anything else with code 2."""
    if "--version" in sys.argv:
        print(program_versions())
        return
    listed = programs()
    if words := [word for word in sys.argv[1:] if word not in ("-h", "--help")]:
        print(f"error: {_meant(words, listed)}", file=sys.stderr)
        sys.exit(2)
    width = max(map(len, listed))
    print("SIP: semantic-guided image augmentation (arXiv 2302.02070)\n")
    print("\n".join(f"  python -m {name:<{width}}  {line}" for name, line in listed.items()))
    print("\n  --help says what each takes, --version which version this is.")


def _meant(words: Sequence[str], modules: Collection[str]) -> str:
    """Return what to write for a program that is named as a word."""
    names = {module.removeprefix("sip."): module for module in modules}
    names |= {module.split(".")[1]: module for module in modules}
    name = words[0].removeprefix("sip.")
    if name in names:
        return f"{words[0]}: write {shlex.join(['python', '-m', names[name], *words[1:]])}"
    if near := near_names(name, names):
        fix = f"did you mean {' or '.join(f'python -m {names[one]}' for one in near)}?"
    else:
        fix = "python -m sip lists all"
    return f"{words[0]}: no such program; {fix}"


if __name__ == "__main__":
    main()
