"""`python -m sip`: the programs, a line each, as their help texts state them."""

import re
import sys

from sip.config.provenance import program_versions
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
    """Print them, or the versions for `--version`."""
    if "--version" in sys.argv:
        print(program_versions())
        return
    listed = programs()
    width = max(map(len, listed))
    print("SIP: semantic-guided image augmentation (arXiv 2302.02070)\n")
    print("\n".join(f"  python -m {name:<{width}}  {line}" for name, line in listed.items()))
    print("\n  --help says what each takes, --version which version this is.")


if __name__ == "__main__":
    main()
