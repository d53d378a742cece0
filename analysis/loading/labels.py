"""How factors and levels are called in figures, captions and messages, and the file that renames them; computes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from workers.contract.column import UNITS
from workers.contract.columns import unit_of_column
from workers.contract.errors import UserError
from workers.contract.settings import Settings
from workers.contract.settings_table import leaves

INTERVAL = "95% t interval over seeds, pointwise"
"""What every band and every half-width of a report is."""

LABELS_FILE = "labels.yaml"
"""Read from a study's folder if it is there."""

_TITLES = {
    "decoder": "decoder",
    "k": "importance samples K",
    "batch_norm": "batch normalisation",
    "warmup": "warm-up",
    "n_z": "latent units n_z",
}

_MEANT = 'write factors: {n_z: latent size} and levels: {k: {1: VAE, 5: "IWAE, K = 5"}}'


class LabelError(UserError):
    """A file of labels cannot be used; the text says which, why, and what to do."""


@dataclass(frozen=True)
class Labels:
    """What a reader sees in place of the names of factors and levels; what is not named keeps its usual words."""

    factors: Mapping[str, str] = field(default_factory=dict)
    """Factor to its title."""
    levels: Mapping[str, Mapping[Any, str]] = field(default_factory=dict)
    """Factor to level to its label."""

    def title_of(self, factor: str) -> str:
        """A factor in words."""
        return self.factors.get(factor) or _TITLES.get(factor, factor)

    def label_of(self, factor: str, level: Any) -> str:
        """A level as it stands beside a line or in a column that names its factor: short."""
        given = self._given(factor, level)
        if given is not None:
            return given
        match factor:
            case "decoder":
                return str(level).replace("_", " ").capitalize()
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

    def in_words(self, levels: Mapping[str, Any]) -> str:
        """A cell, or a part of one, for a reader: 'Bernoulli decoder, K = 5, no batch norm'."""
        return ", ".join(self._words_of(factor, level) for factor, level in levels.items())

    def _words_of(self, factor: str, level: Any) -> str:
        if self._given(factor, level) is not None:
            return self.label_of(factor, level)
        if factor == "decoder":
            return f"{self.label_of(factor, level)} decoder"
        return self.label_of(factor, level) if factor in _TITLES else f"{self.title_of(factor)} = {level}"

    def _given(self, factor: str, level: Any) -> str | None:
        return next((label for key, label in self.levels.get(factor, {}).items() if _is_same(key, level)), None)


PLAIN = Labels()
"""The usual words."""


def title_of(factor: str) -> str:
    """A factor in the usual words."""
    return PLAIN.title_of(factor)


def label_of(factor: str, level: Any) -> str:
    """A level in the usual words, short."""
    return PLAIN.label_of(factor, level)


def in_words(levels: Mapping[str, Any]) -> str:
    """A cell in the usual words."""
    return PLAIN.in_words(levels)


def measure_in_words(column: str) -> str:
    """A measure with its unit: 'nll (nats per example)', 'active units'."""
    words, unit = column.replace("_", " "), unit_of_column(column)
    return words if unit in ("", UNITS) else f"{words} ({unit})"


def cell_text(levels: Mapping[str, Any]) -> str:
    """A cell as it is typed after `--only`: 'decoder=bernoulli k=5 batch_norm=False'."""
    return " ".join(f"{factor}={level}" for factor, level in levels.items())


def read_labels(path: Path) -> Labels:
    """The labels of a YAML file with `factors` (factor: title) and `levels` (factor: {level: label}).

    Raises:
        LabelError: the file cannot be read, or renames what cannot exist; every problem at once.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror}); name a YAML file of labels") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise LabelError(f"{path}: is no YAML ({str(error).splitlines()[0]}); {_MEANT}") from error
    found = {} if found is None else found
    if not isinstance(found, dict) or not set(found) <= {"factors", "levels"}:
        raise LabelError(f"{path}: has other parts than factors and levels; {_MEANT}")
    titles, levels = found.get("factors") or {}, found.get("levels") or {}
    problems = [*_problems("factors", titles), *_problems("levels", levels)]
    if isinstance(titles, dict):
        problems += [f"factors.{name}: got {title!r}, wants a text" for name, title in titles.items() if not _is_text(title)]
    if isinstance(levels, dict):
        for name, labels in levels.items():
            if not isinstance(labels, dict) or not all(_is_text(label) for label in labels.values()):
                problems.append(f"levels.{name}: wants a table of level: text")
    if problems:
        raise LabelError(f"{path}: {'; '.join(problems)}; {_MEANT}")
    return Labels(
        {name: str(title) for name, title in titles.items()},
        {name: {key: str(label) for key, label in labels.items()} for name, labels in levels.items()},
    )


def _problems(part: str, table: Any) -> list[str]:
    if not isinstance(table, dict):
        return [f"{part}: wants a table"]
    known = list(leaves(Settings))
    problems = []
    for name in table:
        if name not in known:
            near = get_close_matches(str(name), known, 1)
            problems.append(f"{part}.{name}: no such factor" + (f", did you mean {near[0]}?" if near else ""))
    return problems


def _is_text(label: Any) -> bool:
    return isinstance(label, str | int | float) and not isinstance(label, bool) and str(label).strip() != ""


def _is_same(key: Any, level: Any) -> bool:
    """Whether a key of the file means a level: as YAML read it, as it is printed, or as the same number (1e-3)."""
    if isinstance(key, bool) or isinstance(level, bool):
        return str(key).lower() == str(level).lower()
    if key == level or str(key) == str(level):
        return True
    try:
        return float(key) == float(level)
    except (TypeError, ValueError):
        return False
