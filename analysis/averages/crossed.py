"""Finds the cells of a decoder that are fully crossed, without those that a grid file lists one by one."""

from collections.abc import Mapping
from math import prod
from typing import Any

import pandas as pd

from analysis.averages.one_factor import usual_base
from analysis.loading.study import Study


def varied_factors(study: Study, trials: pd.DataFrame) -> list[str]:
    """Return the factors that vary among some trials, except decoder and seed."""
    return [name for name in study.cell_factors if name != "decoder" and trials[name].nunique() > 1]


def crossed_part(study: Study, decoder: str) -> dict[str, Any]:
    """Return the decoder, and the levels that leave its fully crossed cells, as `average` and the effects take them in `at`.

    If the decoder's cells are a full product, nothing but the decoder is fixed. Otherwise every factor keeps the levels that
    the grid crosses, and a factor that varies only in cells listed one by one is fixed at its usual level. The result need
    not be a full product, as a grid can exclude cells; main effects are then refused.
    """
    whole: dict[str, Any] = {"decoder": decoder}
    trials = study.trials[study.trials["decoder"] == decoder]
    varied = varied_factors(study, trials)
    cells = trials[varied].drop_duplicates()
    if len(cells) == prod(trials[name].nunique() for name in varied):
        return whole
    at, usual = dict(whole), usual_base(study, decoder=decoder)
    for name in varied:
        present = [level for level in study.factors[name] if level in trials[name].tolist()]
        kept = [level for level in present if level in study.crossed.get(name, ())] or [usual[name]]
        if len(kept) < len(present):
            at[name] = kept[0] if len(kept) == 1 else kept
            trials = trials[[level in kept for level in trials[name]]]
    return at if varied_factors(study, trials) else whole


def crossed_in_words(study: Study, at: Mapping[str, Any]) -> str:
    """Describe what `crossed_part` fixed: 'at objective.kl = auto'; empty if nothing but the decoder."""
    parts = [
        study.labels.in_words({name: level})
        if not isinstance(level, list)
        else f"{study.labels.title_of(name)} in {{{', '.join(map(str, level))}}}"
        for name, level in at.items()
        if name != "decoder"
    ]
    return f"at {', '.join(parts)}" if parts else ""
