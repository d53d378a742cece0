"""Forecast how long packs will take and how much they will store, and compute what the finished part should have taken."""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from study.forecast.overhead import Overhead
from study.forecast.rates import Rates
from study.forecast.work import of_pack, parameters_of, shape_of
from workers.contract.columns import EPOCH_COLUMNS
from workers.contract.settings import Settings, latent_units
from workers.contract.trial import Pack, Trial
from workers.data.images import Known
from workers.store.listing import segments
from workers.store.protocol import Store

ROWS_FILE, ROW, TRIALS_FILE, TRIALS_ROW, PLAN_ENTRY, PLAN_ROW = 11_700, 115, 13_450, 110, 21_700, 60
"""Sizes in bytes of Parquet files and their rows, measured on small studies: most of a small file is its footer."""

MODEL_FILE = 2_500
"""Bytes of a weights file or a checkpoint in addition to its tensors."""

VECTORS, FLOAT = sum(column.per == "latent unit" for column in EPOCH_COLUMNS), 4
"""Columns of an epoch's row that hold one value per latent unit, and the bytes of a value."""


@dataclass(frozen=True)
class Forecast:
    """What the rest of a study will take."""

    seconds: float
    """Seconds until the last pack ends, including the start of the executor and the workers."""
    device_seconds: float
    """Seconds of all packs together, each times the share of a device that it holds."""
    stored_bytes: float
    """Bytes that will be added until everything is done."""
    first_factorial: float | None
    """Seconds until every cell has ended for the same seed; None if no seed has all cells."""


@dataclass
class Course:
    """How far the packs of a run have come, as the executor reports it."""

    begun: dict[str, int] = field(default_factory=dict)
    """The epoch after which each pack began; -1 at the very beginning."""
    reached: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def epoch(self, pack_id: str, epoch: int) -> None:
        """Record that a pack has finished an epoch."""
        self.begun.setdefault(pack_id, epoch - 1)
        self.reached[pack_id] = max(epoch, self.reached.get(pack_id, -1))

    def share(self, pack: Pack) -> float:
        """Return which part (0 to 1) of the remaining epochs of a pack this run has done."""
        if pack.pack_id in self.ended:
            return 1.0
        begun = self.begun.get(pack.pack_id, pack.epochs)
        return max(0, self.reached.get(pack.pack_id, begun) - begun) / max(1, pack.epochs - begun)


def seconds_of(pack: Pack, data: Known, rates: Rates, done: int, crowd: float = 1.0) -> float:
    """Return the seconds that a pack needs after `done` epochs; packs beside it slow it down by the factor `crowd`."""
    training, measuring, ending = of_pack(pack, data, done)
    compute = rates.training.of(training) + rates.measuring.of(measuring) + rates.ending.of(ending)
    stored = sum(border > done for border in pack.borders) * checkpoint_bytes(pack, data) + weights_bytes(pack, data)
    return crowd * (compute + rates.pack + rates.trial * len(pack.trials)) + rates.byte * stored


def crowd_of(rates: Rates, packs: int, slots: int) -> float:
    """Return the factor by which packs that run at once slow each other down; half as many slow down half as much."""
    busy = min(packs, slots)
    return 1 + (rates.crowd - 1) * min(1.0, (busy - 1) / max(1, rates.slots - 1))


def stored_epochs(store: Store, packs: Collection[Pack]) -> dict[str, int]:
    """Return the newest stored epoch of every pack, or of the pack it continues from; -1: none. Lists the store once."""
    reached = {pack.pack_id: pack.from_epoch or -1 for pack in packs}
    for segment in segments(store) if packs else ():
        if segment.pack_id in reached:
            reached[segment.pack_id] = max(segment.last, reached[segment.pack_id])
    return reached


def ends_of(seconds: Iterable[float], slots: int, start: float) -> list[float]:
    """Return when each of these ends, in seconds, if they begin in this order and each takes the first free slot."""
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
    overhead: Overhead,
    *,
    done: Mapping[str, int],
    wanted: Sequence[Trial] = (),
    ended: Collection[str] = (),
    share: float = 1.0,
    keep_weights: bool = True,
) -> Forecast:
    """Forecast what these packs will take in this order.

    Args:
        packs: in the order in which they will begin.
        data: sizes of the data set.
        rates: seconds per unit of work.
        slots: packs that the machine can run at once.
        overhead: that of the executor, which may run packs one after the other.
        done: epochs stored, by pack_id; see stored_epochs.
        wanted: all trials asked for, to find the first complete seed.
        ended: trial_id of those that have ended.
        share: GPUs or cores that a pack holds.
        keep_weights: whether trained models are stored.
    """
    slots = overhead.slots_of(slots)
    crowd = crowd_of(rates, len(packs), slots)
    each = [seconds_of(p, data, rates, done[p.pack_id], crowd) + overhead.pack_s for p in packs]
    start = (overhead.start_s + rates.process) if packs else 0.0
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
    overhead: Overhead,
    done: Mapping[str, int],
    with_start: bool = True,
) -> float:
    """Return the seconds that the finished part of the packs should have taken, by default with the start of processes."""
    slots = overhead.slots_of(slots)
    crowd = crowd_of(rates, len(packs), slots)
    each = [course.share(p) * (seconds_of(p, data, rates, done[p.pack_id], crowd) + overhead.pack_s) for p in packs]
    start = (overhead.start_s + rates.process) if with_start else 0.0
    return max(ends_of([seconds for seconds in each if seconds], slots, start), default=0.0)


def stored_bytes(packs: Sequence[Pack], data: Known, done: Mapping[str, int], keep_weights: bool = True) -> float:
    """Return the bytes that packs add to the study's folder: rows, ends, weights, plan, and one checkpoint per pack."""
    total = 0.0
    for pack in packs:
        replicas, units, behind = len(pack.trials), latent_units(shape_of(pack)), done[pack.pack_id]
        rows = replicas * (pack.epochs - behind)
        total += sum(border > behind for border in pack.borders) * ROWS_FILE + rows * (ROW + VECTORS * FLOAT * units)
        total += TRIALS_FILE + replicas * TRIALS_ROW + checkpoint_bytes(pack, data)
        total += weights_bytes(pack, data) * keep_weights + replicas * PLAN_ROW
    return total + (PLAN_ENTRY if packs else 0)


def checkpoint_bytes(pack: Pack, data: Known) -> float:
    """Return the bytes of a pack's checkpoint: parameters and the two moments of Adam."""
    return MODEL_FILE + 3 * FLOAT * len(pack.trials) * parameters_of(shape_of(pack), data.n_x)


def weights_bytes(pack: Pack, data: Known) -> float:
    """Return the bytes of a pack's trained models."""
    return sum(MODEL_FILE + FLOAT * parameters_of(trial.settings, data.n_x) for trial in pack.trials)


def _first_factorial(wanted: Sequence[Trial], at: Mapping[str, float]) -> float | None:
    """Return when the first seed ends that all cells have; None if there is none."""
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
