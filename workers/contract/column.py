"""What is stated about one stored column, and the words to state it in."""

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
"""In what a column is counted. Nats per unit: of a single latent unit, mean over examples; units: latent units."""

NATS: Unit = "nats per example"

UNITS: Unit = "units"

Per = Literal["trial and epoch", "trial", "latent unit", "class", "stochastic layer", "border", "pack"]
"""What has one value; a vector has several in a row, so that it has a `Per` of its own."""

_PER_ENTRY: tuple[Per, ...] = ("latent unit", "class", "stochastic layer", "border")

Better = Literal["higher", "lower", "neither"]

Source = Literal["plan", "packing", "training", "every epoch", "last epoch", "end", "data", "outcome", "machine"]
"""Who fills a column in: the plan (a setting, or which trial and epoch this is); the packing of trials; the training loop;
the measurement of every epoch, that of the end, or the row of the last epoch; the data set; how the trial ended; or the
machine, whose time and name are no content."""


@dataclass(frozen=True)
class Column:
    """One column of `epochs`, `trials` or `plan`.

    Raises:
        ValueError: something is missing, is not one of the known words, or contradicts the type.
    """

    name: str
    type: pa.DataType
    unit: Unit
    about: str
    """One sentence: what the number is, with its equation where that is short."""
    per: Per
    source: Source
    better: Better = "neither"

    def __post_init__(self) -> None:
        """Refuse what is not stated in the known words."""
        words = {"unit": (self.unit, Unit), "per": (self.per, Per), "source": (self.source, Source)}
        for field, (word, known) in (words | {"better": (self.better, Better)}).items():
            if word not in get_args(known):
                raise ValueError(f"column {self.name}: {field} is {word!r}; it is one of {', '.join(get_args(known))}")
        if not self.about.endswith("."):
            raise ValueError(f"column {self.name}: about is {self.about!r}; write one sentence")
        if self.is_vector != (self.per in _PER_ENTRY):
            raise ValueError(f"column {self.name}: one value per {self.per} does not fit the type {self.type}")

    @property
    def is_vector(self) -> bool:
        """Whether a row has a list of values."""
        return bool(pa.types.is_list(self.type))

    @property
    def is_number(self) -> bool:
        """Whether a row has one number with a fraction: no count, no text, no vector."""
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
    """A column of `epochs` as it stands in `trials`: taken over from the trial's last epoch."""
    return replace(column, per="trial", source="last epoch", about=f"The `{column.name}` of the trial's last epoch.")


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """The Arrow schema of these columns, in this order."""
    return pa.schema([(column.name, column.type) for column in columns])


def refuse_other_fields(record: str, fields: Iterable[str], columns: Iterable[Column]) -> None:
    """Compare what is measured with what is stored.

    Raises:
        TypeError: a column has no field, or a field has no column; each is named.
    """
    has, wants = set(fields), {column.name for column in columns}
    if lacking := sorted(wants - has):
        raise TypeError(f"{record} lacks {', '.join(lacking)}; measure it, or drop the column")
    if superfluous := sorted(has - wants):
        raise TypeError(f"{record} has {', '.join(superfluous)}, which no column stores; describe it in columns.py")
