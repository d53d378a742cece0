"""Trials of different n_z in one pack, from a worker's first epoch to its last file."""

from functools import partial

import pytest

from study.plan.packing import halves
from study.verify.gaps import BAND, gaps
from tests.workers import tiny
from tests.workers.by_unit import BY_UNIT
from tests.workers.variants import settings_of
from workers.contract.job import Job
from workers.contract.settings import DataSettings
from workers.contract.trial import trial_of
from workers.data.images import known
from workers.store.closing import fence, last_epoch, mark_closed
from workers.store.keys import plan_key
from workers.store.listing import identity
from workers.store.memory import MemoryStore
from workers.store.open import open_store
from workers.store.parquet import decode
from workers.store.weights_file import decode_weights
from workers.train.attempts import run_job
from workers.train.learner import Learner

MEMBERS = [{"n_z": 2, "seed": 0}, {"n_z": 3, "seed": 0, "warmup": 2}, {"n_z": 11, "seed": 1}, {"n_z": 2, "seed": 4}]

ENDS = {
    "k1": {"k": 1},
    "k5_gaussian_normed": {"k": 5, "decoder": "gaussian", "batch_norm": True},
    "running": tiny.RUNNING,
}

ends = pytest.mark.parametrize("cell", ENDS.values(), ids=ENDS)


@pytest.fixture(params=["draws of a CPU", "draws of a GPU"])
def draws(request, monkeypatch):
    if request.param == "draws of a GPU":
        monkeypatch.setattr("workers.train.loop.Learner", partial(Learner, on_device=True))


def stored(*members, borders=(1, 2, 4)):
    store = MemoryStore()
    assert tiny.run(tiny.pack(*members, borders=borders), store).status == "done"
    return store


def weights_of(store, trial_id):
    (key,) = (key for key in store.list("weights") if trial_id in key)
    return decode_weights(store.read(key), key)[0]


def assert_within_the_band(found, expected):
    """Every row of the trials in `expected`; which columns are in nats and what a count may differ by: docs/verify.md."""
    for folder in ("epochs", "trials"):
        tables = [[decode(s.read(key), key) for key in s.list(folder)] for s in (found, expected)]
        for trial_id in tiny.ended(expected):
            one, other = (rows_of(parts, trial_id) for parts in tables)
            assert [gap for gap in gaps(other, one, BAND, 0.1) if gap.of_band > 1] == []


def rows_of(parts, trial_id):
    import pyarrow as pa

    whole = pa.concat_tables(parts)
    whole = whole.filter(pa.compute.equal(whole["trial_id"], trial_id))
    return whole.sort_by("epoch") if "epoch" in whole.column_names else whole


@ends
@pytest.mark.usefixtures("draws")
def test_rows_and_models_are_those_of_the_trial_alone(cell):
    members = [{**cell, **member} for member in MEMBERS]
    store = stored(*members)
    for row in (*tiny.rows(store).values(), *tiny.ended(store).values()):
        assert {len(row[name]) for name in BY_UNIT & row.keys() if row[name]} == {row["n_z"]}
    assert {len(row["reconstruction_per_class"]) for row in tiny.rows(store).values()} == {10}
    for member in members[:3]:
        alone = stored(member)
        assert_within_the_band(store, alone)
        (trial_id,) = tiny.ended(alone)
        found, expected = weights_of(store, trial_id), weights_of(alone, trial_id)
        assert {name: a.shape for name, a in found.items()} == {name: a.shape for name, a in expected.items()}


@pytest.mark.usefixtures("draws")
def test_the_band_sees_another_trial():
    one, other = stored({"n_z": 2}), stored({"n_z": 2, "training__beta1": 0.91})
    with pytest.raises(AssertionError):
        assert_within_the_band(one, _renamed(other, one))


def _renamed(store, like):
    """The rows of one trial under the id of another."""
    import pyarrow as pa

    from workers.store.parquet import encode, read_footer

    (old,), (new,) = tiny.ended(store), tiny.ended(like)
    found = MemoryStore()
    for folder in ("epochs", "trials"):
        for key in store.list(folder):
            table = decode(store.read(key), key)
            ids = pa.array([new] * len(table), table["trial_id"].type)
            table = table.set_column(table.column_names.index("trial_id"), "trial_id", ids)
            found.create(key.replace(old, new), encode(table, read_footer(store.read(key), key)))
    return found


@ends
@pytest.mark.usefixtures("draws")
def test_a_worker_stopped_at_every_border_stores_the_same_bits(cell):
    members = [{**cell, **member} for member in MEMBERS]
    whole, pack, store = stored(*members), tiny.pack(*members, borders=(1, 2, 4)), MemoryStore()
    for _ in (1, 2):
        assert tiny.run(pack, store, should_stop=tiny.stop_after(1)).status == "stopped"
    assert tiny.run(pack, store).status == "done"
    assert tiny.content(store) == tiny.content(whole)


@ends
@pytest.mark.usefixtures("draws")
def test_after_a_split_narrower_packs_go_on_from_the_wider_ones_state(cell):
    members = [{**cell, **member} for member in MEMBERS]
    # The halves: n_z 2 and 3, padded to 8; 2 and 11, padded to 16 as the whole; then one alone, not padded at all.
    whole, pack, store = stored(*members), tiny.pack(*members, borders=(1, 2, 4)), MemoryStore()
    tiny.run(pack, store, should_stop=tiny.stop_after(1))
    left, right = split(pack, store, (2, 4))
    assert tiny.run(right, store, ancestors=(pack,)).status == "done"
    tiny.run(left, store, ancestors=(pack,), should_stop=tiny.stop_after(1))
    for child in split(left, store, (4,)):
        assert tiny.run(child, store, ancestors=(left, pack)).status == "done"
    rows, expected = tiny.rows(store), tiny.rows(whole)
    assert rows.keys() == expected.keys()
    assert_within_the_band(store, whole)


def split(pack, store, borders):
    mark_closed(store, pack.pack_id, "error", "x")
    fence(store, pack)
    return [tiny.pack_of(tuple(half), borders, pack, last_epoch(store, pack)) for half in halves(pack.trials)]


def test_a_job_of_a_padded_pack_runs_as_any_other(tmp_path):
    trials = tuple(trial_of(settings_of({"n_z": n, "k": 1}), known(DataSettings()).fingerprint) for n in (2, 9))
    open_store(str(tmp_path)).create(plan_key(1), b"the driver writes it before any job")
    job = Job(
        pack=tiny.pack_of(trials, (1,)),
        ancestors=(),
        root=None,
        path=None,
        store=str(tmp_path),
        study=identity(open_store(str(tmp_path))),
        device="cpu",
        precision="auto",
        run_id="run1",
        keep_weights=True,
        max_failures=0,
        provenance={},
    )
    assert run_job(job, lambda progress: None).status == "done"
    assert {row["n_z"]: len(row["activity"]) for row in tiny.rows(open_store(job.store)).values()} == {2: 2, 9: 9}
