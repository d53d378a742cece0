"""Decide which packs must run again, and how far, so that a stored trial is computed as it was before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from workers.contract.trial import Pack, pack_id_of
from workers.store.plan_log import Plan, lineage_of


@dataclass(frozen=True)
class Step:
    """A pack to run again, and the epoch to run it to."""

    pack: Pack
    until: int
    """The last epoch wanted."""
    is_whole: bool
    """False for an ancestor, which is needed for its state only, not for what is measured at a pack's end."""


@dataclass(frozen=True)
class Rerun:
    """A stored pack that is run again, after its ancestors."""

    pack_id: str
    """Id of the stored pack."""
    epochs: int
    steps: tuple[Step, ...]
    members: tuple[str, ...]
    """trial_id of all trials to compare."""
    is_same_pack: bool
    """Whether every bit must come back on the same machine and versions."""


def reruns_of(plan: Plan, ended: Mapping[str, tuple[str, int]], trial_ids: Iterable[str], alone: bool) -> list[Rerun]:
    """Return what to run for these trials.

    Args:
        plan: the plan of the study.
        ended: by trial_id, the pack in which a trial ended, and its number of epochs then.
        trial_ids: the trials to verify.
        alone: run each trial in its own pack, not in the whole pack that it was trained in.
    """
    if alone:
        return [_alone(plan, trial_id, *ended[trial_id]) for trial_id in trial_ids]
    packs = dict.fromkeys(ended[trial_id] for trial_id in trial_ids)
    found = [_whole(plan, pack_id, epochs) for pack_id, epochs in packs]
    # A pack that is another's ancestor must not have trained beyond the epoch that the other starts from.
    return sorted(found, key=lambda rerun: (-len(rerun.steps), [step.until for step in rerun.steps]))


def _whole(plan: Plan, pack_id: str, epochs: int) -> Rerun:
    pack = plan.packs[pack_id]
    lineage = [*reversed(lineage_of(pack, plan)), pack]
    # A pack that was closed before it stored anything contributes nothing.
    steps = [
        _step(before, after.from_epoch, is_whole=False)
        for before, after in pairwise(lineage)
        if after.from_epoch > before.from_epoch
    ]
    members = tuple(trial.trial_id for trial in pack.trials)
    return Rerun(pack_id, epochs, (*steps, _step(pack, epochs, is_whole=True)), members, is_same_pack=True)


def _alone(plan: Plan, trial_id: str, pack_id: str, epochs: int) -> Rerun:
    stored = plan.packs[pack_id]
    lineage = [*reversed(lineage_of(stored, plan)), stored]
    trial = next(trial for trial in stored.trials if trial.trial_id == trial_id)
    borders = sorted({border for pack in lineage for border in pack.borders if border < epochs} | {epochs})
    own = Pack(pack_id=pack_id_of([trial_id], None, 0), trials=(trial,), borders=tuple(borders))
    return Rerun(pack_id, epochs, (Step(own, epochs, True),), (trial_id,), is_same_pack=own.pack_id == pack_id)


def _step(pack: Pack, until: int, is_whole: bool) -> Step:
    borders = (*(border for border in pack.borders if border < until), until)
    # One more border: at its last one a pack takes its final measurements, which cost time and which no ancestor needs.
    return Step(pack.model_copy(update={"borders": borders if is_whole else (*borders, until + 1)}), until, is_whole)


def packs_of(rerun: Rerun, plan: Plan) -> Sequence[str]:
    """Return the stored packs that hold the rows of its trials."""
    pack = plan.packs[rerun.pack_id]
    return [pack.pack_id, *(before.pack_id for before in lineage_of(pack, plan))]
