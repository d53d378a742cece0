"""The types of a claim: its cells, its parts, and the tests that these parts ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.contract.errors import UserError

LONGEST = "longest"
"""A level of warmup in claims: the longest warm-up of the study."""

BASE: Mapping[str, Any] = {"decoder": "bernoulli", "k": 5, "batch_norm": False, "warmup": 0, "n_z": 50}


class ClaimsError(UserError):
    """A file of claims cannot be used; the text has one line `file:line: problem` per problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep the list of problems beside the text."""
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Part:
    """One value of some cells and what is claimed about it; paper.yaml explains the words."""

    name: str
    value: str
    test: str
    cells: tuple[str, ...]
    how: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of the value."""
    margin: float = float("nan")
    limit: float = float("nan")
    range: tuple[float, float] = (float("nan"), float("nan"))
    by: float = 0.0
    paired: bool = False
    also: tuple[float, ...] = ()
    large: tuple[tuple[str, str], ...] = ()
    small: tuple[tuple[str, str], ...] = ()
    zero_in: tuple[str, ...] = ()
    """Cells in which a trial whose value is undefined counts as 0: nothing is there to be removed, so nothing is lost."""
    decides: bool = True


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper and how it is judged."""

    id: str
    text: str
    cells: Mapping[str, Mapping[str, Any]]
    """Cells by name; each gives the level of every factor that the file names."""
    parts: tuple[Part, ...]
    figure: str = "-"
    where: str = ""
    primary: bool = True
    """Whether Holm's method adjusts its p; false for theorems and for checks of a measurement."""
    expected: str = ""
    """The verdict to expect from sources outside the paper."""
    epochs: int = 1
    """Least number of epochs that a study needs."""
    warmup: int = 0
    """Least length in epochs of the study's longest warm-up."""
    settings: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """For each setting, the values at which the claim can be judged."""
    paper: Mapping[str, int] = field(default_factory=dict)
    """The lengths that the text speaks of, `epochs` and `warmup`, if its file gives them."""
