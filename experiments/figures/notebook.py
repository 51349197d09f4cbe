"""Run a notebook's cells where the runs are, and keep their outputs in it.

`python -m experiments.figures.notebook NOTEBOOK`, in a folder with `runs` and `store`. It needs
neither Jupyter nor IPython; a result is kept as text or HTML, figures as small PNG images.
"""

import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image

DPI = 80
NUM_COLORS = 128  # of a PNG's palette


def main(notebook: Path) -> None:
    """Run the cells in order and write the notebook."""
    matplotlib.use("Agg")
    content = json.loads(notebook.read_text())
    names: dict[str, Any] = {}
    number = 0
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            cell["outputs"] = outputs("".join(cell["source"]), names, number)
            cell["execution_count"] = number
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def outputs(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Run a cell; return its outputs in the notebook's format."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    result = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), names)  # noqa: S102  our own notebook
        if isinstance(last, ast.Expr):
            code = compile(ast.Expression(last.value), f"cell {number}", "eval")
            result = eval(code, names)  # noqa: S307
    made: list[dict[str, Any]] = []
    if printed.getvalue():
        made.append({"name": "stdout", "output_type": "stream", "text": lines(printed.getvalue())})
    if result is not None and (data := shown(result)):
        kept = {"data": data, "execution_count": number, "metadata": {}}
        made.append(kept | {"output_type": "execute_result"})
    return made + [
        {"data": {"image/png": image}, "metadata": {}, "output_type": "display_data"}
        for image in figures()
    ]


def shown(result: Any) -> dict[str, Any]:
    """Return a value as notebooks show it."""
    if isinstance(result, Image.Image):
        return {"image/png": png(result)}
    data = {"text/plain": lines(repr(result))}
    if hasattr(result, "_repr_html_"):
        data["text/html"] = lines(result._repr_html_())
    return data


def figures() -> list[str]:
    """Return the open figures as PNG, and close them."""
    from matplotlib import pyplot

    images = []
    for number in pyplot.get_fignums():
        file = io.BytesIO()
        pyplot.figure(number).savefig(file, dpi=DPI)
        images.append(png(Image.open(file)))
    pyplot.close("all")
    return images


def png(image: Image.Image) -> str:
    """Return an image as PNG of few colours, in base64."""
    file = io.BytesIO()
    image.convert("RGB").quantize(NUM_COLORS).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def lines(text: str) -> list[str]:
    """Return a text as the list of lines of the format."""
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
