"""Time real training and measurement of a few shapes on random images, in a process that calibrate.py starts.

`python -m study.forecast.timing_process DEVICE PRECISION [quick]` prints that it is ready, then answers every line of stdin
(alone | all) with one line of JSON.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from statistics import median
from typing import Any

import numpy as np

from study.forecast.work import Sizes, end, measurement, training_epoch
from workers.contract.settings import MeasureSettings, Settings, SettingValue
from workers.contract.settings_table import settings_from
from workers.contract.trial import Pack, pack_id_of, trial_of
from workers.data.arrays import Images
from workers.measure.at_the_end import measure_final
from workers.measure.every_epoch import measure
from workers.model.inputs import Data, data_from
from workers.replicas.device import describe_device, prepare_device
from workers.store.open import open_store
from workers.train.learner import Learner
from workers.train.loop import train

FINGERPRINT = "0" * 64


Clock = Callable[[], float]


def clock_of(device: str) -> Clock:
    """Return the clock for a device: CPU time on a CPU, so that other programs do not count, and wall time elsewhere."""
    return time.process_time if device == "cpu" else time.perf_counter


@dataclass(frozen=True)
class Shape:
    """A shape to time; the shapes are chosen so that each amount of work weighs most in one of them."""

    n_x: int
    replicas: int
    k: int
    n_z: int
    batch_norm: bool
    decoder: str
    train: int
    test: int

    def settings(self, nll_samples: int = 20) -> list[Settings]:
        """Return the settings of every replica."""
        base: dict[str, SettingValue] = {
            "k": self.k,
            "n_z": self.n_z,
            "batch_norm": self.batch_norm,
            "decoder": self.decoder,
            "measure.nll_samples": nll_samples,
            "measure.secondary_samples": 10,
            "training.epochs": 2,
        }
        return [settings_from({**base, "seed": seed}) for seed in range(self.replicas)]


def shapes(device: str) -> list[Shape]:
    """Return shapes with few and many inputs, replicas, samples and units; larger ones for a larger device."""
    wide = {"cpu": (1, 4, 8), "mps": (1, 8, 16), "cuda": (1, 16, 60)}[device]
    images = {"cpu": (1_000, 300), "mps": (2_000, 1_000), "cuda": (10_000, 5_000)}[device]
    few = {"cpu": (300, 100), "mps": (1_000, 500), "cuda": (10_000, 5_000)}[device]
    one, some, many = wide
    return [
        Shape(64, one, 1, 2, False, "bernoulli", *images),
        Shape(64, many, 1, 20, False, "gaussian", *images),
        Shape(64, some, 5, 50, False, "bernoulli", *images),
        Shape(64, some, 1, 50, True, "bernoulli", *images),
        Shape(64, many, 5, 10, True, "gaussian", *images),
        Shape(784, one, 1, 50, False, "bernoulli", *few),
        Shape(784, some, 5, 10, False, "gaussian", *few),
        Shape(784, many, 1, 10, False, "bernoulli", *few),
        Shape(784, some, 1, 50, True, "gaussian", 10 * few[0], few[1]),
        Shape(784, some, 20, 20, False, "bernoulli", few[0], few[1]),
    ]


def rows(device: str, precision: str, chosen: list[Shape], seconds_each: float) -> Iterator[dict[str, Any]]:
    """Yield, for every shape, work and seconds of an epoch's training, of its measurement, and of the end."""
    where = prepare_device(device, precision)
    for shape in chosen:
        settings = shape.settings()
        data = _data(shape, settings[0].measure, where)
        learner = Learner(_pack(settings), data, where)
        sizes = Sizes(shape.train, shape.train, shape.test, shape.n_x)

        def passed(learner: Learner = learner) -> None:
            learner.train_epoch(1)

        def measured(learner: Learner = learner, data: Data = data) -> None:
            measure(learner.parameters, learner.architecture, data, learner.seeds, learner.k, 1, learner.statistics)

        def ended(learner: Learner = learner, data: Data = data, asked: MeasureSettings = settings[0].measure) -> None:
            where = learner.parameters, learner.architecture
            measure_final(*where, data, learner.seeds, asked, 1, learner.statistics)

        replicas = shape.replicas
        for kind, act, work in (
            ("train", passed, training_epoch(settings[0], replicas, sizes)),
            ("measure", measured, measurement(settings[0], replicas, sizes)),
            ("end", ended, end(settings[0], replicas, sizes)),
        ):
            seconds = _time(act, clock_of(device), seconds_each, at_most=1 if kind == "end" else 50, warm=kind != "end")
            yield {"kind": kind, "work": work.amounts(), "seconds": seconds, "shape": astuple(shape)}


