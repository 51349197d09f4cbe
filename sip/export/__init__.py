"""Export a finished run as a folder of images that other programs read.

In comes a run's folder: `images.parquet`, `summary.json` and `config.yaml`. Out goes an
ImageFolder, a WebDataset or a folder for the package `datasets`, with a data card and the
provenance of every image. Nothing in it depends on SIP or says where anything lay.
"""
