"""No new pictures: no room before this one is asked for anything."""


class NoDrawn:
    """Real pictures alone."""

    draws = False

    def recipe(self) -> dict:
        """Return everything that decides which training pictures there are."""
        return {"class": "sip.augmentation.offline.none.NoDrawn", "version": 1}
