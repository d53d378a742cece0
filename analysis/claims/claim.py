"""What a claim is: cells, values of a trial, and what is said of them; reads no file and judges nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.contract.errors import UserError

LONGEST = "longest"
"""As a level of warmup: the longest of the study."""

BASE: Mapping[str, Any] = {"decoder": "bernoulli", "k": 5, "batch_norm": False, "warmup": 0, "n_z": 50}


class ClaimsError(UserError):
    """A file of claims cannot be used; the text has a line `file:line: problem` for every problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep the problems one by one, too."""
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Part:
    """One value of some cells and what is claimed of it; see paper.yaml for the words."""

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
    decides: bool = True


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper and how it is judged."""

    id: str
    text: str
    cells: Mapping[str, Mapping[str, Any]]
    """The level of every factor that the file names, by the name of the cell."""
    parts: tuple[Part, ...]
    figure: str = "-"
    where: str = ""
    primary: bool = True
    """Whether its p is among those that Holm's method adjusts: no theorem and no check of a measurement."""
    expected: str = ""
    """What sources outside the paper let one expect."""
    epochs: int = 1
    """Epochs that a study needs at least."""
    warmup: int = 0
    """Length of its longest warm-up at least."""
    settings: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Settings with the values at which it can be judged."""
