"""Numbers of a table as text."""

from sip.tables.statistics import Estimate


def value_text(value: Estimate, sign: str = "") -> str:
    """Return mean, half of the interval, and n in parentheses."""
    text = f"{value.mean:{sign}.2f}"
    text += "" if value.half_width is None else f" ± {value.half_width:.2f}"
    return f"{text} ({value.num})"


def p_text(p_value: float | None) -> str:
    """Return a p-value with three digits; "-" for None."""
    if p_value is None:
        return "-"
    return "< 0.001" if p_value < 0.0005 else f"{p_value:.3f}"
