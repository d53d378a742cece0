"""What all figures share: colours with line styles, type sizes and typesetting."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

# Okabe and Ito's palette without its yellow; dark and light alternate and each has a line style, for prints in grey.
LINES: tuple[tuple[str, Any], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", (0, (5, 1.5))),
    ("#009E73", (0, (7, 1.5, 1.5, 1.5))),
    ("#CC79A7", (0, (1.2, 1.2))),
    ("#000000", (0, (3, 1, 1, 1, 1, 1))),
    ("#E69F00", "-"),
    ("#56B4E9", (0, (9, 2))),
)

MARKS = ("o", "s", "^", "D", "v", "P", "X")

GREY = "#6b6b6b"

_EQUALS = "\u00a0=\u00a0"

SMALL = 7.0
"""Size in points of the smallest text, used for notes."""

STYLE: Any = {
    "font.size": 9.0,
    "axes.formatter.useoffset": False,  # a tick says its number, not a difference from one that stands elsewhere
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "factorial-iwae",  # the same figure gives the same bytes
}


@contextmanager
def our_style() -> Iterator[None]:
    """Draw in matplotlib's defaults and STYLE, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def typeset(words: str) -> str:
    """Return text with n_z and minus signs typeset for matplotlib; a dollar sign stays a dollar sign."""
    return words.replace("$", r"\$").replace("n_z", "$n_z$").replace(" -", " \u2212")


@cache
def width_of(words: str, size: float, weight: str = "normal") -> float:
    """Return the width of one line of text in points."""
    if not words:
        return 0.0
    font = FontProperties(family="DejaVu Sans", weight=weight)
    return float(TextPath((0, 0), words, size=size, prop=font).get_extents().width)


def wrap(words: str, size: float, width: float, weight: str = "normal") -> list[str]:
    """Break text into lines of at most a width in points; line breaks in it are kept, and "n_z = 50" stays on one line."""
    lines: list[str] = []
    for part in words.split("\n"):
        line = ""
        for word in part.replace(" = ", _EQUALS).split(" "):
            longer = f"{line} {word}" if line else word
            # Hardly any letter is as wide as 0.8 of its size: measure only where it may matter.
            if line and len(longer) * size * 0.8 > width and width_of(typeset(longer), size, weight) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return [line.replace(_EQUALS, " = ").strip() for line in lines]
