"""Metrics: a generated set in, numbers about it out.

The input is unit embeddings of the generated images, of their originals, and of the texts that
belong to them, all of one scorer; the output is rows: metric, value, unit, higher_is_better, split,
n. Nothing here is learnt, and nothing looks at the test part. `sip.pipeline.quality` embeds the
images of a run; every other file is one family of pure functions, with a class that makes rows.
"""
