"""Export room: a finished set of pictures in, a folder that other programs read out.

In comes a run's folder: `images.parquet`, `summary.json` and `config.yaml`. Out goes an
ImageFolder, a WebDataset or a folder for the package `datasets`, with a data card and the
provenance of every picture. Nothing of it depends on SIP or says where anything lay.
"""
