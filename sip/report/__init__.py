"""Write one self-contained HTML page about the finished runs of an experiment.

The page holds its images, style and script in itself; it opens from a file and asks no network.
Text from data reaches it through Jinja's autoescape, or as JSON that the script writes with
`textContent`; its content policy allows no other script than its own.
"""
