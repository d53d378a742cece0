"""The plan log: an append-only list of the trials of a study and their packs, which only the driver writes."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from workers.contract.columns import PLAN, SCHEMA_VERSION
from workers.contract.errors import RecordError, VersionError, damaged, unreadable
from workers.contract.settings import Settings, layers_above
from workers.contract.settings_table import flatten, leaves, settings_from, with_seed
from workers.contract.trial import Pack, Trial, ids_by_seed, pack_id_of
from workers.store.keys import PLAN_FOLDER, PLAN_KEY, plan_key
from workers.store.parquet import decode_with_footer, encode
from workers.store.protocol import Store, exists

UPDATE = "use the program that wrote it, or a later one"

_AWAY = "move it away, or restore its original name"

_MOST_LOST = 100
"""If more entries than this are missing before a file, the number in its name is taken for a wrong name."""


@dataclass(frozen=True)
class Plan:
    """The plan according to the whole log; the newest entry that names a trial decides its pack."""

    entries: int
    """The number of entries read; the next entry gets this number plus 1."""
    trials: Mapping[str, Trial]
    """Every trial ever planned, by trial_id, in the order of planning."""
    pack_of: Mapping[str, str]
    """The live pack of every trial."""
    packs: Mapping[str, Pack]
    """Every pack ever planned, with its newest borders."""
    footers: tuple[Mapping[str, Any], ...]
    """The footer of each entry: study, grid text, factors, provenance."""

    def live_packs(self) -> list[Pack]:
        """Return the packs to which trials belong now, in the order of planning."""
        live = set(self.pack_of.values())
        return [pack for pack_id, pack in self.packs.items() if pack_id in live]

    def factors(self) -> dict[str, list[Any]]:
        """Return the levels of every factor over all accepted grids, in the order in which they were added."""
        levels: dict[str, list[Any]] = {}
        for footer in self.footers:
            for name, new in footer["factors"].items():
                known = levels.setdefault(name, [])
                known.extend(level for level in new if level not in known)
        return levels


def read_plan(store: Store, hidden: Collection[str] = ()) -> Plan:
    """Read the log of a study into a plan; an empty study gives an empty plan.

    Args:
        store: the store of the study.
        hidden: keys of entries that are known to be damaged, and are left out.

    Raises:
        VersionError: an entry was written by a later version.
        RecordError: an entry is damaged or missing, has the id of a trial or a pack that is not its own, or a file has no
            place in the log; the message names the file.
    """
    trials: dict[str, Trial] = {}
    pack_of: dict[str, str] = {}
    packs: dict[str, Pack] = {}
    footers: list[Mapping[str, Any]] = []
    keys = _keys(store, hidden)
    for key in keys:
        raw = _read(store, key)
        if wrong := wrong_ids(raw, key):
            more = f", and {len(wrong) - 1} more such" if len(wrong) > 1 else ""
            raise RecordError(key, wrong[0] + more, "restore it from a copy")
        found, footer, _ = _entry(raw, key)
        if footers and footer.get("study") != footers[0].get("study"):
            raise RecordError(key, f"is an entry of study {footer.get('study')}, not of {footers[0].get('study')}", _AWAY)
        orphans = sorted({pack.parent for pack in found if pack.parent} - packs.keys())
        if orphans and not hidden:
            raise RecordError(key, f"continues pack {orphans[0]}, which no earlier entry has", _AWAY)
        for pack in found:
            _refuse_older(key, pack, packs.get(pack.pack_id))
            packs[pack.pack_id] = pack
            for trial in pack.trials:
                trials[trial.trial_id] = trial
                pack_of[trial.trial_id] = pack.pack_id
        footers.append(footer)
    return Plan(len(keys), trials, pack_of, packs, tuple(footers))


def _keys(store: Store, hidden: Collection[str]) -> list[str]:
    """Return the keys of all entries, which are numbered from 1 without a gap.

    Otherwise a driver that counts entries would write one that nobody reads, or one that has been written.
    """
    listed = [key for key in store.list(PLAN_FOLDER) if key not in hidden]
    there = {*listed, *(key for key in hidden if key.startswith(f"{PLAN_FOLDER}/"))}
    number = 1
    # A folder on a network, or one that grows while it is listed, may not show every entry that is there.
    while (key := plan_key(number)) in there or exists(store, key):
        if key not in there:
            listed.append(key)
        number += 1
    for key in listed:
        match = PLAN_KEY.fullmatch(key)
        if not match or key != plan_key(int(match[1])) or not 1 <= int(match[1]) <= number + _MOST_LOST:
            raise RecordError(key, f"has a name that is not valid in {PLAN_FOLDER}/", _AWAY)
    if after := [key for key in listed if key > plan_key(number)]:
        raise RecordError(plan_key(number), f"is missing, although {after[0]} exists", "restore it from a copy")
    return sorted(listed)


def _read(store: Store, key: str) -> bytes:
    try:
        return store.read(key)
    except OSError as error:
        raise unreadable(key, error) from error


def _refuse_older(key: str, pack: Pack, known: Pack | None) -> None:
    """Refuse an entry that was written before one that has a smaller number; borders of a pack are only ever appended."""
    if known and (len(pack.borders) <= len(known.borders) or pack.borders[: len(known.borders)] != known.borders):
        problem = f"is not a new entry: it adds no border to pack {pack.pack_id}, or changes earlier ones"
        raise RecordError(key, problem, _AWAY)


def lineage_of(pack: Pack, plan: Plan) -> tuple[Pack, ...]:
    """Return the ancestors of a pack: its parent, which it continues from, the parent of that pack, and so on.

    Raises:
        RecordError: no entry has the parent of a pack, or a pack is its own ancestor.
    """
    ancestors: list[Pack] = []
    while pack.parent is not None:
        if (parent := plan.packs.get(pack.parent)) is None or len(ancestors) > len(plan.packs):
            problem = f"has no pack {pack.parent} which pack {pack.pack_id} could continue"
            raise RecordError(f"{PLAN_FOLDER}/", problem, "restore its entries from a copy")
        pack = parent
        ancestors.append(pack)
    return tuple(ancestors)


def append_entry(store: Store, number: int, packs: Iterable[Pack], footer: Mapping[str, Any]) -> bool:
    """Create entry `number`; return False if another driver wrote it first, in which case read the plan and decide again."""
    rows = [_row(trial, pack) for pack in packs for trial in pack.trials]
    table = pa.Table.from_pylist(rows, schema=PLAN)
    return store.create(plan_key(number), encode(table, {"kind": "plan", **footer}))


def _row(trial: Trial, pack: Pack) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "trial_id": trial.trial_id,
        "pack_id": pack.pack_id,
        "parent_pack": pack.parent,
        "from_epoch": pack.from_epoch,
        "borders": pack.borders,
        "layer_sizes": [trial.settings.n_z, *(n_z for _, n_z in layers_above(trial.settings.model))],
        "fingerprint": trial.fingerprint,
        **flatten(trial.settings),
    }


def wrong_ids(raw: bytes, key: str) -> tuple[str, ...]:
    """Return a sentence without its subject, the file, for each trial and each pack of an entry whose id is not its own.

    Raises:
        VersionError, RecordError: see read_plan.
    """
    return _entry(raw, key)[2]


@lru_cache(maxsize=256)
def _entry(raw: bytes, key: str) -> tuple[tuple[Pack, ...], Mapping[str, Any], tuple[str, ...]]:
    """Return the packs and the footer of an entry, and which of its ids are wrong; see wrong_ids.

    The result is cached by the bytes: a command reads the log several times, and entries never change.
    """
    table, footer = decode_with_footer(raw, key)
    if footer.get("kind") != PLAN_FOLDER:
        raise RecordError(key, f"is not an entry of the plan; its kind is {footer.get('kind')}", _AWAY)
    if "factors" not in footer:
        raise damaged(key, "its footer does not name the factors of its grid")
    if unknown := set(table.column_names) - set(PLAN.names):
        raise VersionError(key, f"has settings that this program does not know ({', '.join(sorted(unknown))})", UPDATE)
    try:
        trials, wrong = _trials_in(table)
        packs = tuple(_packs_in(table, trials))
        return packs, footer, (*wrong, *_wrong_packs(packs, table))
    except (ValueError, TypeError, KeyError) as error:
        # The checksums are right, so somebody wrote it like this.
        raise damaged(key, f"it is no list of packs and trials ({_first_problem(error)})") from error


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())[:200]


def _packs_in(table: pa.Table, trials: list[Trial]) -> list[Pack]:
    members: dict[str, list[int]] = {}
    pack_ids, borders, parents, starts = (
        table[name].to_pylist() for name in ("pack_id", "borders", "parent_pack", "from_epoch")
    )
    for row, pack_id in enumerate(pack_ids):
        members.setdefault(pack_id, []).append(row)
    return [
        Pack(
            pack_id=pack_id,
            trials=tuple(trials[row] for row in rows),
            borders=tuple(borders[rows[0]]),
            parent=parents[rows[0]],
            from_epoch=starts[rows[0]],
        )
        for pack_id, rows in members.items()
    ]


def _wrong_packs(packs: Iterable[Pack], table: pa.Table) -> Iterator[str]:
    """Yield what is wrong with packs, of which `_packs_in` believes the first row."""
    for pack in packs:
        own = pack_id_of((trial.trial_id for trial in pack.trials), pack.parent, pack.from_epoch)
        if own != pack.pack_id:
            yield f"gives pack {pack.pack_id} the trials, the parent and the start of pack {own}"
    columns = (table[name].to_pylist() for name in ("pack_id", "borders", "parent_pack", "from_epoch"))
    first: dict[str, list[Any]] = {}
    rows = zip(*columns, strict=True)
    twofold = dict.fromkeys(pack_id for pack_id, *own in rows if first.setdefault(pack_id, own) != own)
    yield from (f"gives the trials of pack {pack_id} different borders or starts" for pack_id in twofold)


def _trials_in(table: pa.Table) -> tuple[list[Trial], list[str]]:
    """Return the trial of every row, and what is wrong with their ids."""
    # An entry of an earlier version lacks settings that were added later; they take their default, which keeps its meaning.
    known = [name for name in leaves(Settings) if name in table.column_names and name != "seed"]
    columns = [table[name].to_pylist() for name in known]
    columns = [
        list(map(tuple, c)) if pa.types.is_list(table.schema.field(n).type) else c
        for n, c in zip(known, columns, strict=True)
    ]
    ids, fingerprints, seeds = (table[name].to_pylist() for name in ("trial_id", "fingerprint", "seed"))
    # Most rows differ only in the seed, and building and checking settings takes most of the time.
    cells: dict[tuple[Any, ...], tuple[Settings, Callable[[int], str]]] = {}
    trials, wrong = [], []
    for trial_id, seed, fingerprint, *values in zip(ids, seeds, fingerprints, *columns, strict=True):
        if (known_cell := cells.get(own := (fingerprint, *values))) is None:
            settings = settings_from(dict(zip(known, values, strict=True)))
            known_cell = cells[own] = settings, ids_by_seed(settings, fingerprint)
        cell, id_of = known_cell
        trials.append(Trial(trial_id=trial_id, fingerprint=fingerprint, settings=with_seed(cell, seed)))
        if (own_id := id_of(seed)) != trial_id:
            wrong.append(f"gives trial {trial_id} the settings and the data of trial {own_id}")
    return trials, wrong
