"""A pack with everything that a worker needs to train it, as a record that is sent to another process as text."""

from typing import Any

from workers.contract.settings import Frozen
from workers.contract.trial import Pack


class Job(Frozen):
    """A pack, the places of its data and results, and the run that asked for it."""

    pack: Pack
    ancestors: tuple[Pack, ...]
    """The parent of the pack, which it continues from, the parent of that pack, and so on."""
    root: str | None
    """The data folder of this run; the place of the data is not a property of a trial."""
    path: str | None
    """The .npz file of this run."""
    store: str
    study: str
    """The identity of the study that the store held (workers/store/listing.py: identity); another one may be there later."""
    device: str
    precision: str
    run_id: str
    keep_weights: bool
    max_failures: int
    """How often the pack is retried after an error between two borders."""
    provenance: dict[str, Any]
