"""Reads plan/, epochs/ and trials/ of a finished study with pyarrow: one frame of trials, and vectors by trial and epoch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

SIX = ("decoder", "k", "batch_norm", "warmup", "n_z", "seed")
NO_SETTING = (
    "training.epochs",
    "schema_version",
    "trial_id",
    "pack_id",
    "parent_pack",
    "from_epoch",
    "borders",
    "layer_sizes",
    "fingerprint",
)


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
    grid: Mapping[str, tuple[Any, ...]]
    """The levels that the grid crosses; cells that it lists one by one can have others."""
    folder: Path
    cache: dict[Any, Any] = field(default_factory=dict)

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
        found, rows = {}, self.scalars(column)
        for trial, seed, goal in zip(trials["trial_id"], trials["seed"], trials["epochs_planned"], strict=True):
            place = (trial, goal if epoch is None else epoch)
            if place in rows:
                found[seed] = rows[place]
        return pd.Series(found, dtype=float).dropna()

    def scalars(self, column: str) -> Mapping[tuple[str, int], float]:
        """Every value of a column of the stream by trial and epoch, read once."""
        if column not in self.cache:
            self.cache[column] = self.epochs[column].to_dict()
        return self.cache[column]

    def curve(self, trial: str, column: str) -> np.ndarray:
        """A column of one trial over epochs, from 0; a matrix [epoch, entry] of a vector column."""
        if (trial, column) not in self.cache:
            self.cache[trial, column] = np.stack(self.epochs.loc[trial, column].to_list()).astype(float)
        return self.cache[trial, column]

    def vectors(self, trials: pd.DataFrame, column: str) -> Iterator[tuple[int, np.ndarray]]:
        """Each seed with its vectors: one row per epoch from 0, one column per unit."""
        for trial, seed in zip(trials["trial_id"], trials["seed"], strict=True):
            if (trial, 0) in self.epochs.index:
                yield seed, self.curve(trial, column)

    def baseline(self, trials: pd.DataFrame) -> float:
        """What independent pixels reach, as the first trial to end has measured it."""
        found = trials["baseline_bound"].dropna().unique()
        return float(found[0]) if len(found) else float("nan")

    def crossed(self, decoder: str) -> pd.DataFrame:
        """The trials of one decoder in the product that the grid crosses: any other setting at its level of the base cell."""
        found = self.at({"decoder": decoder}) if "decoder" in self.cell_factors else self.trials
        for name in self.cell_factors:
            if name != "decoder":
                levels = self.grid.get(name, (self.base[name],))
                found = found[[level in levels for level in found[name]]]
        return found


def stored(folder: Path) -> Stored:
    """Read one study."""
    plan = read(folder / "plan").drop_duplicates("trial_id", keep="last")
    ends = read(folder / "trials")
    trials = plan.merge(ends[[name for name in ends if name not in plan or name == "trial_id"]], on="trial_id", how="left")
    epochs = read(folder / "epochs").set_index(["trial_id", "epoch"]).sort_index()
    texts = dict.fromkeys(trials.select_dtypes("string"), object)
    # Few blocks of one type each are cut out of this frame hundreds of times.
    trials = trials.assign(epochs_planned=trials["training.epochs"]).astype(texts).copy()
    settings = [name for name in plan if name not in NO_SETTING and not name.startswith(("measure.", "run."))]
    factors = {}
    for name in dict.fromkeys([*SIX, *settings]):
        levels = sorted({level for level in plan[name] if np.isscalar(level)})
        if name in SIX or len(levels) > 1:
            factors[name] = tuple(levels)
    grid: dict[str, tuple[Any, ...]] = {}
    for path in sorted((folder / "plan").glob("*.parquet")):
        footer = json.loads(pq.ParquetFile(path).schema_arrow.metadata[b"study"])
        for name, levels in footer["factors"].items():
            grid[name] = (*grid.get(name, ()), *levels)
    return Stored(trials, epochs, factors, grid, folder)
