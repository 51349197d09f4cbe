"""Where a file of the repository is on the site, and links rewritten to it.

The Markdown files link each other, `conf/` and the notebook as files of the repository, so that the
links work wherever the repository is shown. On the site, the same links lead to the pages; a file
without a page is named.
"""

import posixpath
import re
import subprocess
from collections.abc import Callable
from urllib.parse import urlsplit

from source_docs import ROOT

INCLUDED = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
CONFIGURATION = "configuration"
EXPERIMENTS = "experiments"
SHOWN = (".md", ".png", ".pdf", ".csv")  # files of the experiments that the site has
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<to>[^)#\s]+)(?P<anchor>#[^)]*)?\)")
SSH = re.compile(r"(?:ssh://)?git@(?P<host>[\w.-]+)[:/](?P<path>.+)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def page_of(path: str) -> str | None:
    """Return the site's file for a file or folder of the repository; None if it has none.

    Args:
        path: Relative to the root of the repository.
    """
    top, _, rest = path.partition("/")
    if path == "README.md":
        return "index.md"
    if path in INCLUDED:
        return INCLUDED[path]
    if top == "conf":
        group = rest.partition("/")[0]
        return f"{CONFIGURATION}/{group if (ROOT / top / group).is_dir() and group else 'index'}.md"
    if top == "docs" and rest:
        return f"{rest.removesuffix('.ipynb')}.md" if rest.endswith(".ipynb") else rest
    if top == EXPERIMENTS and path.endswith(SHOWN):
        return path
    return None


def source_of_page(uri: str) -> str:
    """Return the file of the repository that a page is made of."""
    for path, page in INCLUDED.items():
        if page == uri:
            return path
    return uri if uri.startswith(f"{EXPERIMENTS}/") else f"docs/{uri}"


def links_to_pages(markdown: str, uri: str) -> str:
    """Return a page's text with its links to files of the repository leading to pages.

    Args:
        markdown: Text of the file that the page is made of.
        uri: The page's own file on the site.
    """
    folder = posixpath.dirname(source_of_page(uri))

    def rewritten(match: re.Match) -> str:
        if ":" in match["to"]:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, match["to"]))
        page = page_of(path)
        if page is None:
            return _named(match["text"], path)
        relative = posixpath.relpath(page, posixpath.dirname(uri) or ".")
        return f"[{match['text']}]({relative}{match['anchor'] or ''})"

    return outside_code(markdown, lambda text: LINK.sub(rewritten, text))


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Apply a change to all but fenced code."""
    parts, last = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, change(markdown[last:])])


def remote() -> str:
    """Return the address of the checkout's remote; empty if there is none."""
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ""
    return done.stdout.strip()


def web_address(address: str) -> str | None:
    """Return the page of a remote, without user and password; None if it has none."""
    if match := SSH.fullmatch(address):
        return f"https://{match['host']}/{match['path'].removesuffix('.git')}"
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return f"https://{parts.hostname}{parts.path.removesuffix('.git')}"


def _named(text: str, path: str) -> str:
    """Return a link's text with the file that it leads to."""
    plain = text.strip("`")
    return f"`{path}`" if plain in (path, posixpath.basename(path)) else f"{text} (`{path}`)"
