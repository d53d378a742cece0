"""Which packs must run, and how far, so that a stored trial is computed again as it was; decides only, runs nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from workers.contract.trial import Pack, pack_id_of
from workers.store.plan_log import Plan, lineage_of


@dataclass(frozen=True)
class Step:
    """A pack to run again, and how far."""

    pack: Pack
    until: int
    """The last epoch wanted."""
    is_whole: bool
    """False: an ancestor, wanted for its state alone; what is measured at a pack's end is not."""


@dataclass(frozen=True)
class Rerun:
    """A stored pack that is run again, its ancestors first."""

    pack_id: str
    """As it is stored."""
    epochs: int
    steps: tuple[Step, ...]
    members: tuple[str, ...]
    """trial_id of all trials to compare."""
    is_same_pack: bool
    """Whether every bit must come back on the same machine and versions."""


def reruns_of(plan: Plan, ended: Mapping[str, tuple[str, int]], trial_ids: Iterable[str], alone: bool) -> list[Rerun]:
    """What to run for these trials.

    Args:
        plan: of the study.
        ended: the pack and the epochs that every ended trial ended with.
        trial_ids: to be verified.
        alone: each in a pack of its own, not in the whole pack that it was trained in.
    """
    if alone:
        return [_alone(plan, trial_id, *ended[trial_id]) for trial_id in trial_ids]
    packs = dict.fromkeys(ended[trial_id] for trial_id in trial_ids)
    found = [_whole(plan, pack_id, epochs) for pack_id, epochs in packs]
    # Where one is another's ancestor, it must not have gone on beyond the epoch that the other starts from.
    return sorted(found, key=lambda rerun: (-len(rerun.steps), [step.until for step in rerun.steps]))


def _whole(plan: Plan, pack_id: str, epochs: int) -> Rerun:
    pack = plan.packs[pack_id]
    lineage = [*reversed(lineage_of(pack, plan)), pack]
    # From one that was closed before it stored anything, nothing is taken.
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
    # One border more: at its last one a pack measures and stores its end, which costs and is not wanted of an ancestor.
    return Step(pack.model_copy(update={"borders": borders if is_whole else (*borders, until + 1)}), until, is_whole)


def packs_of(rerun: Rerun, plan: Plan) -> Sequence[str]:
    """The stored packs that hold the rows of its trials."""
    pack = plan.packs[rerun.pack_id]
    return [pack.pack_id, *(before.pack_id for before in lineage_of(pack, plan))]
