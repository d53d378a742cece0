"""A loaded study: its frames, its labels and what is missing."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.loading.labels import PLAIN, Labels
from analysis.loading.vectors import Block, Vectors
from workers.contract.columns import VECTORS
from workers.contract.errors import RecordError, StoreError, UserError, reason_of


class LoadError(UserError):
    """A path is not a study that can be read; the message says which, why, and what to do."""


@dataclass(frozen=True, eq=False)
class Study:
    """The whole design of a study and the results so far."""

    name: str
    path: Path
    """Where report and figures go: the study's folder, or, if it is in a bucket, a local folder of the same name."""
    url: str
    """Where the study is read from: the same folder, or s3://bucket/prefix."""
    trials: pd.DataFrame
    """One row per planned trial: every setting under its dotted name, status (completed | diverged | unfinished),
    epochs_goal, epochs_done, the final measures (null before the end) and baseline_bound (nats per example)."""
    epochs: pd.DataFrame
    """One row per (trial, epoch), in the order of the files: the scalars of the stream and every other factor. Texts and
    trial_id are categories. Vectors stay in their files: see `vectors` and `activity`."""
    factors: Mapping[str, tuple[Any, ...]]
    """The levels of the planned trials in the order of the grid: the six factors first, then all others that vary."""
    missing: pd.DataFrame
    """One row per trial without final measures: trial_id, cell, seed, status, reason."""
    threshold: float
    """A unit is active if its activity is above this."""
    provenance: Mapping[str, tuple[str, ...]]
    """The provenance recorded in the files: every distinct value, in the order of the files."""
    stored: Vectors = field(repr=False)
    """Where the vectors of `epochs` are."""
    crossed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The levels that the grid files list under `factors`; levels of cells listed one by one are not among them."""
    labels: Labels = PLAIN
    """The names of factors and levels in figures and tables."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """With `skip_bad`: why each file could not be read; files whose vectors prove damaged later are added."""

    @property
    def is_complete(self) -> bool:
        """Tell whether every planned trial has ended."""
        return not (self.trials["status"] == "unfinished").any()

    @property
    def cell_factors(self) -> tuple[str, ...]:
        """Return the factors that distinguish cells: all except the seed."""
        return tuple(name for name in self.factors if name != "seed")

    def activity(self, trial_ids: Collection[str] | None = None, column: str = "activity") -> pd.DataFrame:
        """Return one vector column in long form, for all trials or some.

        Returns:
            trial_id, epoch, layer (from 1, which is next to the data), unit (from 0, over all layers), and the column. In
            `reconstruction_per_class` a unit is a class, and there is one layer.

        Raises:
            LoadError, RecordError: see vectors.
        """
        rows, lengths, values = self.vectors(trial_ids, column)
        starts = np.cumsum(lengths) - lengths
        units = np.arange(int(lengths.sum()), dtype=np.int64) - starts.repeat(lengths)
        return pd.DataFrame(
            {
                # A category per trial, as 7 million strings would be slow.
                "trial_id": rows["trial_id"].array.repeat(lengths),
                "epoch": rows["epoch"].to_numpy().repeat(lengths),
                "layer": self._layers(rows, lengths, units, column),
                "unit": units,
                column: values,
            }
        )

    def vectors(
        self, trial_ids: Collection[str] | None = None, column: str = "activity"
    ) -> tuple[pd.DataFrame, NDArray[np.int64], NDArray[np.float32]]:
        """Return trial_id and epoch of rows of the stream, the length of each row's vector, and all entries concatenated.

        The column is read and verified now, from the files of these trials. If the study is running, the rows are those that
        `load` saw. With `skip_bad` the rows of damaged files are left out, and `left_out` names the files.

        Raises:
            LoadError: the column is not a vector of the stream.
            RecordError: a file is damaged or cannot be read; the message names it.
        """
        blocks = [Block(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
        blocks += self.vectors_by_file(trial_ids, column)
        places, lengths, values = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return self.epochs[["trial_id", "epoch"]].iloc[places], lengths, values

    def vectors_by_file(self, trial_ids: Collection[str] | None = None, column: str = "activity") -> Iterator[Block]:
        """Yield the output of `vectors` file by file, for columns that do not fit into memory; see Block.

        Raises:
            LoadError, RecordError: see vectors.
        """
        if column not in VECTORS:
            raise LoadError(f"{column} is not a vector column; the vector columns are {', '.join(VECTORS)}")
        places = np.arange(len(self.epochs))
        if trial_ids is not None:
            places = np.flatnonzero(self.epochs["trial_id"].isin(list(trial_ids)).to_numpy())
        with errors_of(self.url):
            yield from self.stored.blocks(column, places)

    def layer_sizes(self) -> dict[str, tuple[int, ...]]:
        """Return the number of latent units in every stochastic layer of every trial, upwards from the data."""
        return dict(zip(self.trials["trial_id"], self.trials["layer_sizes"], strict=True))

    def _layers(
        self, rows: pd.DataFrame, lengths: NDArray[np.int64], units: NDArray[np.int64], column: str
    ) -> NDArray[np.int64]:
        sizes = self.layer_sizes()
        layers = np.ones(len(units), np.int64)
        if column == "reconstruction_per_class" or all(len(each) == 1 for each in sizes.values()):
            return layers
        codes = rows["trial_id"].cat.codes.to_numpy()
        for edge in range(max(len(each) for each in sizes.values()) - 1):
            # In a trial without that layer no unit lies beyond the edge.
            begins = np.array([sum(sizes[one][: edge + 1]) for one in rows["trial_id"].cat.categories], np.int64)
            layers += units >= begins[codes].repeat(lengths)
        return layers


@contextmanager
def errors_of(root: str) -> Iterator[None]:
    """Add the full path to errors of stored files, and turn errors of the disk into a sentence."""
    try:
        yield
    except RecordError as error:
        error.path = f"{root}/{error.path}"
        error.args = (f"{root}/{error}",)
        raise
    except StoreError as error:
        raise LoadError(str(error)) from None
    except OSError as error:
        raise LoadError(
            f"{error.filename or root}: cannot be read ({reason_of(error)}); check the disk and the permissions"
        ) from error
