"""Benchmark room: what drawing costs, against the floor; what formats and storage cost."""
