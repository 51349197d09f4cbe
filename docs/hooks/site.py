"""Hooks of mkdocs: pages that are made from what the project has anyway, and links out of `docs`.

- `configuration/*.md`: see `conf_pages`.
- a page of every notebook: its cells as text and code; the notebook itself stays next to it.
- `contributing.md` and `changelog.md`: the files next to `README.md`.
- a link to a file outside of `docs`, which works where the sources are read, becomes its name here.
"""

import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conf_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from source_docs import ROOT

INCLUDED = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
CONFIGURATION = "configuration"
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<to>[^)#\s]+)(?P<anchor>#[^)]*)?\)")
STYLE = re.compile(r"<style scoped>.*?</style>\n", re.DOTALL)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the pages on the configuration where the navigation names their folder."""
    names = [f"{CONFIGURATION}/{name}.md" for name in ("index", *conf_pages.groups())]
    for entry in config.nav or []:
        for title, pages in entry.items():
            if pages == f"{CONFIGURATION}/":
                entry[title] = names
    config.watch += [str(ROOT / folder) for folder in ("conf", "sip")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {f"{CONFIGURATION}/{name}.md": text for name, text in conf_pages.pages().items()}
    made |= {page: from_root((ROOT / name).read_text()) for page, name in INCLUDED.items()}
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            made[file.src_uri.removesuffix(".ipynb") + ".md"] = notebook_page(file)
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Name the files outside of `docs` in place of linking them."""
    folder = posixpath.dirname(page.file.src_uri)

    def place(found: re.Match) -> str:
        to = posixpath.normpath(posixpath.join(folder, found["to"]))
        if ":" in found["to"] or not to.startswith("../"):
            return found[0]
        return _named(found["text"], to.removeprefix("../"))

    return outside_code(markdown, lambda text: LINK.sub(place, text))


def from_root(markdown: str) -> str:
    """Return a page that lies next to `docs`, with its links as they are from within."""

    def place(found: re.Match) -> str:
        to = found["to"]
        if ":" in to:
            return found[0]
        if to.startswith("docs/"):
            return f"[{found['text']}]({to.removeprefix('docs/')}{found['anchor'] or ''})"
        inside = {name: page for page, name in INCLUDED.items()}
        return f"[{found['text']}]({inside[to]})" if to in inside else _named(found["text"], to)

    return outside_code(markdown, lambda text: LINK.sub(place, text))


def notebook_page(file: File) -> str:
    """Return the cells of a notebook, with their outputs, as a page."""
    notebook = json.loads(Path(file.abs_src_path or "").read_text())
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).rstrip()
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [_shown(output) for output in cell.get("outputs", [])]
    name = posixpath.basename(file.src_uri)
    parts.insert(1, f"The notebook itself: [{name}]({name}).")
    return "\n\n".join(parts) + "\n"


def _shown(output: dict[str, Any]) -> str:
    """Return an output of a cell as Markdown: an image, a table, or text."""
    data = output.get("data", {})
    if image := data.get("image/png"):
        return f'<img alt="output of the cell" src="data:image/png;base64,{image}">'
    if html := "".join(data.get("text/html", [])):
        table = STYLE.sub("", html).replace(' border="1" class="dataframe"', "")
        return table.replace("<div>", '<div class="output">')
    text = "".join(output.get("text", data.get("text/plain", []))).rstrip()
    return f"```text\n{text}\n```"


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Apply a change to all but fenced code."""
    parts, last = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, change(markdown[last:])])


def _named(text: str, path: str) -> str:
    """Return a link's text with the file that it leads to."""
    plain = text.strip("`")
    return f"`{path}`" if plain in (path, posixpath.basename(path)) else f"{text} (`{path}`)"
