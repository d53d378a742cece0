"""Gives every cell of a study its colour, line style and marker, the same in every figure of a report."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from analysis.averages.one_factor import Cells, usual_base
from analysis.figures.style import LINES, MARKS
from analysis.loading.study import Study


@dataclass(frozen=True)
class Look:
    """How a curve is drawn."""

    colour: str
    line: Any
    """A line style of matplotlib."""
    mark: str


BASE = Look("#000000", "-", "o")
"""The look of the base cell."""

RULE = "The base cell is black; every other level keeps its colour and its line throughout the report."

LEVEL_RULE = "The levels of the base cell are black; every other level keeps its colour throughout the report."

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = (
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (7, 1.5, 1.5, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (9, 2)),
    (0, (2.5, 1)),
)

Looks = Mapping[str, Look]
"""The look of every label in a table."""


def plain_looks() -> Iterator[Look]:
    """Yield looks for curves that are no cells, such as thresholds; no pair of colour and line repeats at first."""
    for turn in count():
        for place, (colour, _) in enumerate(LINES):
            yield Look(colour, LINES[(place + turn) % len(LINES)][1], MARKS[place])


def chosen_looks(labels: Iterable[str], given: Looks | None) -> dict[str, Look]:
    """Return the look of every label: the given one, or one of the plain looks."""
    names = list(dict.fromkeys(labels))
    return dict(zip(names, islice(plain_looks(), len(names)), strict=True)) | dict(given or {})


def cell_looks(study: Study, cells: Cells, varied: str | None = None) -> dict[str, Look]:
    """Return the look of every cell by its label.

    The base cell of `usual_base` is black in every figure. A cell that differs from it in one factor has the look of that
    factor's level. A cell that differs in more has the look of its level of the factor that the figure varies, or else
    of the first factor in which it differs. The decoder counts as a difference only where a figure varies it, so that the
    figures of two decoders can be compared.

    Args:
        study: the output of `load`.
        cells: the name of each, and a level for every factor that varies, except the seed.
        varied: the factor that the figure varies.
    """
    base, looks = usual_base(study), _of_levels(study)
    found = {}
    for label, cell in cells:
        names = [name for name in base if cell.get(name, base[name]) != base[name]]
        names = [name for name in names if name != "decoder" or varied == "decoder"]
        name = varied if varied in names else next(iter(names), None)
        found[label] = BASE if name is None else looks[name, cell[name]]
    return found


def level_looks(study: Study, factor: str) -> dict[str, Look]:
    """Return the look of every level of a factor by its label, where cells are pooled; the level of the base is black."""
    looks = _of_levels(study)
    return {study.labels.label_of(factor, level): looks.get((factor, level), BASE) for level in study.factors[factor]}


def _of_levels(study: Study) -> dict[tuple[str, Any], Look]:
    """Return the look of every level that is not the base's, in the order of the study's factors."""
    base = usual_base(study)
    others = [(name, level) for name in base for level in study.factors[name] if level != base[name]]
    looks = (
        Look(colour, _DASHES[(place + 3 * turn) % len(_DASHES)], MARKS[1 + (place + turn) % (len(MARKS) - 1)])
        for turn in count()
        for place, colour in enumerate(_COLOURS)
    )
    return dict(zip(others, looks, strict=False))
