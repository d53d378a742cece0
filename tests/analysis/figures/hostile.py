"""Settings of matplotlib that a user may have, and that no figure may follow."""

import matplotlib

HOSTILE = {
    "text.usetex": True,
    "savefig.bbox": "tight",
    "font.size": 30.0,
    "axes.titlesize": 40,
    "axes.facecolor": "black",
    "figure.facecolor": "black",
    "savefig.facecolor": "black",
    "axes.prop_cycle": matplotlib.cycler(color=["red"]),
    "lines.linewidth": 9.0,
    "font.family": "serif",
    "mathtext.fontset": "cm",
}
