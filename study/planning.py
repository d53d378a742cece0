"""What is missing: compares the trials a grid asks for with the plan log and with what is stored."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.grid import Grid
from study.packing import lengthen, make_pack, pack_trials, urgency
from workers.images import Known
from workers.plan import Plan, append_entry, read_plan
from workers.records import decode
from workers.settings import MeasureSettings
from workers.store import Store, ended_packs, trials_key
from workers.trial import Pack, Trial


class PlanConflictError(ValueError):
    """The grid asks for what this study's folder cannot hold; the text says what changed and what to do."""


@dataclass(frozen=True)
class Work:
    """What a grid still needs."""

    plan: Plan
    new: tuple[Pack, ...]
    """Packs to be written to the plan log: new ones, and known ones with more epochs."""
    missing: tuple[Pack, ...]
    """Packs to run, the new ones among them."""
    done: Mapping[str, tuple[str, int]]
    """Every wanted trial that has ended: by trial_id, the pack that it ended in and that pack's epochs."""


@dataclass(frozen=True)
class Machine:
    """What decides the sizes of packs."""

    device: str
    """cpu | cuda | mps"""
    slots: int
    """Packs that run at once."""


def find_work(store: Store, grid: Grid, wanted: Sequence[Trial], machine: Machine, data: Known) -> Work:
    """Decide what to plan and what to run; writes nothing.

    Raises:
        PlanConflictError: the study was planned with other measurements.
        RecordError: a stored file is damaged.
    """
    plan = read_plan(store)
    _same_measurements(grid, plan)
    goal = grid.base.training.epochs
    reached: dict[str, int] = {}
    for pack_id, epochs in ended_packs(store):
        reached[pack_id] = max(epochs, reached.get(pack_id, 0))
    unplanned = [trial for trial in wanted if trial.trial_id not in plan.pack_of]
    new = pack_trials(unplanned, grid.run, machine.device, machine.slots, data)
    live: list[Pack] = []
    done: dict[str, tuple[str, int]] = {}
    for pack, members in _wanted_packs(plan, wanted):
        end = reached.get(pack.pack_id, 0)
        fallen = _diverged(store, pack.pack_id, end) if 0 < end < goal else set()
        going_on = [trial for trial in members if end < goal and trial.trial_id not in fallen]
        done |= {trial.trial_id: (pack.pack_id, end) for trial in members if trial not in going_on}
        if not going_on:
            continue
        if pack.epochs >= goal or (end < pack.epochs and len(going_on) < len(pack.trials)):
            # As planned; or it must reach its own end before some of its trials can leave it, and then this is asked again.
            live.append(pack)
        elif len(going_on) == len(pack.trials):
            new.append(lengthen(pack, going_on, grid.run, machine.device, data))
        else:
            new.append(make_pack(going_on, grid.run, machine.device, data, pack.pack_id, pack.epochs))
    missing = sorted([*new, *live], key=lambda pack: urgency(pack, data, machine.device))
    return Work(plan, tuple(new), tuple(missing), done)


def settle(
    store: Store, grid: Grid, wanted: Sequence[Trial], machine: Machine, data: Known, provenance: Mapping[str, Any]
) -> Work:
    """Find the work and write what is new to the plan log; whoever loses that race reads again and decides again."""
    while True:
        work = find_work(store, grid, wanted, machine, data)
        footer = {
            "study": grid.study,
            "grid": grid.text,
            "factors": grid.factors,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "provenance": dict(provenance),
        }
        if not work.new or append_entry(store, work.plan.entries + 1, work.new, footer):
            return work


def parents_of(packs: Iterable[Pack], plan: Plan) -> dict[str, Pack]:
    """The parent of every pack that goes on from another, by the child's pack_id."""
    return {pack.pack_id: plan.packs[pack.parent] for pack in packs if pack.parent is not None}


def _wanted_packs(plan: Plan, wanted: Sequence[Trial]) -> list[tuple[Pack, list[Trial]]]:
    """The live packs of planned trials, each with its wanted members in the pack's order and today's settings."""
    today = {trial.trial_id: trial for trial in wanted if trial.trial_id in plan.pack_of}
    ids = dict.fromkeys(plan.pack_of[trial_id] for trial_id in today)
    # A trial that went on in another pack is a member of both, but lives in the newer one alone.
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


def _diverged(store: Store, pack_id: str, epochs: int) -> set[str]:
    key = trials_key(pack_id, epochs)
    rows = decode(store.read(key), key).select(["trial_id", "status"]).to_pylist()
    return {row["trial_id"] for row in rows if row["status"] == "diverged"}


def diverged_of(store: Store, work: Work) -> set[str]:
    """trial_id of every wanted trial that has diverged."""
    return {trial_id for ended in set(work.done.values()) for trial_id in _diverged(store, *ended)} & work.done.keys()


def _same_measurements(grid: Grid, plan: Plan) -> None:
    planned = next(iter(plan.trials.values()), None)
    if planned is None:
        return
    for name in MeasureSettings.model_fields:
        was, now = getattr(planned.settings.measure, name), getattr(grid.base.measure, name)
        if was != now:
            raise PlanConflictError(
                f"{grid.place('measure')}: measure.{name}: got {now}, but study {grid.study} was planned with {was}; "
                "all rows of a study are measured alike: set it back, or give the study another name"
            )
