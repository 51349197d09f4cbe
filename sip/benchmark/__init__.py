"""Benchmark stage: what drawing and training cost, against their floors; formats and storage."""
