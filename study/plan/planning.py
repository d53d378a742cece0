"""Find what is missing: compare the trials of a grid with the plan log and with what is stored."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.grid.grid import Grid
from study.plan.packing import halves, lengthen, make_pack, pack_trials, urgency
from study.plan.request import Request
from workers.contract.errors import UserError
from workers.contract.settings import MeasureSettings, Settings
from workers.contract.trial import Pack, Trial, next_border
from workers.data.images import OtherDataError
from workers.store.closing import closing_reasons, end_as_failed, fence, last_epoch
from workers.store.ends import COMPLETED, FAILED, is_over, reached, statuses_of_pack
from workers.store.listing import closed_packs, ended_packs, segments_by_pack
from workers.store.placement import refuse_lost_rows
from workers.store.plan_log import Plan, append_entry, lineage_of, read_plan
from workers.store.protocol import Store


class PlanConflictError(UserError):
    """The grid contradicts what this study's folder holds; the text tells what changed and what to do."""


@dataclass(frozen=True)
class Work:
    """What is done and what is still to do for a grid."""

    plan: Plan
    new: tuple[Pack, ...]
    """Packs to be written to the plan log: new packs, and known packs with more epochs."""
    missing: tuple[Pack, ...]
    """Packs to run, including new ones."""
    done: Mapping[str, tuple[str, int]]
    """For every wanted trial that has ended, by trial_id: the pack in which it ended, and the epochs of that pack."""


def find_work(request: Request, retry_failed: bool = False) -> Work:
    """Decide what to plan and what to run, without writing anything.

    Args:
        request: the trials asked for, and where they would run.
        retry_failed: failed trials continue from their last border, in separate packs.

    Raises:
        PlanConflictError: the study was planned with other measurements, or on other data.
        RecordError: a stored file is damaged, or rows before a stored border are lost.
    """
    store, grid, wanted, data = request.store, request.grid, request.wanted, request.data
    device = request.machine.device
    plan = read_plan(store)
    _same_measurements(grid, plan)
    _same_data(grid, plan, wanted)
    goal = grid.base.training.epochs
    closed = set(closed_packs(store))
    ends = reached(store)

    def child(members: Sequence[Trial], parent: Pack, from_epoch: int) -> Pack:
        return make_pack(members, grid.run, device, data, parent.pack_id, max(0, from_epoch))

    unplanned = [trial for trial in wanted if trial.trial_id not in plan.pack_of]
    new = pack_trials(unplanned, grid.run, device, request.machine.slots, data)
    live: list[Pack] = []
    idle: list[Pack] = []
    done: dict[str, tuple[str, int]] = {}
    stored = segments_by_pack(store)
    for pack, members in _wanted_packs(plan, wanted):
        refuse_lost_rows(store, (pack, *lineage_of(pack, plan)), stored)
        if pack.pack_id in closed and len(pack.trials) > 1:
            # All trials that belong to this pack now are planned again, whether they are asked for or not.
            here = [trial for trial in pack.trials if plan.pack_of[trial.trial_id] == pack.pack_id]
            for half in halves(_at_goal(here, goal)):
                part = child(half, pack, last_epoch(store, pack))
                (new if {t.trial_id for t in half} & {t.trial_id for t in members} else idle).append(part)
            continue
        end = ends.get(pack.pack_id, 0)
        statuses = statuses_of_pack(store, pack.pack_id, end) if end and (end < goal or pack.pack_id in closed) else {}
        again = [t for t in members if retry_failed and statuses.get(t.trial_id) == FAILED]
        if again:
            new.append(child(again, pack, last_epoch(store, pack)))
        going_on = [trial for trial in members if not is_over(statuses.get(trial.trial_id, COMPLETED), end, goal)]
        done |= {trial.trial_id: (pack.pack_id, end) for trial in members if trial not in going_on and trial not in again}
        if not going_on:
            continue
        if pack.epochs >= goal or (end < pack.epochs and len(going_on) < len(pack.trials)):
            # Run as planned: that is far enough, or the pack must end before some trials can leave it (then decided).
            live.append(pack)
        elif len(going_on) == len(pack.trials):
            new.append(lengthen(pack, going_on, grid.run, device, data))
        else:
            new.append(child(going_on, pack, pack.epochs))
    missing = sorted([*new, *live], key=lambda pack: urgency(pack, data, device))
    return Work(plan, (*new, *idle), tuple(missing), done)


