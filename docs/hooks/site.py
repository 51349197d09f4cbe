"""Hooks of mkdocs: pages that are made of other files of the project, and links between them.

- `configuration/*.md`: see `conf_pages`.
- a page of every notebook: its cells as text and code; the notebook itself stays next to it.
- `contributing.md` and `changelog.md`: the files next to `README.md`.
- `experiments/`: the reports of the experiments, with figures and tables.
- links: see `links`. If the checkout has a remote, the navigation links the source code.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

import conf_pages
from links import CONFIGURATION, EXPERIMENTS, INCLUDED, SHOWN, links_to_pages, remote, web_address
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from source_docs import ROOT

STYLE = re.compile(r"<style scoped>.*?</style>\n", re.DOTALL)
FIRST = ("claims.md", "LOG.md")  # of the experiments


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the navigation: pages on the configuration, experiments, the source code."""
    reports = sorted(
        path.relative_to(ROOT).as_posix() for path in (ROOT / EXPERIMENTS).glob("*/README.md")
    )
    folders = {
        f"{CONFIGURATION}/": [
            f"{CONFIGURATION}/{name}.md" for name in ("index", *conf_pages.groups())
        ],
        f"{EXPERIMENTS}/": [*(f"{EXPERIMENTS}/{name}" for name in FIRST), *reports],
    }
    for entry in config.nav or []:
        for title, pages in entry.items():
            if isinstance(pages, str) and pages in folders:
                entry[title] = folders[pages]
    if config.nav and (url := web_address(remote())):
        config.nav.append({"Source code": url})
    config.watch += [str(ROOT / folder) for folder in ("conf", "sip", EXPERIMENTS)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {f"{CONFIGURATION}/{name}.md": text for name, text in conf_pages.pages().items()}
    made |= {page: (ROOT / name).read_text() for name, page in INCLUDED.items()}
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            made[file.src_uri.removesuffix(".ipynb") + ".md"] = notebook_page(file)
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    for path in sorted((ROOT / EXPERIMENTS).rglob("*")):
        if path.suffix in SHOWN:
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links to files of the repository to the site's pages."""
    uri = page.file.src_uri
    return markdown if uri.startswith(f"{CONFIGURATION}/") else links_to_pages(markdown, uri)


def notebook_page(file: File) -> str:
    """Return the cells of a notebook, with their outputs, as a page."""
    notebook = json.loads(Path(file.abs_src_path or "").read_text())
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).rstrip()
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [_shown(output) for output in cell.get("outputs", [])]
    name = posixpath.basename(file.src_uri)
    parts.insert(1, f'The notebook itself: <a href="{name}" download>{name}</a>.')
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
