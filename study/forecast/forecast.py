"""How long the packs of a study will take, what they will use and store, and how that compares with what they took."""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from study.forecast.rates import Rates
from study.forecast.work import of_pack, parameters_of, shape_of
from workers.contract.settings import Settings, latent_units
from workers.contract.trial import Pack, Trial
from workers.data.images import Known
from workers.store.listing import segments
from workers.store.protocol import Store

RAY_START_S = 6.0
"""To start a Ray on this machine and to end it; 3 to 5 s and 1.5 s were measured on an idle machine."""

RAY_PACK_S = 0.05
"""Of Ray Tune, a pack: 0.04 to 0.06 s were measured."""

ROWS_FILE, ROW, TRIALS_FILE, TRIALS_ROW, PLAN_ENTRY, PLAN_ROW = 11_700, 115, 13_450, 110, 21_700, 60
"""Bytes of the Parquet files, by size of small studies: most of a small file is its footer."""

MODEL_FILE = 2_500
"""Bytes of a file of weights or of a checkpoint beside its tensors."""

VECTORS, FLOAT = 7, 4
"""Columns of an epoch's row with a value a latent unit, and the bytes of a value."""


@dataclass(frozen=True)
class Forecast:
    """What is left of a study."""

    seconds: float
    """Until the last pack ends, with the start of Ray and of the workers."""
    device_seconds: float
    """Of all packs together, by the share of a device that each holds."""
    stored_bytes: float
    """Of what will have been added when all is done."""
    first_factorial: float | None
    """Seconds until every cell has ended with one and the same seed; None if no seed has all cells."""


@dataclass
class Course:
    """How far the packs of a run have come, by what the executor tells."""

    begun: dict[str, int] = field(default_factory=dict)
    """The epoch that each began behind; -1 for the very beginning."""
    reached: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def epoch(self, pack_id: str, epoch: int) -> None:
        """A pack has finished an epoch."""
        self.begun.setdefault(pack_id, epoch - 1)
        self.reached[pack_id] = max(epoch, self.reached.get(pack_id, -1))

    def share(self, pack: Pack) -> float:
        """Part of what was left of a pack that this run has done."""
        if pack.pack_id in self.ended:
            return 1.0
        begun = self.begun.get(pack.pack_id, pack.epochs)
        return max(0, self.reached.get(pack.pack_id, begun) - begun) / max(1, pack.epochs - begun)


def seconds_of(pack: Pack, data: Known, rates: Rates, done: int, crowd: float = 1.0) -> float:
    """Time of what is left of a pack behind `done` epochs, beside neighbours that slow it down by `crowd`."""
    training, measuring, ending = of_pack(pack, data, done)
    compute = rates.training.of(training) + rates.measuring.of(measuring) + rates.ending.of(ending)
    stored = sum(border > done for border in pack.borders) * checkpoint_bytes(pack, data) + weights_bytes(pack, data)
    return crowd * (compute + rates.pack + rates.trial * len(pack.trials)) + rates.byte * stored


def crowd_of(rates: Rates, packs: int, slots: int) -> float:
    """How much slower a pack is while as many run as can; half as many slots slow it down half as much."""
    busy = min(packs, slots)
    return 1 + (rates.crowd - 1) * min(1.0, (busy - 1) / max(1, rates.slots - 1))


def stored_epochs(store: Store, packs: Collection[Pack]) -> dict[str, int]:
    """The newest epoch stored of every pack, or of what it goes on from; -1: none. One listing."""
    reached = {pack.pack_id: pack.from_epoch or -1 for pack in packs}
    for segment in segments(store) if packs else ():
        if segment.pack_id in reached:
            reached[segment.pack_id] = max(segment.last, reached[segment.pack_id])
    return reached


def ends_of(seconds: Iterable[float], slots: int, start: float) -> list[float]:
    """When each of these ends if the next one begins wherever a slot is free, in this order."""
    free = [start] * slots
    ends = []
    for each in seconds:
        ends.append(heapq.heappop(free) + each)
        heapq.heappush(free, ends[-1])
    return ends


