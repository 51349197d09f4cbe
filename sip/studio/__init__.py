"""A studio in the browser: try settings, review images by eye, compare runs blind.

`trying`, `reviewing` and `comparing` hold what is known and decided, without a browser; the `*_tab`
files lay it out. All images go to the page in its HTML: no folder is served.
"""
