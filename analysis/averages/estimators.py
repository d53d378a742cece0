"""Tells how trials take the KL term of their objective, as this differs between K = 1 and K > 1 by default."""

from typing import Literal

import pandas as pd

Estimator = Literal["closed form", "sampled"]


def kl_estimators(trials: pd.DataFrame) -> set[Estimator]:
    """Return how some trials take the KL term: in closed form, at the samples, or both.

    The rule is that of `workers.contract.combinations.closed_form_kl`.

    Args:
        trials: rows of `study.trials`.
    """
    is_auto = (trials["objective.kl"] == "auto") & (trials["k"] == 1) & (trials["objective.gradient"] == "standard")
    is_closed = is_auto | (trials["objective.kl"] == "analytic")
    return {"closed form" if closed else "sampled" for closed in is_closed}
