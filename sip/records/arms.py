"""The name of an arm: what stands in its three places, and a filter."""

from sip.records.write import choice

BROUGHT = {"gif_like": "guided"}  # offline choice -> the filter that it chooses itself


def arm() -> str:
    """Return the name of the augmentation by its parts, such as "sip_cutmix"; "none" for none.

    A filter of what is drawn is a part, unless the offline choice brings it along.
    """
    places = ("offline", "sample", "mix")
    offline, *others = [choice(f"augmentation/{place}") for place in places]
    sieve = choice("filter")
    if offline == "none" or BROUGHT.get(offline) == sieve:
        sieve = "none"
    parts = [offline, sieve, *others]
    return "_".join(dict.fromkeys(part for part in parts if part != "none")) or "none"
