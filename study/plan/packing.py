"""Group trials into packs of equal shapes and operations, sized to the device."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from study.plan.rough_cost import border_every, epoch_seconds, weights_of
from workers.contract.settings import RunSettings, SettingValue
from workers.contract.settings_table import flatten
from workers.contract.trial import Pack, Trial, extend_borders, pack_id_of
from workers.data.images import Known

MAX_PACK = {"cpu": 8, "cuda": 64, "mps": 16}
"""Most trials per pack. On a CPU packs of 4 to 8 are fastest (larger ones leave the cache); a GPU needs more to be full."""

PADDED = ("cuda",)
"""Devices on which trials of one stochastic layer that differ in n_z share a pack, padded to its largest n_z.

A GPU is full from about 66 trials at K = 1 on. On a CPU small packs are fastest, and padding would only add arithmetic.
"""

MOST_PADDED = 1.5
"""No trial is padded to more than this many times its own weights; beyond it, a separate pack is about as fast."""

_MAY_DIFFER = ("seed", "warmup", "data.root", "data.path")


def pack_trials(trials: Iterable[Trial], run: RunSettings, device: str, slots: int, data: Known) -> list[Pack]:
    """Group trials that may train side by side; lower seeds come first, so that one whole factorial is complete early.

    On a GPU they may differ in n_z; if they need several packs, trials of similar n_z share one.

    Args:
        trials: no two with the same id.
        run: settings of packing and borders.
        device: cpu | cuda | mps.
        slots: packs that can run at once; a small study is split so that all are used.
        data: sizes of the data set.
    """
    groups: dict[tuple[tuple[str, SettingValue], ...], list[Trial]] = {}
    for trial in trials:
        is_padded = device in PADDED and trial.settings.model.layers_above == "none"
        may_differ = (*_MAY_DIFFER, "n_z") if is_padded else _MAY_DIFFER
        shape = tuple((name, value) for name, value in flatten(trial.settings).items() if name not in may_differ)
        groups.setdefault(shape, []).append(trial)
    total = sum(map(len, groups.values()))
    largest = 1 if run.packing == "none" else max(1, min(MAX_PACK[device], math.ceil(total / slots)))
    alike = [members for group in groups.values() for members in _of_near_width(group, data.n_x)]
    packs = [make_pack(members, run, device, data) for group in alike for members in _even(group, largest)]
    return sorted(packs, key=lambda pack: urgency(pack, data, device))


def make_pack(
    members: Sequence[Trial], run: RunSettings, device: str, data: Known, parent: str | None = None, from_epoch: int = 0
) -> Pack:
    """Return a pack of these trials with its borders, which start from a parent's last epoch if there is one."""
    draft = Pack(
        pack_id=pack_id_of([trial.trial_id for trial in members], parent, from_epoch),
        trials=tuple(members),
        borders=(members[0].settings.training.epochs,),
        parent=parent,
        from_epoch=from_epoch,
    )
    every = commit_every(draft, run, device, data)
    first = tuple(border for border in range(from_epoch + every, draft.epochs, every))
    return draft.model_copy(update={"borders": (*first, draft.epochs)})


def lengthen(pack: Pack, trials: Sequence[Trial], run: RunSettings, device: str, data: Known) -> Pack:
    """Return the same pack with more epochs; its existing borders stay."""
    every = commit_every(pack, run, device, data)
    borders = extend_borders(pack.borders, every, trials[0].settings.training.epochs)
    return pack.model_copy(update={"borders": borders, "trials": tuple(trials)})


def commit_every(pack: Pack, run: RunSettings, device: str, data: Known) -> int:
    """Return the number of epochs from one border to the next."""
    if run.commit_every != "auto":
        return run.commit_every
    return border_every(epoch_seconds(pack, data, device), pack.epochs)


def pack_seconds(pack: Pack, data: Known, device: str) -> float:
    """Return the rough time of a whole pack, in seconds."""
    return epoch_seconds(pack, data, device) * (pack.epochs - pack.from_epoch)


def urgency(pack: Pack, data: Known, device: str) -> tuple[int, float, str]:
    """Return a key that sorts lower seeds first, then longest packs first, so that no long one is left to the end."""
    return min(trial.settings.seed for trial in pack.trials), -pack_seconds(pack, data, device), pack.pack_id


def _of_near_width(group: list[Trial], n_x: int) -> list[list[Trial]]:
    """Split trials that differ in n_z only where padding to the widest would cost too much."""
    runs: list[list[Trial]] = []
    for trial in sorted(group, key=lambda trial: trial.settings.n_z, reverse=True):
        widest = runs[-1][0].settings if runs else None
        if widest and sum(weights_of(widest, n_x)) <= MOST_PADDED * sum(weights_of(trial.settings, n_x)):
            runs[-1].append(trial)
        else:
            runs.append([trial])
    return runs


def _even(group: list[Trial], largest: int) -> list[list[Trial]]:
    ordered = sorted(group, key=lambda trial: (trial.settings.n_z, trial.settings.seed, trial.settings.warmup))
    parts = math.ceil(len(ordered) / largest)
    edges = [round(i * len(ordered) / parts) for i in range(parts + 1)]
    return [ordered[a:b] for a, b in pairwise(edges)]


def halves(trials: Sequence[Trial]) -> list[Sequence[Trial]]:
    """Return the trials of the two packs that a closed pack is split into."""
    middle = (len(trials) + 1) // 2
    return [half for half in (trials[:middle], trials[middle:]) if half]
