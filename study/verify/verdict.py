"""Judge trials that were trained again: bit-equal, within the band or different, and what may explain a difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.verify.gaps import BAND, Gap, gaps, weights_gap
from study.verify.what_to_rerun import Rerun, packs_of
from workers.contract.errors import RecordError
from workers.contract.version import SAME_NUMBERS
from workers.store.ends import COMPLETED, FAILED, end_rows, ends_among, statuses_of_pack
from workers.store.keys import trials_key, weights_key
from workers.store.listing import segments
from workers.store.parquet import decode, read_footer
from workers.store.placement import at_other_borders, refuse_lost_rows
from workers.store.plan_log import Plan, lineage_of
from workers.store.protocol import Store
from workers.store.weights_file import decode_weights

EQUAL, WITHIN, DIFFERENT = "bit-equal", "within the band", "different"

TELLING = (
    "device",
    "device_name",
    "precision",
    "generator",
    "instructions",
    "torch",
    "numpy",
    "python",
    "platform",
    "version",
    "commit",
    "dirty",
    "fingerprint",
)
"""Entries of a footer's provenance that may explain different numbers."""

_SAME_BITS = (*SAME_NUMBERS, "commit", "dirty")


@dataclass(frozen=True)
class Verdict:
    """The result for one trial."""

    trial_id: str
    pack_id: str
    name: str
    """bit-equal | within the band | different"""
    gaps: tuple[Gap, ...]
    """The columns that differ, worst first."""
    weights: str
    """equal | different | not stored"""
    changed: Mapping[str, tuple[Any, Any]]
    """Entries of the provenance that differ: their values in the stored and in the new run."""
    expects_bits: bool
    """Whether pack, device, versions and code are the same, so that all bits should agree."""

    def reasons(self) -> list[str]:
        """Return lines that describe the differences; none if all bits agree."""
        if self.name == EQUAL:
            return []
        lines = [_gap_text(gap) for gap in self.gaps[:3]]
        if len(self.gaps) > 3:
            lines.append(f"and {len(self.gaps) - 3} more columns")
        if not self.gaps:
            lines.append("every row is equal, but the stored weights differ")
        changed = ", ".join(f"{name} was {was}, is now {now}" for name, (was, now) in self.changed.items())
        return [*lines, f"different between the two runs: {changed or 'nothing that the provenance records'}"]

    def facts(self) -> dict[str, Any]:
        """Return the same as plain values, for JSON."""
        worst = self.gaps[0] if self.gaps else None
        return {
            "trial_id": self.trial_id,
            "pack_id": self.pack_id,
            "verdict": self.name,
            "columns": [gap.column for gap in self.gaps],
            "worst": None if worst is None else {name: _plain(value) for name, value in vars(worst).items()},
            "weights": self.weights,
            "changed": {name: list(pair) for name, pair in self.changed.items()},
        }


def judge(stored: Store, again: Store, plan: Plan, rerun: Rerun) -> list[Verdict]:
    """Compare every trial of a rerun with what is stored: the rows of all epochs, the final row, and any stored weights.

    Raises:
        RecordError: a stored file is damaged.
    """
    own = rerun.steps[-1].pack.pack_id
    ends = _end(stored, rerun.pack_id, rerun.epochs), _end(again, own, rerun.epochs)
    lasts = dict.fromkeys(packs_of(rerun, plan), rerun.epochs)
    rows = _rows(stored, lasts), _rows(again, {step.pack.pack_id: step.until for step in rerun.steps})
    was = origin_of(stored, rerun.pack_id, rerun.epochs)
    now = origin_of(again, own, rerun.epochs)
    changed = {name: (was.get(name), now.get(name)) for name in TELLING if was.get(name) != now.get(name)}
    expects_bits = rerun.is_same_pack and not changed.keys() & set(_SAME_BITS)
    verdicts = []
    for trial_id in rerun.members:
        before, after = (_of(table, trial_id) for table in ends)
        if before["status"].to_pylist() == [FAILED]:
            continue
        threshold = plan.trials[trial_id].settings.measure.threshold
        found = gaps(_of(rows[0], trial_id), _of(rows[1], trial_id), BAND, threshold)
        found += gaps(before, after, BAND, threshold)
        found.sort(key=lambda gap: gap.of_band, reverse=True)
        weights = _weights(stored, again, trial_id, rerun.epochs)
        name = _name(found, weights)
        verdicts.append(Verdict(trial_id, rerun.pack_id, name, tuple(found), weights, changed, expects_bits))
    return verdicts


