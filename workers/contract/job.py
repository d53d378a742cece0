"""One pack with everything that a worker needs to train it, as text that crosses processes; knows no torch."""

from typing import Any

from workers.contract.settings import Frozen
from workers.contract.trial import Pack


class Job(Frozen):
    """A pack, where its data and results lie, and who asked for it."""

    pack: Pack
    ancestors: tuple[Pack, ...]
    """The pack that this one goes on from, the pack that that one went on from, and so on."""
    root: str | None
    """The data folder of this run; where data lie is no property of a trial."""
    path: str | None
    """The .npz file of this run."""
    store: str
    device: str
    precision: str
    run_id: str
    keep_weights: bool
    max_failures: int
    """Times that an error is tried again between two borders."""
    provenance: dict[str, Any]