def settle(request: Request, provenance: Mapping[str, Any], retry_failed: bool = False) -> Work:
    """Close the marked packs, find the work, and write new packs to the plan log.

    If another driver writes the next entry of the log first, read again and decide again.
    """
    store, grid = request.store, request.grid
    while True:
        _close_marked(store, provenance)
        work = find_work(request, retry_failed)
        footer = {
            "study": grid.study,
            "grid": grid.text,
            "factors": grid.factors,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "provenance": dict(provenance),
        }
        if not work.new or append_entry(store, work.plan.entries + 1, work.new, footer):
            return work


def _close_marked(store: Store, provenance: Mapping[str, Any]) -> None:
    """Fence off every marked pack; the trial of a marked pack of one trial ends as failed."""
    reasons = closing_reasons(store)
    if not reasons:
        return
    plan, ended = read_plan(store), ended_packs(store)
    live = {pack.pack_id for pack in plan.live_packs()}
    for pack_id, reason in reasons.items():
        pack = plan.packs.get(pack_id)
        if pack is None or pack_id not in live or (pack_id, pack.epochs) in ended:
            continue
        if len(pack.trials) > 1:
            fence(store, pack)
        else:
            if next_border(pack.borders, last_epoch(store, pack)) is not None:
                fence(store, pack)
            end_as_failed(store, pack, lineage_of(pack, plan), reason, provenance)


def _at_goal(trials: Sequence[Trial], goal: int) -> list[Trial]:
    """Return the same trials with `goal` epochs, or with those they were planned for if these are more."""
    return [trial.model_copy(update={"settings": _with_epochs(trial.settings, goal)}) for trial in trials]


def _with_epochs(settings: Settings, goal: int) -> Settings:
    epochs = max(goal, settings.training.epochs)
    return settings.model_copy(update={"training": settings.training.model_copy(update={"epochs": epochs})})


def _wanted_packs(plan: Plan, wanted: Sequence[Trial]) -> list[tuple[Pack, list[Trial]]]:
    """Return the live packs of planned trials, each with its wanted trials in the pack's order and with today's settings."""
    today = {trial.trial_id: trial for trial in wanted if trial.trial_id in plan.pack_of}
    ids = dict.fromkeys(plan.pack_of[trial_id] for trial_id in today)
    # A trial that continued in another pack is a member of both, but belongs to the newer one.
    return [
        (
            plan.packs[pack_id],
            [
                today[t.trial_id]
                for t in plan.packs[pack_id].trials
                if plan.pack_of[t.trial_id] == pack_id and t.trial_id in today
            ],
        )
        for pack_id in ids
    ]


def statuses_of(store: Store, work: Work) -> dict[str, str]:
    """Return the status of every wanted trial that has ended: completed | diverged | failed.

    Raises:
        RecordError: a file is damaged, or a trial is said to be completed whose last rows are lost.
    """
    known: dict[str, str] = {}
    stored = segments_by_pack(store)
    for pack_id, end in dict.fromkeys(work.done.values()):
        statuses = statuses_of_pack(store, pack_id, end)
        if COMPLETED in statuses.values():
            refuse_lost_rows(store, (work.plan.packs[pack_id],), stored, ended_at=end)
        known |= statuses
    return {trial_id: known[trial_id] for trial_id in work.done}


def _same_measurements(grid: Grid, plan: Plan) -> None:
    planned = next(iter(plan.trials.values()), None)
    if planned is None:
        return
    for name in MeasureSettings.model_fields:
        was, now = getattr(planned.settings.measure, name), getattr(grid.base.measure, name)
        if was != now:
            raise PlanConflictError(
                f"{grid.place('measure')}: measure.{name}: got {now}, but study {grid.study} was planned with {was}; "
                "all rows of a study must be measured in the same way: set it back, or give the study another name"
            )


def _same_data(grid: Grid, plan: Plan, wanted: Sequence[Trial]) -> None:
    """Refuse trials on a data set whose content differs from that of planned trials: a file was replaced in the meantime.

    Another data set under its own name (`data.name`) is a difference that the rows show.
    """
    planned = {trial.settings.data.name: trial.fingerprint for trial in plan.trials.values()}
    for trial in wanted:
        was = planned.get(trial.settings.data.name, trial.fingerprint)
        if was != trial.fingerprint:
            raise PlanConflictError(f"{grid.place('data')}: {OtherDataError(grid.base.data, trial.fingerprint, was)}")