def forecast(
    packs: Sequence[Pack],
    data: Known,
    rates: Rates,
    slots: int,
    *,
    on_ray: bool,
    done: Mapping[str, int],
    wanted: Sequence[Trial] = (),
    ended: Collection[str] = (),
    share: float = 1.0,
    keep_weights: bool = True,
) -> Forecast:
    """What these packs will take in this order.

    Args:
        packs: as they will be begun.
        data: sizes of the data set.
        rates: what work costs.
        slots: packs that run at once; without Ray they run one after the other.
        on_ray: whether Ray and worker processes are to be started.
        done: epochs stored, by pack_id; see stored_epochs.
        wanted: all trials of the grid, for the first whole factorial.
        ended: trial_id of those that have ended.
        share: GPUs or cores that a pack holds.
        keep_weights: whether trained models are stored.
    """
    slots = slots if on_ray else 1
    crowd = crowd_of(rates, len(packs), slots)
    each = [seconds_of(p, data, rates, done[p.pack_id], crowd) + on_ray * RAY_PACK_S for p in packs]
    start = (RAY_START_S * on_ray + rates.process) if packs else 0.0
    ends = ends_of(each, slots, start)
    at = dict.fromkeys(ended, 0.0)
    for pack, end in zip(packs, ends, strict=True):
        at |= {trial.trial_id: end for trial in pack.trials}
    return Forecast(
        seconds=max(ends, default=0.0),
        device_seconds=share * sum(each),
        stored_bytes=stored_bytes(packs, data, done, keep_weights),
        first_factorial=_first_factorial(wanted, at),
    )


def predicted(
    packs: Sequence[Pack],
    course: Course,
    data: Known,
    rates: Rates,
    slots: int,
    on_ray: bool,
    done: Mapping[str, int],
    with_start: bool = True,
) -> float:
    """Seconds that the part of the packs which was done should have taken, with the start of processes where it is part."""
    slots = slots if on_ray else 1
    crowd = crowd_of(rates, len(packs), slots)
    each = [course.share(p) * (seconds_of(p, data, rates, done[p.pack_id], crowd) + on_ray * RAY_PACK_S) for p in packs]
    start = (RAY_START_S * on_ray + rates.process) if with_start else 0.0
    return max(ends_of([seconds for seconds in each if seconds], slots, start), default=0.0)


def stored_bytes(packs: Sequence[Pack], data: Known, done: Mapping[str, int], keep_weights: bool = True) -> float:
    """What packs add to the study's folder: rows, ends, weights, plan, and the one checkpoint that a pack keeps."""
    total = 0.0
    for pack in packs:
        replicas, units, behind = len(pack.trials), latent_units(shape_of(pack)), done[pack.pack_id]
        rows = replicas * (pack.epochs - behind)
        total += sum(border > behind for border in pack.borders) * ROWS_FILE + rows * (ROW + VECTORS * FLOAT * units)
        total += TRIALS_FILE + replicas * TRIALS_ROW + checkpoint_bytes(pack, data)
        total += weights_bytes(pack, data) * keep_weights + replicas * PLAN_ROW
    return total + (PLAN_ENTRY if packs else 0)


def checkpoint_bytes(pack: Pack, data: Known) -> float:
    """Of parameters and Adam's two moments."""
    return MODEL_FILE + 3 * FLOAT * len(pack.trials) * parameters_of(shape_of(pack), data.n_x)


def weights_bytes(pack: Pack, data: Known) -> float:
    """Of the trained models."""
    return sum(MODEL_FILE + FLOAT * parameters_of(trial.settings, data.n_x) for trial in pack.trials)


def _first_factorial(wanted: Sequence[Trial], at: Mapping[str, float]) -> float | None:
    """When the first seed ends that all cells have."""
    cells: set[Settings] = set()
    last: dict[int, float] = {}
    count: dict[int, int] = {}
    for trial in wanted:
        seed = trial.settings.seed
        cells.add(trial.settings.model_copy(update={"seed": 0}))
        last[seed] = max(last.get(seed, 0.0), at.get(trial.trial_id, float("inf")))
        count[seed] = count.get(seed, 0) + 1
    found = min((last[seed] for seed in last if count[seed] == len(cells)), default=float("inf"))
    return None if found == float("inf") else found
