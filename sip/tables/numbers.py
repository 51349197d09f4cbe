"""Numbers of tables and figures as text: rounded once, to two decimals."""

from sip.tables.statistics import Estimate


def value_text(value: Estimate, sign: str = "") -> str:
    """Return mean, half of the interval, and n in parentheses."""
    return f"{interval_text(value.mean, value.half_width, sign)} ({value.num})"


def interval_text(mean: float, half_width: float | None, sign: str = "") -> str:
    """Return a mean with half of its interval, if there is one."""
    return f"{mean:{sign}.2f}" + ("" if half_width is None else f" ± {half_width:.2f}")


def p_text(p_value: float | None) -> str:
    """Return a p-value with three digits; "-" for None."""
    if p_value is None:
        return "-"
    return "< 0.001" if p_value < 0.0005 else f"{p_value:.3f}"
