"""Trial, Pack and their identities: the contract between study, workers and analysis."""

import hashlib
import json
from collections.abc import Callable, Iterable

from pydantic import Field

from workers.contract.settings import NOT_IDENTITY, Frozen, Settings, SettingValue
from workers.contract.settings_table import default_of, flatten


class Trial(Frozen):
    """One cell with one seed: one model, trained once."""

    trial_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="fingerprint of the data set")
    settings: Settings


class Pack(Frozen):
    """Trials trained side by side in one process, and the borders at which they are stored."""

    pack_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    trials: tuple[Trial, ...] = Field(min_length=1)
    borders: tuple[int, ...] = Field(min_length=1, description="increasing; the last one is the number of epochs")
    parent: str | None = Field(
        None, pattern=r"^[0-9a-f]{16}$", description="the pack from whose state at from_epoch this pack continues"
    )
    from_epoch: int = Field(0, ge=0, description="0 unless there is a parent")

    @property
    def epochs(self) -> int:
        """Epochs after which the pack is done."""
        return self.borders[-1]


def identity(settings: Settings, fingerprint: str) -> dict[str, object]:
    """Return what identifies a trial: its training settings that differ from their default, and the data."""
    varied = {
        name: value
        for name, value in flatten(settings).items()
        if name not in NOT_IDENTITY and not name.startswith("measure.") and value != default_of(name)
    }
    return {"data": fingerprint, "settings": varied}


def trial_of(settings: Settings, fingerprint: str) -> Trial:
    """Return the trial of these settings on this data; equal training settings give an equal trial_id in any study."""
    return Trial(trial_id=_short_hash(identity(settings, fingerprint)), fingerprint=fingerprint, settings=settings)


def ids_by_seed(settings: Settings, fingerprint: str) -> Callable[[int], str]:
    """Return a function from a seed to the trial_id that these settings have with it on this data.

    A plan has many trials that differ only in the seed, so what they have in common is turned into text once.
    """
    default = default_of("seed")
    # No other part of the text can look like this: in a text of JSON, quotation marks are escaped.
    mark = '"seed":-1'
    marked = identity(settings.model_copy(update={"seed": -1}), fingerprint)
    before, _, after = _json(marked).partition(mark)
    begun, end = hashlib.sha256(f'{before}"seed":'.encode()), after.encode()

    def id_of(seed: int) -> str:
        if seed == default:
            return trial_of(settings.model_copy(update={"seed": seed}), fingerprint).trial_id
        digest = begun.copy()
        digest.update(str(seed).encode() + end)
        return digest.hexdigest()[:16]

    return id_of


def measured_with(pack: Pack) -> dict[str, SettingValue]:
    """Return the settings with which all trials of a pack are measured; their names are without `measure.`."""
    return flatten(pack.trials[0].settings.measure)


def pack_id_of(trial_ids: Iterable[str], parent: str | None, from_epoch: int) -> str:
    """Return the id of a pack, a function of its members and of the state from which they start."""
    return _short_hash([sorted(trial_ids), parent, from_epoch])


def next_border(borders: Iterable[int], epoch: int) -> int | None:
    """Return the first border after an epoch, or None after the last border."""
    return min((border for border in borders if border > epoch), default=None)


def extend_borders(borders: tuple[int, ...], every: int, epochs: int) -> tuple[int, ...]:
    """Return `borders` continued every `every` epochs up to `epochs`.

    Borders that exist never move, so that a worker with an old plan writes files with the same names.
    """
    last = borders[-1] if borders else 0
    new = (border for border in range(last + every, epochs, every))
    return borders if last >= epochs else (*borders, *new, epochs)


def _short_hash(value: object) -> str:
    return hashlib.sha256(_json(value).encode()).hexdigest()[:16]


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
