"""Describes in sentences how far a study is and what is missing."""

import pandas as pd

from analysis.averages.lengths import lengths_in_words, planned_epochs
from analysis.loading.study import Study


def state_in_words(study: Study) -> str:
    """Describe how far the study is: 'INCOMPLETE: 96 of 144 trials have ended ...' or 'Complete: ...'."""
    counts = study.trials["status"].value_counts()
    ended = len(study.trials) - int(counts.get("unfinished", 0))
    fell = " and ".join(f"{counts[how]} of them {how}" for how in ("diverged", "failed") if counts.get(how))
    diverged = f", {fell}" if fell else ""
    lengths = (
        f" Trials are planned to different lengths: {lengths_in_words(study, study.trials)}; cells are compared only at an "
        "epoch that all of them reach."
        if len(planned_epochs(study.trials)) > 1
        else ""
    )
    if study.is_complete:
        return f"Complete: all {ended} trials have ended{diverged}.{lengths}"
    rows = "" if len(study.epochs) else " No epoch has been stored yet."
    return (
        f"INCOMPLETE: {ended} of {len(study.trials)} trials have ended{diverged}. The study is still running or was "
        f"interrupted; all numbers come from what is stored so far.{rows}{lengths}"
    )


def left_out_in_words(study: Study) -> list[str]:
    """Return one sentence per file that could not be read; empty without `skip_bad` or if no file is damaged."""
    return [f"Left out: {problem}" for problem in study.left_out.values()]


def missing_by_cell(study: Study) -> pd.DataFrame:
    """List the trials that means lack: cell, seeds, why; one row per cell and reason."""
    groups = study.missing.assign(seed=study.missing["seed"].astype(str))
    table = groups.groupby(["cell", "reason"], sort=False)["seed"].agg(", ".join).reset_index()
    return table[["cell", "seed", "reason"]].rename(columns={"seed": "seeds", "reason": "why"})
