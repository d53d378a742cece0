"""Describe one stored column: its type, unit, source and meaning, in fixed words."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import pyarrow as pa

FLOAT, INTEGER, TEXT, VECTOR = pa.float64(), pa.int32(), pa.string(), pa.list_(pa.float32())

Unit = Literal[
    "nats per example",
    "nats per unit",
    "units",
    "epochs",
    "samples",
    "seconds",
    "share",
    "weight",
    "activity (variance)",
    "value of z",
    "variance of z",
    "squared pixel value",
    "identifier",
    "name",
    "flag",
]
"""What a column is counted in. "nats per unit": nats of one latent unit, averaged over examples; "units": latent units."""

NATS: Unit = "nats per example"

UNITS: Unit = "units"

Per = Literal["trial and epoch", "trial", "latent unit", "class", "stochastic layer", "border", "pack"]
"""What each value belongs to. A vector has several values in a row, for example one per latent unit."""

_PER_ENTRY: tuple[Per, ...] = ("latent unit", "class", "stochastic layer", "border")

Better = Literal["higher", "lower", "neither"]

Source = Literal["plan", "packing", "training", "every epoch", "last epoch", "end", "data", "outcome", "machine"]
"""Where the values of a column come from: the plan (a setting, or which trial and epoch this is); the packing of trials; the
training loop; the measurement after every epoch, the one at the end, or the row of the last epoch; the data set; how the
trial ended; or the machine, whose time and name are not part of the content."""


@dataclass(frozen=True)
class Column:
    """One column of `epochs`, `trials` or `plan`.

    Raises:
        ValueError: a part is missing, is not one of the known words, or contradicts the type.
    """

    name: str
    type: pa.DataType
    unit: Unit
    about: str
    """One sentence that explains the number, with its equation if that is short."""
    per: Per
    source: Source
    better: Better = "neither"

    def __post_init__(self) -> None:
        """Refuse a description that does not use the known words."""
        words = {"unit": (self.unit, Unit), "per": (self.per, Per), "source": (self.source, Source)}
        for field, (word, known) in (words | {"better": (self.better, Better)}).items():
            if word not in get_args(known):
                raise ValueError(f"column {self.name}: {field} is {word!r}; it must be one of {', '.join(get_args(known))}")
        if not self.about.endswith("."):
            raise ValueError(f"column {self.name}: about is {self.about!r}; write one sentence")
        if self.is_vector != (self.per in _PER_ENTRY):
            raise ValueError(f"column {self.name}: one value per {self.per} does not fit the type {self.type}")

    @property
    def is_vector(self) -> bool:
        """Whether each row has a list of values."""
        return bool(pa.types.is_list(self.type))

    @property
    def is_number(self) -> bool:
        """Whether each row has one real number, and not a count, a text or a vector."""
        return bool(pa.types.is_floating(self.type))

    @property
    def is_content(self) -> bool:
        """Whether the same trial has the same value on another machine."""
        return self.source != "machine"

    @property
    def is_of_the_trial(self) -> bool:
        """Whether the same trial has the same value on another machine and in another pack."""
        return self.source not in ("machine", "packing")


def at_the_last_epoch(column: Column) -> Column:
    """Return a column of `epochs` as a column of `trials`, copied from the trial's last epoch."""
    return replace(column, per="trial", source="last epoch", about=f"The `{column.name}` of the trial's last epoch.")


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """Return the Arrow schema of these columns, in this order."""
    return pa.schema([(column.name, column.type) for column in columns])


def refuse_other_fields(record: str, fields: Iterable[str], columns: Iterable[Column]) -> None:
    """Check that a record measures exactly the columns that are stored.

    Raises:
        TypeError: a column has no field, or a field has no column; the message names them.
    """
    has, wants = set(fields), {column.name for column in columns}
    if lacking := sorted(wants - has):
        raise TypeError(f"{record} lacks {', '.join(lacking)}; measure it, or drop the column")
    if superfluous := sorted(has - wants):
        raise TypeError(f"{record} has {', '.join(superfluous)}, which no column stores; describe it in columns.py")
