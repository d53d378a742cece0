"""Compares trial-steps per second of this project's packs on one CPU core with eager PyTorch and with JAX.

python -m benchmarks.training [--rounds 10] [--core 0] [--only 784x1] [--out benchmarks/training.md]
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.contestants import BATCH, N_Z
from benchmarks.table import page, parser, publish, ratio

SHAPES = ((784, 1), (784, 5), (64, 1), (64, 5))
REPLICAS: Mapping[str, tuple[int, ...]] = {
    "pack": (1, 4, 6, 8),
    "bf16": (1, 4, 6, 8),
    "eager": (1,),
    "jax": (1, 4, 8),
}


@dataclass(frozen=True)
class Answer:
    """The result of one timed request."""

    per_second: float
    """Trial-steps per second."""
    bound: float
    """Mean over the last epoch, nats per example."""


class Contestant:
    """The process of one contestant, pinned to the core that all contestants share."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Keep the process that answers questions; see benchmarks.contestants."""
        self._process = process

    def ask(self, n_x: int, k: int, replicas: int, epochs: int) -> Answer:
        """Let the contestant train and wait for its answer."""
        question = {"n_x": n_x, "k": k, "replicas": replicas, "epochs": epochs}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a contestant ended before it answered; its error is above")
        told = json.loads(line)
        return Answer(told["steps"] / told["seconds"], told["bound"])


@contextmanager
def started(name: str, core: int) -> Iterator[Contestant]:
    """Start a contestant with one thread on one core, and end it afterwards."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-m", "benchmarks.contestants", name, str(core)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        yield Contestant(process)
        assert process.stdin is not None
        process.stdin.close()


def epochs_for(contestant: Contestant, n_x: int, k: int, replicas: int, seconds: float) -> int:
    """Return the number of epochs that take about this many seconds, from one timed epoch."""
    steps = replicas * 14
    return max(1, round(seconds * contestant.ask(n_x, k, replicas, 1).per_second / steps))


def best_size(contestant: Contestant, sizes: Sequence[int], n_x: int, k: int, seconds: float) -> tuple[int, int]:
    """Return the number of replicas with the most trial-steps per second, best of five, and epochs that take `seconds`."""
    epochs = {replicas: epochs_for(contestant, n_x, k, replicas, seconds / 3) for replicas in sizes}
    found = dict.fromkeys(sizes, 0.0)
    # The sizes take turns, as a few seconds of load by others would otherwise hit every try of one size.
    for _ in range(5 if len(sizes) > 1 else 1):
        for replicas in sizes:
            found[replicas] = max(found[replicas], contestant.ask(n_x, k, replicas, epochs[replicas]).per_second)
    best = max(found, key=lambda replicas: found[replicas])
    return best, epochs_for(contestant, n_x, k, best, seconds)


def compare(contestants: Mapping[str, Contestant], n_x: int, k: int, rounds: int, seconds: float) -> list[object]:
    """Measure one row: rates, ratios of rates in alternating rounds, and the share that matrix products would take."""
    chosen = {name: best_size(contestants[name], sizes, n_x, k, seconds) for name, sizes in REPLICAS.items()}
    chosen["products"] = (chosen["pack"][0], max(1, 2 * chosen["pack"][1]))
    answers: dict[str, list[Answer]] = {name: [] for name in chosen}
    order = list(chosen)
    for i in range(rounds):
        # The first contestant finds the machine as the last round left it, so all are first in turn.
        for name in order[i % len(order) :] + order[: i % len(order)]:
            answers[name].append(contestants[name].ask(n_x, k, *chosen[name]))
    rates = {name: [answer.per_second for answer in told] for name, told in answers.items()}
    middle = {name: sorted(values)[len(values) // 2] for name, values in rates.items()}
    ours = rates["pack"]
    return [
        n_x,
        k,
        f"{middle['pack']:.0f} (R {chosen['pack'][0]})",
        f"{middle['bf16']:.0f} (R {chosen['bf16'][0]})",
        f"{middle['eager']:.0f}",
        f"{middle['jax']:.0f} (R {chosen['jax'][0]})",
        ratio([mine / theirs for mine, theirs in zip(ours, rates["eager"], strict=True)]),
        ratio([mine / theirs for mine, theirs in zip(ours, rates["jax"], strict=True)]),
        ratio([rounded / theirs for rounded, theirs in zip(rates["bf16"], rates["jax"], strict=True)]),
        ratio([mine / floor for mine, floor in zip(ours, rates["products"], strict=True)]),
        " / ".join(f"{answers[name][-1].bound:.1f}" for name in ("pack", "bf16", "eager", "jax")),
    ]


def main() -> None:
    """Measure all four shapes and print the table."""
    words = parser("Trial-steps a second on one core: packs, eager PyTorch, JAX")
    words.add_argument("--rounds", type=int, default=10)
    words.add_argument("--seconds", type=float, default=1.0, help="about how long one timed request trains")
    words.add_argument("--core", type=int, default=0, help="core to which all contestants are pinned; -1: none")
    words.add_argument("--only", help="only one shape, such as 784x1")
    asked = words.parse_args()
    shapes = [shape for shape in SHAPES if asked.only in (None, f"{shape[0]}x{shape[1]}")]
    with ExitStack() as stack:
        names = [*REPLICAS, "products"]
        contestants = {name: stack.enter_context(started(name, asked.core)) for name in names}
        rows = [compare(contestants, n_x, k, asked.rounds, asked.seconds) for n_x, k in shapes]
    header = [
        "pixels",
        "K",
        "pack, trial-steps/s",
        "bf16",
        "eager",
        "JAX",
        "pack : eager",
        "pack : JAX",
        "bf16 : JAX",
        "share of the products",
        "bound, pack / bf16 / eager / JAX",
    ]
    notes = [
        f"Model pixels-200-200-{N_Z}-200-200-pixels, softplus, Bernoulli, batch {BATCH}, Adam, pixels binarised "
        "and noise drawn "
        "anew in every step; compiling and the first epoch are not counted; one thread, all pinned to the same core; "
        "seconds are of the processor, so that what else the machine does counts less.",
        f"{asked.rounds} rounds of about {asked.seconds:g} s each, the contestants taking turns; medians of the "
        "rounds' ratios, "
        "with the order statistics that hold the true median with 95%. Above 1 the pack is faster.",
        "bf16: the pack with `run.precision: bf16`, which rounds the factors of its matrix products; JAX computes in "
        "float32, as the pack does without it.",
        "R: the size that was fastest, of 1, 4, 6, 8 (packs) and 1, 4, 8 (JAX: vmap over replicas, scan over "
        "steps, XLA's own "
        "random generator). Replicas of the pack have seeds of their own: where a pack shares seeds, as in a grid with "
        "warm-ups, it draws less.",
        "Share of the products: time of the step's matrix products alone (batched, the same sizes, buffers given) over the "
        "time of the whole step.",
        "Bound: mean of the last epoch, nats per example; the contestants saw unequal numbers of epochs.",
    ]
    publish(
        page("Training", "How fast does a pack train, against one trial at a time and against JAX?", header, rows, notes),
        asked.out,
    )


if __name__ == "__main__":
    main()
