"""Names factors and levels in figures, captions and messages, and reads the file that renames them."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.contract import yaml_tree as nodes
from workers.contract.column import UNITS
from workers.contract.columns import unit_of_column
from workers.contract.errors import UserError, close_to, reason_of
from workers.contract.settings_table import leaves
from workers.contract.user_paths import expanded
from workers.contract.yaml_tree import FileKind, Node, Place, Problem, Scalar, plain, read_nodes
from workers.store.folder import FileTooLargeError, read_limited

INTERVAL = "95% t interval over seeds, pointwise, on one fixed test set"
"""What every band and every half-width in a report shows."""

LABELS_FILE = "labels.yaml"
"""Read from a study's folder if it exists."""

_TITLES = {
    "decoder": "decoder",
    "k": "importance samples K",
    "batch_norm": "batch normalisation",
    "warmup": "warm-up",
    "n_z": "latent units n_z",
}

_MEANT = 'write factors: {n_z: latent size} and levels: {k: {1: VAE, 5: "IWAE, K = 5"}}'

_LABELS_KIND = FileKind("a file of labels", "a page of text", _MEANT, may_be_empty=True)


class LabelError(UserError):
    """A file of labels cannot be used; the text names the file, the reason and what to do."""


@dataclass(frozen=True)
class Labels:
    """What a reader sees in place of the names of factors and levels; anything without an entry keeps its usual words."""

    factors: Mapping[str, str] = field(default_factory=dict)
    """Title by factor."""
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Label by factor and level; levels are spelled as in the file."""

    def title_of(self, factor: str) -> str:
        """Return a factor in words."""
        return self.factors.get(factor) or _TITLES.get(factor, factor)

    def label_of(self, factor: str, level: Any) -> str:
        """Return a level in short, as it stands beside a line or in a column that names its factor."""
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
        """Return a cell, or a part of one, in words: 'Bernoulli decoder, K = 5, no batch norm'."""
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
    """Return a factor in the usual words."""
    return PLAIN.title_of(factor)


def label_of(factor: str, level: Any) -> str:
    """Return a level in the usual words, in short."""
    return PLAIN.label_of(factor, level)


def in_words(levels: Mapping[str, Any]) -> str:
    """Return a cell in the usual words."""
    return PLAIN.in_words(levels)


def measure_in_words(column: str) -> str:
    """Return a measure with its unit: 'nll (nats per example)', 'active units'."""
    words, unit = column.replace("_", " "), unit_of_column(column)
    return words if unit in ("", UNITS) else f"{words} ({unit})"


def cell_text(levels: Mapping[str, Any]) -> str:
    """Return a cell as it is typed after `--only`: 'decoder=bernoulli k=5 batch_norm=False'."""
    return " ".join(f"{factor}={level}" for factor, level in levels.items())


def read_labels(path: Path) -> Labels:
    """Read the labels of a YAML file with `factors` (factor: title) and `levels` (factor: {level: label}).

    Raises:
        LabelError: the file cannot be read, or renames what cannot exist; names every problem with its place.
    """
    there = expanded(path)
    try:
        text = read_limited(there, _LABELS_KIND).decode()
    except FileTooLargeError as error:
        raise LabelError(f"{error.problem}\n{path}: {_MEANT}") from error
    except (OSError, ValueError) as error:
        # ValueError: a name with a NUL, or bytes that are not text.
        reason = reason_of(error) if isinstance(error, OSError) else "is not UTF-8 text"
        raise LabelError(f"{path}: cannot be read ({reason}); name a YAML file of labels") from error
    root, problems = read_nodes(text, str(path), _LABELS_KIND)
    parts = {} if root is None else _mapping(root, "the file", problems)
    for key, (place, _) in parts.items():
        if key not in ("factors", "levels"):
            problems.append(Problem(place, f"{key}: a file of labels has only factors and levels"))
    titles = _labels_of(_factors(parts, "factors", problems), "factors", problems)
    levels = {
        name: _labels_of(_mapping(node, f"levels.{name}", problems), f"levels.{name}", problems)
        for name, (_, node) in _factors(parts, "levels", problems).items()
    }
    if problems:
        raise LabelError("\n".join([*map(str, problems), f"{path}: {_MEANT}"]))
    return Labels(titles, levels)


_Table = Mapping[str, tuple[Place, Node]]


def _mapping(node: Node, label: str, problems: list[Problem]) -> _Table:
    """Return the entries of a mapping; a key without a value has none."""
    if isinstance(node, Scalar) and node.value is None:
        return {}
    if not isinstance(node, nodes.Mapping):
        problems.append(Problem(node.place, f"{label}: must be a table of keys and texts, got {plain(node)!r}"))
        return {}
    return node.entries


def _factors(parts: _Table, part: str, problems: list[Problem]) -> _Table:
    """Return the entries of a part of the file, each of which must name a factor."""
    table = _mapping(parts[part][1], part, problems) if part in parts else {}
    for name, (place, _) in table.items():
        if name not in leaves():
            near = close_to(name, leaves())
            problems.append(Problem(place, f"{part}.{name}: no such factor" + (f", {near}" if near else "")))
    return table


def _labels_of(table: _Table, label: str, problems: list[Problem]) -> dict[str, str]:
    found = {}
    for key, (_, node) in table.items():
        if isinstance(node, Scalar) and node.value is not None and not isinstance(node.value, bool) and node.text.strip():
            found[key] = node.text
            if odd := next((letter for letter in node.text if _controls(letter)), None):
                text = f"{label}.{key}: contains the control character {odd!a}; a label is one line of plain text"
                problems.append(Problem(node.place, text))
        else:
            problems.append(Problem(node.place, f"{label}.{key}: got {plain(node)!r}, must be a text"))
    return found


def _is_same(key: str, level: Any) -> bool:
    """Tell whether a key of the file means a level: spelled as it is printed, or the same number (1e-3)."""
    if isinstance(level, bool):
        return key.lower() == str(level).lower()
    if key == str(level):
        return True
    try:
        return float(key) == float(level)
    except (TypeError, ValueError):
        return False


def _controls(letter: str) -> bool:
    """Tell whether a character is none that is read: the end of a line, a code for a terminal, a change of direction."""
    # Python takes no space but the usual one for printable.
    return not (letter.isprintable() or unicodedata.category(letter) == "Zs")
