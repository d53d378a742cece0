"""Packs so small that an epoch takes some milliseconds, and ways to look at what they stored."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import count

import hypothesis
import numpy as np
import pyarrow as pa
import torch

from workers.contract.settings import DataSettings, MeasureSettings, Settings
from workers.contract.settings_table import settings_from
from workers.contract.trial import Pack, Trial, pack_id_of, trial_of
from workers.data.arrays import Images
from workers.data.images import load_images
from workers.model.inputs import Data, data_from
from workers.store.listing import segments
from workers.store.parquet import content_sha256, decode, read_footer
from workers.store.protocol import Store
from workers.train.checkpoint import State, from_bytes
from workers.train.commit import newest_state
from workers.train.learner import Learner
from workers.train.loop import Outcome, train

LAWS = hypothesis.settings(
    max_examples=25,
    deadline=None,
    # A suite that fails by chance on somebody else's change helps nobody.
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)

CPU = torch.device("cpu")

SMALL = {
    "k": 2,
    "n_z": 3,
    "model.hidden": (16,),
    "training.batch_size": 50,
    "measure.images": 80,
    "measure.nll_samples": 12,
}

DEEP = {"model__layers_above": "12-z2"}
"""A second stochastic layer."""

RUNNING = {"batch_norm": True, "model__bn_statistics": "running", "model__bn_scope": "hidden_and_latent"}

_attempts = count(1)


@cache
def digits(n_train: int = 120, n_test: int = 40) -> Data:
    """The first of the digits; the last batch of an epoch is a smaller one."""
    whole = load_images(DataSettings())
    images = Images(whole.train[:n_train], whole.test[:n_test], whole.train_labels[:n_train], whole.test_labels[:n_test])
    return data_from(images, f"{n_train:032x}{n_test:032x}", MeasureSettings(images=80), CPU)


def settings(**values: object) -> Settings:
    """Small settings; a dot in a name is written as two underscores."""
    return settings_from({**SMALL, **{name.replace("__", "."): value for name, value in values.items()}})


def trial(**values: object) -> Trial:
    return trial_of(settings(**values), digits().fingerprint)


def pack(*members: Mapping, borders: tuple[int, ...] = (1, 2, 4), parent: Pack | None = None, from_epoch: int = 0) -> Pack:
    trials = tuple(trial(**member) for member in members)
    return pack_of(trials, borders, parent, from_epoch)


def pack_of(trials: tuple[Trial, ...], borders: tuple[int, ...], parent: Pack | None = None, from_epoch: int = 0) -> Pack:
    above = parent.pack_id if parent else None
    pack_id = pack_id_of([trial.trial_id for trial in trials], above, from_epoch)
    return Pack(pack_id=pack_id, trials=trials, borders=borders, parent=above, from_epoch=from_epoch)


def learner(*members: Mapping, data: Data | None = None) -> Learner:
    return Learner(pack(*members), data or digits(), CPU)


def run(pack: Pack, store: Store, data: Data | None = None, **options: object) -> Outcome:
    """One attempt of a worker, under a name of its own."""
    return train(pack, data or digits(), store, device=CPU, attempt=f"{next(_attempts):016x}", **options)


def stop_after(borders: int):
    """A `should_stop` that lets a worker store so many borders."""
    calls = count()
    return lambda: next(calls) >= borders


class Around:
    """A store that does something before it creates."""

    def __init__(self, inner: Store, before: Callable[[str], None]) -> None:
        self.inner, self.before, self.url = inner, before, inner.url

    def create(self, key: str, raw: bytes) -> bool:
        self.before(key)
        return self.inner.create(key, raw)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def overtaken(store: Store, overtake: Callable[[], object]) -> Around:
    """The store of a worker whom another overtakes just before its first commit."""
    pending = [overtake]

    def before(key: str) -> None:
        if key.startswith("epochs/") and pending:
            pending.pop()()

    return Around(store, before)


def content(store: Store) -> dict[str, str | bytes]:
    """What a study is compared by: every stored file but checkpoints, without wall times."""
    found: dict[str, str | bytes] = {}
    for folder in ("epochs", "trials"):
        for key in store.list(folder):
            found[key] = content_sha256(decode(store.read(key), key))
            assert found[key] == read_footer(store.read(key), key)["content_sha256"]
    return found | {key: store.read(key) for key in store.list("weights")}


def everything(store: Store) -> dict[str, bytes]:
    """All bytes of a store."""
    folders = ("plan", "epochs", "trials", "weights", "checkpoints")
    return {key: store.read(key) for folder in folders for key in store.list(folder)}


def tables(store: Store) -> Iterator[pa.Table]:
    for segment in segments(store):
        yield decode(store.read(segment.key), segment.key)


def rows(store: Store) -> dict[tuple[str, int], dict]:
    """The epochs rows by (trial, epoch); no such pair may stand twice."""
    found: dict[tuple[str, int], dict] = {}
    for table in tables(store):
        for row in table.to_pylist():
            assert (row["trial_id"], row["epoch"]) not in found
            found[row["trial_id"], row["epoch"]] = row
    return found


def ended(store: Store) -> dict[str, dict]:
    """The rows of finished trials by trial_id."""
    found = [row for key in store.list("trials") for row in decode(store.read(key), key).to_pylist()]
    assert len({row["trial_id"] for row in found}) == len(found)
    return {row["trial_id"]: row for row in found}


def final_state(store: Store, pack: Pack) -> State:
    state = newest_state(store, pack, (), CPU)
    assert state is not None
    return state


def checkpoint_of(store: Store, key: str) -> State:
    return from_bytes(store.read(key), CPU)


def same_state(a: State, b: State) -> bool:
    """Bit for bit, but for the wall time."""
    return (
        (a.epoch, a.step, a.diverged_at) == (b.epoch, b.step, b.diverged_at)
        and a.parameters.keys() == b.parameters.keys()
        and a.statistics.keys() == b.statistics.keys()
        and all(
            torch.equal(x, y) for name in a.statistics for x, y in zip(a.statistics[name], b.statistics[name], strict=True)
        )
        and all(torch.equal(a.parameters[name], b.parameters[name]) for name in a.parameters)
        and all(torch.equal(a.moments[name][kind], b.moments[name][kind]) for name in a.moments for kind in a.moments[name])
    )


def assert_close(found: Mapping, expected: Mapping, rtol: float, atol: float = 0.0, without: Iterable[str] = ()) -> None:
    """Two rows agree in every column but wall time and place."""
    assert found.keys() == expected.keys()
    for name in found.keys() - {"seconds", "device", "pack_id", *without}:
        if isinstance(expected[name], (float, list)):
            np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=atol, err_msg=name)
        else:
            assert found[name] == expected[name], name