def ends_of(store: Store, plan: Plan) -> dict[str, tuple[str, int]]:
    """Return the pack and the number of epochs with which every trial ended, by trial_id; failed trials are left out.

    Raises:
        RecordError: a file of trials is damaged, or is not of a pack and a border of the plan.
    """
    table, packs = end_rows(store)
    if wrong := at_other_borders((trials_key(pack_id, epochs) for pack_id, epochs in packs.items()), plan):
        raise wrong[0]
    for row in table.to_pylist():
        pack = plan.packs.get(row["pack_id"])
        if pack is None or row["trial_id"] not in {trial.trial_id for trial in pack.trials}:
            problem = f"ends trial {row['trial_id']} in pack {row['pack_id']}, which the plan does not"
            raise RecordError(trials_key(row["pack_id"], row["epochs"]), problem, "move it away, or restore the plan")
    return {
        row["trial_id"]: (row["pack_id"], row["epochs"])
        for row in ends_among(table, plan.pack_of).to_pylist()
        if row["status"] != FAILED
    }


def refuse_lost(store: Store, plan: Plan, reruns: Sequence[Rerun]) -> None:
    """Check, before anything is trained, that the rows are there with which the new ones will be compared.

    Raises:
        RecordError: a rows file is missing, or a file of trials is damaged.
    """
    for rerun in reruns:
        pack = plan.packs[rerun.pack_id]
        is_completed = COMPLETED in statuses_of_pack(store, rerun.pack_id, rerun.epochs).values()
        refuse_lost_rows(store, (pack, *lineage_of(pack, plan)), ended_at=rerun.epochs if is_completed else None)


def origin_of(store: Store, pack_id: str, epochs: int) -> Mapping[str, Any]:
    """Return the provenance that is stored with a pack's final rows."""
    key = trials_key(pack_id, epochs)
    provenance: Mapping[str, Any] = read_footer(store.read(key), key).get("provenance", {})
    return provenance


def _name(found: Sequence[Gap], weights: str) -> str:
    if not found:
        return DIFFERENT if weights == "different" else EQUAL
    return WITHIN if all(gap.of_band <= 1 for gap in found) else DIFFERENT


def _rows(store: Store, lasts: Mapping[str, int]) -> pa.Table:
    """Return the rows of these packs, each up to its epoch in `lasts`, sorted by epoch."""
    tables = []
    for file in segments(store):
        if file.first <= lasts.get(file.pack_id, -1):
            table = decode(store.read(file.key), f"{store.url}/{file.key}").replace_schema_metadata(None)
            tables.append(table.filter(pc.less_equal(table["epoch"], lasts[file.pack_id])))
    return pa.concat_tables(tables).sort_by("epoch")


def _end(store: Store, pack_id: str, epochs: int) -> pa.Table:
    key = trials_key(pack_id, epochs)
    return decode(store.read(key), f"{store.url}/{key}").replace_schema_metadata(None)


def _of(table: pa.Table, trial_id: str) -> pa.Table:
    return table.filter(pc.equal(table["trial_id"], trial_id))


def _weights(stored: Store, again: Store, trial_id: str, epochs: int) -> str:
    key = weights_key(trial_id, epochs)
    try:
        was, now = stored.read(key), again.read(key)
    except FileNotFoundError:
        return "not stored"
    tensors = [decode_weights(raw, f"{store.url}/{key}")[0] for raw, store in ((was, stored), (now, again))]
    return "different" if weights_gap(*tensors) else "equal"


def _gap_text(gap: Gap) -> str:
    where = gap.column if gap.epoch is None else f"{gap.column} in epoch {gap.epoch}"
    if gap.of_band == float("inf"):
        return f"{where}: more than rounding can explain (off by {gap.absolute:.3g})"
    return f"{where}: off by {gap.absolute:.3g} ({gap.relative:.1e} relative), {gap.of_band:.2g} times the band"


def _plain(value: Any) -> Any:
    # JSON has no infinity.
    return str(value) if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
