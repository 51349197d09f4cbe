"""Benchmark room: what drawing costs, against the floor; what training costs, against the bound; what formats and storage cost."""
