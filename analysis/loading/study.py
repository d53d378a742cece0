"""A study as it was loaded: its frames, its labels, and what is missing."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.loading.labels import PLAIN, Labels
from analysis.loading.vectors import VECTORS, Block, Vectors
from workers.contract.errors import RecordError, StoreError, UserError


class LoadError(UserError):
    """A path is no study that can be read; the text says which, why, and what to do."""


@dataclass(frozen=True, eq=False)
class Study:
    """A whole design and what is known of it so far."""

    name: str
    path: Path
    """Where report and figures go: the study's own folder; for one in a bucket, a folder of its name where we stand."""
    url: str
    """Where the study is read: the same folder, or s3://bucket/prefix."""
    trials: pd.DataFrame
    """A row a planned trial: every setting under its dotted name, status (completed | diverged | unfinished),
    epochs_goal, epochs_done, the final measures (null before the end) and baseline_bound (nats per example)."""
    epochs: pd.DataFrame
    """A row a (trial, epoch), in the order of the files: the scalars of the stream and every other factor; texts are
    categories, and so is trial_id. Vectors stay in their files: see `vectors` and `activity`."""
    factors: Mapping[str, tuple[Any, ...]]
    """The levels that planned trials have, in the order of the grid; the six factors first, then whatever else varies."""
    missing: pd.DataFrame
    """A row a trial without final measures: trial_id, cell, seed, status, reason."""
    threshold: float
    """A unit is active if its activity is above this."""
    provenance: Mapping[str, tuple[str, ...]]
    """What the files say about their origin: every distinct value, in the order of the files."""
    stored: Vectors = field(repr=False)
    """Where the vectors of `epochs` are."""
    labels: Labels = PLAIN
    """How factors and levels are called in figures and tables."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """With `skip_bad`: what could not be read, by file, and why; files whose vectors turn out to be damaged are added."""

    @property
    def is_complete(self) -> bool:
        """Whether every planned trial has ended, completed or diverged."""
        return not (self.trials["status"] == "unfinished").any()

    @property
    def cell_factors(self) -> tuple[str, ...]:
        """The factors that tell cells apart: all but the seed."""
        return tuple(name for name in self.factors if name != "seed")

    def activity(self, trial_ids: Collection[str] | None = None, column: str = "activity") -> pd.DataFrame:
        """One vector column in long form, of all trials or of some.

        Returns:
            trial_id, epoch, layer (from 1, which is next to the data), unit (from 0, over all layers), and the column. Of
            `reconstruction_per_class` a unit is a class, and there is one layer.

        Raises:
            LoadError, RecordError: as vectors.
        """
        rows, lengths, values = self.vectors(trial_ids, column)
        starts = np.cumsum(lengths) - lengths
        units = np.arange(int(lengths.sum()), dtype=np.int64) - starts.repeat(lengths)
        return pd.DataFrame(
            {
                # 7 million strings would be slow: a category a trial.
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
        """trial_id and epoch of rows of the stream, the length of each one's vector, and all entries one after the other.

        The column is read now, from the files of these trials, and verified; of a running study these are the rows that
        `load` has seen. With `skip_bad` the rows of damaged files are left out, and `left_out` names them.

        Raises:
            LoadError: the column is no vector of the stream.
            RecordError: a file is damaged, or cannot be read; it is named.
        """
        blocks = [Block(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
        blocks += self.vectors_by_file(trial_ids, column)
        places, lengths, values = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return self.epochs[["trial_id", "epoch"]].iloc[places], lengths, values

    def vectors_by_file(self, trial_ids: Collection[str] | None = None, column: str = "activity") -> Iterator[Block]:
        """What `vectors` gives, file by file, for more than fits into memory: see Block.

        Raises:
            LoadError, RecordError: as vectors.
        """
        if column not in VECTORS:
            raise LoadError(f"{column} is no vector column; there are {', '.join(VECTORS)}")
        places = np.arange(len(self.epochs))
        if trial_ids is not None:
            places = np.flatnonzero(self.epochs["trial_id"].isin(list(trial_ids)).to_numpy())
        with errors_of(self.url):
            yield from self.stored.blocks(column, places)

    def layer_sizes(self) -> dict[str, tuple[int, ...]]:
        """Latent units of every stochastic layer of every trial, upwards from the data."""
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
            # Of a trial without that layer no unit lies beyond the edge.
            begins = np.array([sum(sizes[one][: edge + 1]) for one in rows["trial_id"].cat.categories], np.int64)
            layers += units >= begins[codes].repeat(lengths)
        return layers


@contextmanager
def errors_of(root: str) -> Iterator[None]:
    """Give errors of stored files their whole path, and those of the disk a sentence."""
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
            f"{error.filename or root}: cannot be read ({error.strerror}); check the disk and its rights"
        ) from error
