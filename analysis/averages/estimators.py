"""Tells how each trial takes the KL of its objective: in closed form, or at the samples."""

import pandas as pd

from workers.contract.combinations import is_closed_form

CLOSED_FORM, SAMPLED = "closed form", "sampled"


def kl_estimator(trials: pd.DataFrame) -> pd.Series:
    """Return CLOSED_FORM or SAMPLED for every row of `study.trials`, by its index.

    With objective.kl = auto the KL is in closed form at K = 1 and sampled at K > 1, so that an effect of K is also one of
    the estimator.
    """
    rows = zip(trials["objective.kl"], trials["k"], trials["objective.gradient"], strict=True)
    words = [CLOSED_FORM if is_closed_form(kl, k, gradient) else SAMPLED for kl, k, gradient in rows]
    return pd.Series(words, index=trials.index, name="kl_estimator", dtype=object)


def kl_estimators(trials: pd.DataFrame) -> set[str]:
    """Return the estimators of the KL that occur among some rows of `study.trials`."""
    return set(kl_estimator(trials))