def whole_packs(device: str, precision: str) -> list[dict[str, Any]]:
    """Time real packs with almost no arithmetic, stored on a real disk, to find the cost of a pack, a trial and a file."""
    where = prepare_device(device, precision)
    found = []
    for replicas in (1, 8):
        shape = Shape(64, replicas, 1, 2, False, "bernoulli", 100, 100)
        settings = [s.model_copy(update={"model": s.model.model_copy(update={"hidden": (8,)})}) for s in shape.settings(1)]
        data = _data(shape, settings[0].measure, where)

        def once(settings: Any = settings, data: Data = data) -> None:
            with tempfile.TemporaryDirectory() as folder:
                train(_pack(settings), data, open_store(folder), device=where, attempt="0" * 16)

        sizes = Sizes(100, 100, 100, 64)
        works = [
            training_epoch(settings[0], replicas, sizes) * (2 + 1 / 3),
            measurement(settings[0], replicas, sizes) * 3,
            end(settings[0], replicas, sizes),
        ]
        found.append(
            {
                "replicas": replicas,
                "works": [work.amounts() for work in works],
                "seconds": _time(once, time.perf_counter, 0.5, at_most=10),
            }
        )
    return found


def seconds_per_byte() -> float:
    """Return the seconds per byte of a durable write."""
    raw = np.random.default_rng(0).bytes(20_000_000)
    with tempfile.TemporaryDirectory() as folder:
        store, names = open_store(folder), iter(range(100))
        return _time(lambda: store.create(f"checkpoints/{next(names)}", raw), time.perf_counter, 0.3, at_most=5) / len(raw)


def _pack(settings: list[Settings]) -> Pack:
    trials = tuple(trial_of(each, FINGERPRINT) for each in settings)
    return Pack(pack_id=pack_id_of([trial.trial_id for trial in trials], None, 0), trials=trials, borders=(2,))


def _data(shape: Shape, settings: MeasureSettings, device: Any) -> Data:
    rng = np.random.default_rng(0)
    # Grey pixels, mostly dark, so that every batch is binarised anew, like one of real images.
    train, test = (
        (255 * rng.random((n, shape.n_x)) ** 4).astype(np.uint8).reshape(n, -1, 1) for n in (shape.train, shape.test)
    )
    labels, test_labels = ((np.arange(n) % 10).astype(np.int64) for n in (shape.train, shape.test))
    return data_from(Images(train, test, labels, test_labels), FINGERPRINT, settings, device)


def _time(act: Callable[[], object], clock: Clock, seconds: float, at_most: int, warm: bool = True) -> float:
    """Return the median time of a call, after a warm-up: at least two calls, at most `at_most`, for about `seconds`."""
    if warm:
        act()
    taken: list[float] = []
    while len(taken) < at_most and (len(taken) < 2 or sum(taken) < seconds):
        before = clock()
        act()
        taken.append(clock() - before)
    return median(taken)


def main() -> None:
    """Print that this process is ready, then time what is asked for and print the times."""
    device, precision, *more = sys.argv[1:]
    seconds_each = 0.05 if "quick" in more else 0.4
    try:
        facts = describe_device(prepare_device(device, precision))
    except ValueError as error:  # torch cannot use what the machine seems to have
        sys.exit(str(error))
    print("ready", flush=True)
    for question in sys.stdin:
        found: dict[str, Any] = {name: facts[name] for name in ("device_name", "precision", "torch")}
        if question.strip() == "alone":
            found["rows"] = list(rows(device, precision, shapes(device)[1:3], seconds_each))
        else:
            chosen = shapes(device)[:3] if "quick" in more else shapes(device)
            found["rows"] = list(rows(device, precision, chosen, seconds_each))
            found |= {"packs": whole_packs(device, precision), "per_byte": seconds_per_byte()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
