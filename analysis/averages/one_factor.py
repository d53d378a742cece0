"""Varies one factor at a time from a stated base cell, as the paper's figures 2.1 to 3.2 do, and averages the curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.averages.average import average, select
from analysis.loading.labels import PLAIN, Labels
from analysis.loading.study import Study

Cells = Sequence[tuple[str, Mapping[str, Any]]]
"""The name of each cell, and its level of every factor that varies, except the seed."""


@dataclass(frozen=True)
class Contrast:
    """The levels of one factor, with every other factor at one base cell."""

    factor: str
    levels: tuple[Any, ...]
    """The two or more levels that the study has at this base, in its order."""
    base: Mapping[str, Any]
    """The level of every other factor, except the seed."""
    moved: Mapping[str, Any]
    """Factors that are not at their usual level, as the study has no such cells: factor to the usual level."""
    labels: Labels = PLAIN

    @property
    def at(self) -> dict[str, Any]:
        """Return the cells as `average` takes them."""
        return {**self.base, self.factor: list(self.levels)}

    @property
    def base_in_words(self) -> str:
        """Describe the base cell and how it differs from the usual one."""
        usual = f" (the study has no such cells at {self.labels.in_words(self.moved)})" if self.moved else ""
        return self.labels.in_words(self.base) + usual


def usual_base(study: Study, factor: str | None = None, decoder: str | None = None) -> dict[str, Any]:
    """Return the base cell of the paper's figures in the study's levels, without the factor that is varied.

    It has the Bernoulli decoder (or the given one), no batch norm, the shortest warm-up, n_z 50 or else the largest, the
    largest K (the smallest where decoders are compared), objective.kl = auto, and the first level of any other factor.
    """
    base: dict[str, Any] = {}
    for name in study.cell_factors:
        levels = study.factors[name]
        match name:
            case "decoder":
                wanted = decoder or "bernoulli"
                base[name] = wanted if wanted in levels else levels[0]
            case "k":
                base[name] = min(levels) if factor == "decoder" else max(levels)
            case "batch_norm" | "warmup":
                base[name] = min(levels)
            case "n_z":
                base[name] = 50 if 50 in levels else max(levels)
            case "objective.kl":
                base[name] = "auto" if "auto" in levels else levels[0]
            case _:
                base[name] = levels[0]
    return {name: level for name, level in base.items() if name != factor}


def contrast(study: Study, factor: str, decoder: str | None = None) -> Contrast | None:
    """Return the contrast of one factor at its usual base, or at the nearest base that the study has; None if none.

    The nearest base moves the fewest factors, then has the most levels of the factor, then comes first in the study.
    A given decoder is never changed.
    """
    usual = usual_base(study, factor, decoder)
    names = list(usual)
    cells = study.trials[[*names, factor]].drop_duplicates()
    if decoder is not None and "decoder" in usual:
        cells = cells[cells["decoder"] == decoder]
    best: tuple[tuple[Any, ...], Contrast] | None = None
    for key, group in cells.groupby(names, sort=False):
        levels = tuple(level for level in study.factors[factor] if level in group[factor].tolist())
        if len(levels) < 2:
            continue
        # Take the study's own levels: those of a frame are numpy's, and print differently.
        places = [study.factors[name].index(level) for name, level in zip(names, key, strict=True)]
        base = {name: study.factors[name][place] for name, place in zip(names, places, strict=True)}
        moved = {name: usual[name] for name in names if base[name] != usual[name]}
        rank = (len(moved), -len(levels), places)
        if best is None or rank < best[0]:
            best = (rank, Contrast(factor, levels, base, moved, study.labels))
    return best[1] if best else None


def contrasts(study: Study, decoder: str | None = None) -> list[Contrast]:
    """Return the contrasts of all factors that vary at some base of one decoder; None: that of the decoders."""
    factors = [name for name in study.cell_factors if (name == "decoder") == (decoder is None)]
    found = [contrast(study, name, decoder) for name in factors if len(study.factors[name]) > 1]
    return [one for one in found if one is not None]


def curves(study: Study, one: Contrast, value: str) -> pd.DataFrame:
    """Compute the curves of a contrast: `average` per level and epoch, with label, baseline (nats) and threshold."""
    table = average(study, value, [one.factor], at=one.at, epoch="every")
    table.insert(1, "label", [study.labels.label_of(one.factor, level) for level in table[one.factor]])
    baselines = {level: baseline(study, {**one.base, one.factor: level}) for level in one.levels}
    return table.assign(baseline=table[one.factor].map(baselines).astype(float), threshold=study.threshold)


def baseline(study: Study, at: Mapping[str, Any]) -> float:
    """Return the independent-pixel bound of these cells, nats per example; NaN if none has ended yet or they differ."""
    values = select(study, at)["baseline_bound"].dropna().unique()
    return float(values[0]) if len(values) == 1 else float("nan")


def cell_curves(study: Study, cells: Cells, value: str, **how: Any) -> pd.DataFrame:
    """Compute the curves of single cells, each with its label: the columns of `curves` without the factor."""
    frames = []
    for label, cell in cells:
        table = average(study, value, [], at=cell, epoch="every", **how).assign(label=label, baseline=baseline(study, cell))
        frames.append(table)
    table = pd.concat(frames, ignore_index=True).assign(threshold=how.get("threshold") or study.threshold)
    planned = {frozenset(select(study, cell)["seed"]) for _, cell in cells}
    alike = table.groupby("epoch")["missing"].transform("nunique") == 1
    table["is_balanced"] = alike if len(planned) == 1 else False
    return table[["label", *[name for name in table if name != "label"]]]


def map_cells(study: Study, decoder: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the cells of the paper's figure 3.3 that the study has, with titles: vanilla, K, batch norm, warm-up.

    In our reading of the figure, batch norm and warm-up are each added alone, both at the largest K.
    """
    base = usual_base(study, decoder=decoder)
    few, many = min(study.factors["k"]), max(study.factors["k"])
    long = max(study.factors["warmup"])
    label_of = study.labels.label_of
    of_many = label_of("k", many)
    wanted = [
        (f"vanilla: {label_of('k', few)}", {**base, "k": few}),
        (f"importance weighted: {of_many}", {**base, "k": many}),
        (f"{of_many}, {label_of('batch_norm', True)}", {**base, "k": many, "batch_norm": True}),
        (f"{of_many}, {label_of('warmup', long)}", {**base, "k": many, "warmup": long}),
    ]
    have = study.trials[list(study.cell_factors)].drop_duplicates().to_dict("records")
    panels: list[tuple[str, dict[str, Any]]] = []
    for title, cell in wanted:
        if cell in have and all(cell != other for _, other in panels):
            panels.append((title, cell))
    return panels
