"""Metrics room: a drawn set in, numbers about it out.

In come unit embeddings of the drawn pictures, of their originals, and of the texts that belong to
them, all of one scorer; out go rows: metric, value, unit, higher_is_better, split, n. Nothing in
here is learnt, and nothing looks at the test part. `sip.pipeline.quality` has the pictures of a run
embedded; every other file is one family of pure functions, with a class that makes rows of them.
"""
