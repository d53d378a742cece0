"""What several sections of one report show, each computed once."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis.averages.cell_table import cell_table
from analysis.claims.judge import judge, stored_latent
from analysis.claims.verdict import Verdict
from analysis.effects.tables import BaseEffects, base_effects
from analysis.loading.study import Study


@dataclass(frozen=True, eq=False)
class Computed:
    """A study and its results, for one report: a table of latent pictures may be written between two."""

    study: Study

    @cached_property
    def has_ends(self) -> bool:
        """Tell whether a trial has completed, without which nothing can be compared or judged."""
        return bool((self.study.trials["status"] == "completed").any())

    @cached_property
    def cells(self) -> dict[str, pd.DataFrame]:
        """Return the final means of every cell, by decoder."""
        return {decoder: cell_table(self.study, decoder) for decoder in self.study.factors["decoder"]}

    @cached_property
    def effects(self) -> list[BaseEffects]:
        """Return the simple effects, one entry per decoder and measure."""
        return base_effects(self.study)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Return the verdicts on the claims of the paper."""
        return judge(self.study, latent=stored_latent(self.study))
