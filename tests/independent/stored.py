"""Reads plan/, epochs/ and trials/ of a finished study with pyarrow: one frame of trials, and vectors by trial and epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

SIX = ("decoder", "k", "batch_norm", "warmup", "n_z", "seed")
NO_SETTING = ("schema_version", "trial_id", "pack_id", "parent_pack", "from_epoch", "borders", "layer_sizes", "fingerprint")


def read(folder: Path) -> pd.DataFrame:
    """Read all files of a folder into one frame."""
    return pd.concat(
        [pq.ParquetFile(path).read().to_pandas() for path in sorted(folder.glob("*.parquet"))], ignore_index=True
    )


@dataclass(frozen=True)
class Stored:
    """What the files of one study hold."""

    trials: pd.DataFrame
    """One row per planned trial: settings, and how it ended."""
    epochs: pd.DataFrame
    """One row per trial and epoch, indexed by both."""
    factors: Mapping[str, tuple[Any, ...]]
    """Levels of every setting that varies, sorted; the six factors first."""

    @property
    def cell_factors(self) -> tuple[str, ...]:
        """The factors that tell cells apart and vary."""
        return tuple(name for name, levels in self.factors.items() if name != "seed" and len(levels) > 1)

    @property
    def base(self) -> dict[str, Any]:
        """The base cell that the captions state: Bernoulli, the largest K, no batch norm, no warm-up, n_z 50 or the largest."""
        usual = {"k": max, "batch_norm": min, "warmup": min, "n_z": lambda levels: 50 if 50 in levels else max(levels)}
        return {name: usual.get(name, lambda levels: levels[0])(self.factors[name]) for name in self.cell_factors}

    def level(self, factor: str, text: Any) -> Any:
        """Find the level that a CSV writes as this text, such as True, 1 or 1.0."""
        for level in self.factors[factor]:
            if isinstance(level, bool | int | float | np.bool_):
                words = {"true": 1.0, "false": 0.0}
                known = words.get(str(text).lower())
                try:
                    if float(level) == (float(text) if known is None else known):
                        return level
                except ValueError:
                    continue
            elif str(level) == str(text):
                return level
        raise KeyError(f"{factor} has no level {text!r}")

    def cell(self, **levels: Any) -> pd.DataFrame:
        """The trials of the base cell with these levels in its place."""
        return self.at({**self.base, **levels})

    def at(self, levels: Mapping[str, Any]) -> pd.DataFrame:
        """The trials at these levels."""
        chosen = np.ones(len(self.trials), bool)
        for name, level in levels.items():
            chosen &= (self.trials[name] == level).to_numpy()
        return self.trials[chosen]

    def by_seed(self, trials: pd.DataFrame, column: str, epoch: int | None = None) -> pd.Series:
        """One value per seed: of the row of that epoch, or, without one, of the end of each completed trial."""
        if epoch is None and column in trials:
            ended = trials[trials["status"] == "completed"]
            return ended.set_index("seed")[column].astype(float).dropna()
        found = {}
        for trial, seed, goal in zip(trials["trial_id"], trials["seed"], trials["epochs_planned"], strict=True):
            place = (trial, goal if epoch is None else epoch)
            if place in self.epochs.index:
                found[seed] = self.epochs.at[place, column]
        return pd.Series(found, dtype=float).dropna()

    def vectors(self, trials: pd.DataFrame, column: str) -> Iterator[tuple[int, np.ndarray]]:
        """Each seed with its vectors: one row per epoch from 0, one column per unit."""
        for trial, seed in zip(trials["trial_id"], trials["seed"], strict=True):
            rows = self.epochs.loc[trial, column] if trial in self.epochs.index.get_level_values(0) else []
            if len(rows):
                yield seed, np.stack(rows.to_list()).astype(float)

    def crossed(self, decoder: str) -> pd.DataFrame:
        """The trials of one decoder in the product of the six factors: every other setting at its first level."""
        rest = {name: self.factors[name][0] for name in self.cell_factors if name not in SIX}
        return self.at({**({"decoder": decoder} if "decoder" in self.cell_factors else {}), **rest})


def stored(folder: Path) -> Stored:
    """Read one study."""
    plan = read(folder / "plan").drop_duplicates("trial_id", keep="last")
    ends = read(folder / "trials")
    trials = plan.merge(ends[[name for name in ends if name not in plan or name == "trial_id"]], on="trial_id", how="left")
    epochs = read(folder / "epochs").set_index(["trial_id", "epoch"]).sort_index()
    trials = trials.assign(epochs_planned=trials["training.epochs"])
    settings = [name for name in plan if name not in NO_SETTING and not name.startswith(("measure.", "run."))]
    factors = {}
    for name in dict.fromkeys([*SIX, *settings]):
        levels = sorted({level for level in plan[name] if np.isscalar(level)})
        if name in SIX or len(levels) > 1:
            factors[name] = tuple(levels)
    return Stored(trials, epochs, factors)
