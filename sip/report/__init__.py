"""Report room: the finished runs of an experiment in, one self-contained HTML page out.

Runs are read as folders (`summary.json`, `config.yaml`, `pictures.parquet`, `quality.parquet`).
The page holds its pictures, style and script in itself; it opens from a file and asks no network.
Text from data reaches it through `html.tag`, which escapes, or as JSON that the script writes with
`textContent`; its content policy allows no other script than its own.
"""
