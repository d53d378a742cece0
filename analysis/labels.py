"""How factors and levels are called in figures, captions and messages; reads and computes nothing."""

from collections.abc import Mapping
from typing import Any

INTERVAL = "95% t interval over seeds, pointwise"
"""What every band and every half-width of a report is."""

_TITLES = {
    "decoder": "decoder",
    "k": "importance samples K",
    "batch_norm": "batch normalisation",
    "warmup": "warm-up",
    "n_z": "latent units n_z",
}


def title_of(factor: str) -> str:
    """A factor in words."""
    return _TITLES.get(factor, factor)


def label_of(factor: str, level: Any) -> str:
    """A level as it stands beside a line or in a column that names its factor: short."""
    match factor:
        case "decoder":
            return str(level).capitalize()
        case "k":
            return f"K = {level}"
        case "batch_norm":
            return "batch norm" if level else "no batch norm"
        case "warmup":
            return f"warm-up {level} epochs" if level else "no warm-up"
        case "n_z":
            return f"n_z = {level}"
        case _:
            return str(level)


def in_words(levels: Mapping[str, Any]) -> str:
    """A cell, or a part of one, for a reader: 'Bernoulli decoder, K = 5, no batch norm'."""
    return ", ".join(_words_of(factor, level) for factor, level in levels.items())


def _words_of(factor: str, level: Any) -> str:
    if factor == "decoder":
        return f"{label_of(factor, level)} decoder"
    return label_of(factor, level) if factor in _TITLES else f"{factor} = {level}"


def cell_text(levels: Mapping[str, Any]) -> str:
    """A cell as it is typed after `--only`: 'decoder=bernoulli k=5 batch_norm=False'."""
    return " ".join(f"{factor}={level}" for factor, level in levels.items())
