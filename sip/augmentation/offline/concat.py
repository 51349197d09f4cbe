"""SIP, step 6: the classifier trains on the originals and the drawn pictures together.

Concatenation is our reading (arXiv 2302.02070 states that both are used, not how).
"""


class Concat:
    """The real pictures and all drawn ones, each seen equally often."""

    draws = True

    def recipe(self) -> dict:
        """Return everything that decides which training pictures there are."""
        return {"class": "sip.augmentation.offline.concat.Concat", "version": 1}
