"""Keys and metrics in words: headings of tables, axes of figures, measures of the report.

Tables say the same in Markdown and LaTeX; the CSV keeps the keys.
"""

from sip.records.read import IN_PERCENT
from sip.records.summary import SHOWN
from sip.records.varied import key_words

KEYS = {
    "augmentation/base": "base transform",
    "dataset": "data set",
    "num_generated": "generated images",
    "num_real": "real images",
    "num_test": "test images",
    "num_train": "training images",
    "num_val": "validation images",
    "unet_evaluations": "U-Net evaluations",
}
TIMES = {"train": "training", "generate": "generation", "total": "total"}  # of seconds/...
PARTS = {"test": "test ", "val": "validation ", "generated": ""}
METRICS = {name.removeprefix("test/"): text for name, text in SHOWN.items()} | {
    "consistency_caption": "similarity to the caption",
    "consistency_label": "similarity to the label",
    "diversity_class": "distance within a class",
    "diversity_original": "distance to the original",
    "frechet": "Fréchet distance",
    "head": "head classes",
    "middle": "middle classes",
    "tail": "tail classes",
    "top1": "top-1",
    "vendi": "Vendi score",
}
FEATURES = "_lite0"  # how the name of a metric ends that is not in the scorer's features


def heading(*keys: str) -> str:
    """Return the heading of a column of keys or of a metric: "Noise rate", "Test top-1, %"."""
    text = words(*keys)
    return text[:1].upper() + text[1:]


def words(*keys: str) -> str:
    """Return keys or a metric in words: "noise rate, guidance", "test top-1, %"."""
    return ", ".join(map(_words, keys))


def metric_words(name: str) -> str:
    """Return a metric in words, with its unit: "test top-1, %" for "test/top1"."""
    return f"{metric_name(name)}, %" if name.endswith(IN_PERCENT) else metric_name(name)


def metric_name(name: str) -> str:
    """Return a metric in words: "test top-1" for "test/top1"."""
    part, slash, metric = name.rpartition("/")
    if part == "seconds":
        return f"{TIMES.get(metric, metric)}, s"
    of_features = metric.endswith(FEATURES)
    metric = metric.removesuffix(FEATURES)
    words = METRICS.get(metric, metric.replace("_", " "))
    features = f", {FEATURES[1:]}" if of_features else ""
    return PARTS.get(part, f"{part} " if slash else "") + words + features


def _words(key: str) -> str:
    if key in KEYS:
        return KEYS[key]
    is_metric = key.partition("/")[0] in ("seconds", *PARTS) and "/" in key
    return metric_words(key) if is_metric else key_words(key)
