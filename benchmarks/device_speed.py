"""Times a device: what it can do, how much of that packs reach, and how long the paper's whole grid would take."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.plain_trial import plain_step
from benchmarks.scenes import Scene, learner_of, pack_of_trials
from study.grid.design import trials_of
from study.grid.grid import read_grid
from study.plan.packing import pack_trials
from workers.contract.settings import MeasureSettings
from workers.contract.trial import Pack
from workers.data.images import KNOWN
from workers.measure.at_the_end import measure_final
from workers.measure.every_epoch import measure
from workers.model.inputs import Data
from workers.train.learner import Learner

PAPER = Path(__file__).parents[1] / "grids/paper.yaml"


def wait(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Return the median wall time in seconds, with the device idle before and after."""
    times = []
    for _ in range(repeats):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@dataclass(frozen=True)
class Peak:
    """The peak rates of a device in this run, to which all other rates are compared."""

    flops: float
    """Multiplications and additions per second in a large product, in the precision in use."""
    bytes_a_second: float
    """Bytes read and written per second in a long copy."""


def peak(device: torch.device, is_small: bool) -> Peak:
    """Measure the peak rates by a matrix product and a copy."""
    n, length, times = (128, 2**16, 2) if is_small else (8192, 2**28, 10)
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    source, target = torch.zeros(length, device=device), torch.zeros(length, device=device)

    def products() -> None:
        for _ in range(times):
            torch.mm(a, b)

    def copies() -> None:
        for _ in range(times):
            target.copy_(source)

    products()
    copies()
    return Peak(times * 2 * n**3 / seconds_of(products, device), times * 8 * length / seconds_of(copies, device))


def floor_seconds(k: int, peak: Peak) -> float:
    """Return the least time of a trial-step of 784-200-200-50 with batches of 100: that of operations or of memory.

    Operations: 6 per weight and row, without the gradient with respect to the images. Bytes: Adam reads and writes 7 numbers
    per parameter (11.9 MB); with weights, gradients and activations of fused kernels it is 18.15 MB plus 2.65 MB per sample.
    """
    return max((0.0987 + 0.1241 * k) * 1e9 / peak.flops, (18.15 + 2.65 * k) * 1e6 / peak.bytes_a_second)


@dataclass(frozen=True)
class Speed:
    """Trial-steps per second of one way to train."""

    k: int
    name: str
    trials: int
    steps_a_second: float
    share_of_floor: float


def speeds(scene: Scene, ks: tuple[int, ...], packs: tuple[int, ...], peak: Peak, steps: int) -> Iterator[Speed]:
    """Time packs of every size, alternating with single trials in plain PyTorch; an epoch has `steps` steps."""
    device, cuda = scene.device, scene.device.type == "cuda"
    hidden = (200, 200) if scene.data.n_x == 784 else (12, 9)
    n_z, batch_size = (50, 100) if scene.data.n_x == 784 else (5, 24)
    for k in ks:
        floor = floor_seconds(k, peak)
        for size in packs:
            for name, captured in (("plain PyTorch", False), ("plain PyTorch, one graph", True))[: 2 if cuda else 1]:
                step = plain_step(scene.data.train, batch_size, hidden, n_z, k, captured)
                seconds = seconds_of(partial(_repeat, step, steps), device) / steps
                yield Speed(k, name, 1, 1 / seconds, floor / seconds)
            learner = learner_of(scene, [{"k": k, "n_z": n_z, "seed": seed} for seed in range(size)])
            learner.train_epoch(1)
            seconds = seconds_of(partial(learner.train_epoch, 2), device) / steps / size
            yield Speed(k, "pack", size, 1 / seconds, floor / seconds)
            del learner


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


@dataclass(frozen=True)
class Slice:
    """One pack of the paper's grid, timed for some epochs."""

    name: str
    trials: int
    steps: int
    start_s: float
    """Seconds until the first epoch has ended, minus one epoch: parameters, compilation, capture."""
    epoch_s: float
    measure_s: float
    final_s: float
    """Seconds of the final measures, with an nll of 5000 samples."""

    @property
    def whole_s(self) -> float:
        """Return the seconds that the pack would take for 300 epochs."""
        return self.start_s + 300 * (self.epoch_s + self.measure_s) + self.final_s


def paper_packs(grid: Path = PAPER) -> list[Pack]:
    """Return the packs of the paper's grid as the study would plan them for a GPU."""
    read = read_grid(grid)
    known = KNOWN["mnist"]
    return pack_trials(trials_of(read, known.fingerprint), read.run, "cuda", 1, known)


def by_n_z(pack: Pack, data: Data) -> list[Pack]:
    """Return the same trials in one pack per n_z, without padding, for comparison with a padded pack."""
    members = [trial.settings for trial in pack.trials]
    return [pack_of_trials([one for one in members if one.n_z == n_z], data) for n_z in sorted({one.n_z for one in members})]


def slices(scene: Scene, packs: list[Pack], until: float, samples: int = 200) -> Iterator[Slice]:
    """Time three epochs with measurement of each pack on random images; none is started after `until`.

    The final measures are timed with fewer samples, twice, to separate the cost that does not depend on their number.
    """
    for pack in packs:
        if time.perf_counter() > until:
            return
        first = pack.trials[0].settings
        ours = pack_of_trials([trial.settings for trial in pack.trials], scene.data)
        started = time.perf_counter()
        learner = Learner(ours, scene.data, scene.device, on_device=True)
        learner.train_epoch(1)
        where = learner.parameters, learner.architecture, scene.data, learner.seeds
        begun = time.perf_counter() - started
        epoch_s = seconds_of(partial(learner.train_epoch, 2), scene.device, 2)
        measure(*where, learner.k, 1, learner.statistics)
        measure_s = seconds_of(partial(measure, *where, learner.k, 2, learner.statistics), scene.device, 2)
        few, more = (
            seconds_of(
                partial(measure_final, *where, MeasureSettings(nll_samples=n, secondary_samples=1), 3, learner.statistics),
                scene.device,
                1,
            )
            for n in (samples, 2 * samples)
        )
        final_s = few + max(0.0, more - few) * (5000 - samples) / samples
        widths = sorted({trial.settings.n_z for trial in pack.trials})
        n_z = f"{widths[0]} to {widths[-1]}" if len(widths) > 1 else str(widths[0])
        name = f"{first.decoder}, K {first.k}, batch norm {str(first.batch_norm).lower()}, n_z {n_z}"
        yield Slice(name, len(pack.trials), learner.steps_an_epoch, max(0.0, begun - epoch_s), epoch_s, measure_s, final_s)
        del learner
