"""Trial, Pack and their identities: the contract between study, workers and analysis; no torch, no ray, no files."""

import hashlib
import json
from collections.abc import Iterable

from pydantic import Field

from workers.contract.settings import NOT_IDENTITY, Frozen, Settings
from workers.contract.settings_table import default_of, flatten


class Trial(Frozen):
    """One cell with one seed: one model trained once."""

    trial_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the data set")
    settings: Settings


class Pack(Frozen):
    """Trials trained side by side in one process, and the borders at which they are stored."""

    pack_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    trials: tuple[Trial, ...] = Field(min_length=1)
    borders: tuple[int, ...] = Field(min_length=1, description="rising; the last one is the number of epochs")
    parent: str | None = Field(None, description="the pack whose state at from_epoch this one goes on from")
    from_epoch: int = Field(0, ge=0, description="0 unless there is a parent")

    @property
    def epochs(self) -> int:
        """Epochs after which the pack is done."""
        return self.borders[-1]


def identity(settings: Settings, fingerprint: str) -> dict[str, object]:
    """What makes a trial this trial: its training settings that are not at their default, and the data."""
    varied = {
        name: value
        for name, value in flatten(settings).items()
        if name not in NOT_IDENTITY and not name.startswith("measure.") and value != default_of(name)
    }
    return {"data": fingerprint, "settings": varied}


def trial_of(settings: Settings, fingerprint: str) -> Trial:
    """The trial of these settings on this data; equal training settings give an equal trial_id in any study."""
    return Trial(trial_id=_short_hash(identity(settings, fingerprint)), fingerprint=fingerprint, settings=settings)


def pack_id_of(trial_ids: Iterable[str], parent: str | None, from_epoch: int) -> str:
    """The id of a pack: a function of its members and where they start from."""
    return _short_hash([sorted(trial_ids), parent, from_epoch])


def next_border(borders: Iterable[int], epoch: int) -> int | None:
    """The first border after an epoch, or None behind the last one."""
    return min((border for border in borders if border > epoch), default=None)


def extend_borders(borders: tuple[int, ...], every: int, epochs: int) -> tuple[int, ...]:
    """Borders each `every` epochs up to `epochs`; those that are fixed already stay where they are.

    A fixed border never moves: a worker that still holds the old plan then writes files of the same names.
    """
    last = borders[-1] if borders else 0
    new = (border for border in range(last + every, epochs, every))
    return borders if last >= epochs else (*borders, *new, epochs)


def _short_hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
