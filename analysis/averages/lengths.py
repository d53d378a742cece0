"""Describes how long trials are planned to train, where they differ."""

from collections.abc import Hashable

import pandas as pd

from analysis.loading.study import Study

REMEDY = "choose cells of one length with at, or train the shorter ones on with --set training.epochs={epochs}"


def planned_epochs(trials: pd.DataFrame) -> list[int]:
    """Return the distinct epochs that trials are planned to reach, ascending."""
    return sorted(int(goal) for goal in trials["epochs_goal"].unique())


def lengths_in_words(study: Study, trials: pd.DataFrame) -> str:
    """Describe which trials are planned to which epoch: 'k=1 to epoch 30, k=5 to epoch 3'.

    Names the first factor whose levels tell the lengths apart; where there is none, the numbers of trials.
    """
    for factor in study.factors:
        goals = trials.groupby(factor, observed=True)["epochs_goal"].unique()
        if len(goals) > 1 and all(len(one) == 1 for one in goals):
            of_goal: dict[int, list[Hashable]] = {}
            for level in study.factors[factor]:
                if level in goals.index:
                    of_goal.setdefault(int(goals[level][0]), []).append(level)
            parts = [f"{factor}={' or '.join(map(str, levels))} to epoch {goal}" for goal, levels in of_goal.items()]
            return ", ".join(parts)
    counts = trials["epochs_goal"].value_counts().sort_index()
    return ", ".join(f"{count} trial{'s' * (count > 1)} to epoch {goal}" for goal, count in counts.items())


def refusal(study: Study, trials: pd.DataFrame, what: str) -> str:
    """Say why trials of different lengths cannot be taken together, and what to do."""
    remedy = REMEDY.format(epochs=max(planned_epochs(trials)))
    return f"{what}, and these trials are planned to different lengths ({lengths_in_words(study, trials)}); {remedy}"
