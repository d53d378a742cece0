"""Tells where an effect of a factor is also one of how the KL is estimated."""

from collections.abc import Collection, Mapping

from analysis.averages.estimators import CLOSED_FORM, SAMPLED
from analysis.effects.seed_table import SeedTable
from analysis.loading.labels import Labels

_WORDS = {CLOSED_FORM: "in closed form", SAMPLED: "at its samples"}


def remark(table: SeedTable, contrasted: Collection[str], cells: Collection[int] | None = None) -> str:
    """Describe how the compared cells differ in the estimator of the KL as well as in the contrasted factors.

    With objective.kl = auto, K = 1 takes the KL in closed form and K > 1 at the samples.

    Args:
        table: the output of `per_seed`.
        contrasted: the factors of the effect; where objective.kl is one of them, its effect is that of the estimator.
        cells: the positions of the compared cells; None: all.

    Returns:
        A sentence; empty where the levels of the contrasted factors take the KL alike.
    """
    if "objective.kl" in contrasted:
        return ""
    used = range(len(table.cells)) if cells is None else cells
    for factor in contrasted:
        if factor not in table.factors:
            continue
        place = table.factors.index(factor)
        found: dict[object, set[str]] = {}
        for cell in sorted(used):
            found.setdefault(table.cells[cell][place], set()).add(table.estimators[cell])
        if len({frozenset(kinds) for kinds in found.values()}) > 1:
            remedy = (
                "compare with the cell at objective.kl = sampled"
                if table.has_sampled
                else "a cell at objective.kl = sampled would tell them apart"
            )
            name = _name(table.labels, factor)
            return f"{_levels(table.labels, factor, found)}: the difference is not of {name} alone; {remedy}"
    return ""


def _levels(labels: Labels, factor: str, found: Mapping[object, set[str]]) -> str:
    """Say which levels take the KL how: 'K = 1 takes the KL in closed form, K = 5 at its samples'."""
    of_kinds: dict[str, list[str]] = {}
    for level, kinds in found.items():
        how = " and ".join(_WORDS[kind] for kind in sorted(kinds))
        label = labels.label_of(factor, level)
        of_kinds.setdefault(how, []).append(label if factor == "k" else f"{labels.title_of(factor)} = {label}")
    parts = [
        f"{' and '.join(names)}{'' if place else ' takes the KL' if len(names) == 1 else ' take the KL'} {how}"
        for place, (how, names) in enumerate(of_kinds.items())
    ]
    return ", ".join(parts)


def _name(labels: Labels, factor: str) -> str:
    return "K" if factor == "k" and "k" not in labels.factors else labels.title_of(factor)
