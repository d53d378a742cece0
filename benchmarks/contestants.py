"""The processes that compete in benchmarks.training: each answers a question with one line of JSON: how long it trained.

python -m benchmarks.contestants NAME CORE reads {"n_x", "k", "replicas", "epochs"} and writes {"seconds", "steps", "bound"};
`steps` are trial-steps; `seconds` exclude building, compiling and the first pass.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial

N_Z = 50
BATCH = 100

Epoch = Callable[[], float]
"""Trains one epoch of all replicas and returns the mean bound that it saw, nats per example."""


def pack(n_x: int, k: int, replicas: int, precision: str = "ieee") -> tuple[Epoch, int]:
    """Return an epoch of this project's learner and its trial-steps; replicas differ in seed and share no random number."""
    import torch

    from benchmarks.images import digits
    from workers.contract.settings import MeasureSettings
    from workers.contract.settings_table import settings_from
    from workers.contract.trial import Pack, trial_of
    from workers.data.arrays import Images
    from workers.model.inputs import data_from
    from workers.replicas.device import prepare_device
    from workers.train.learner import Learner

    device = prepare_device("cpu", precision)
    images = digits(n_x)
    data = data_from(Images(images, images[:100], None, None), "0" * 64, MeasureSettings(images=100), device)
    settings = [settings_from({"n_z": N_Z, "k": k, "seed": seed, "training.epochs": 1000}) for seed in range(replicas)]
    trials = tuple(trial_of(each, "0" * 64) for each in settings)
    learner = Learner(Pack(pack_id="0" * 16, trials=trials, borders=(1000,)), data, torch.device("cpu"))
    epoch = 0

    def train() -> float:
        nonlocal epoch
        epoch += 1
        return float(learner.train_epoch(epoch)[1].mean())

    return train, replicas * learner.steps_an_epoch


def eager(n_x: int, k: int, replicas: int) -> tuple[Epoch, int]:
    """Return an epoch of one trial after the other, as a user would write it, and its trial-steps."""
    import torch

    from benchmarks.eager import Autoencoder, adam, step
    from benchmarks.images import digits

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    images = torch.from_numpy(digits(n_x))
    models = [Autoencoder(n_x, N_Z) for _ in range(replicas)]
    optimizers = [adam(model) for model in models]

    def train() -> float:
        total = torch.zeros(())
        for model, optimizer in zip(models, optimizers, strict=True):
            for chosen in torch.randperm(len(images)).split(BATCH):
                total += step(model, optimizer, images[chosen], k)
        return float(total) / (replicas * len(images) / BATCH)

    return train, replicas * len(images) // BATCH


def jax(n_x: int, k: int, replicas: int) -> tuple[Epoch, int]:
    """Return an epoch as one program compiled by JAX, a scan over steps mapped over replicas, and its trial-steps."""
    from benchmarks.jax_pack import compiled_epoch

    return compiled_epoch(n_x, N_Z, k, replicas, BATCH)


def products(n_x: int, k: int, replicas: int) -> tuple[Epoch, int]:
    """Return the matrix products of an epoch, a lower bound for the time of the others, and its trial-steps."""
    import torch

    torch.set_num_threads(1)
    layers = [(n_x, 200, 1), (200, 200, 1), (200, N_Z, 1), (200, N_Z, 1), (N_Z, 200, k), (200, 200, k), (200, n_x, k)]
    inputs = [torch.randn(replicas, BATCH * samples, n_in) for n_in, _, samples in layers]
    weights = [torch.randn(replicas, n_in, n_out) for n_in, n_out, _ in layers]
    outputs = [torch.randn(replicas, BATCH * samples, n_out) for _, n_out, samples in layers]
    space = [tuple(torch.empty_like(part) for part in parts) for parts in zip(inputs, weights, outputs, strict=True)]
    steps = len_of_epoch()

    def train() -> float:
        for _ in range(steps):
            for i, (x, w, y, (dx, dw, out)) in enumerate(zip(inputs, weights, outputs, space, strict=True)):
                torch.bmm(x, w, out=out)
                torch.bmm(x.transpose(1, 2), y, out=dw)
                if i:  # the gradient of the pixels is not needed
                    torch.bmm(y, w.transpose(1, 2), out=dx)
        return float("nan")

    return train, replicas * steps


def len_of_epoch() -> int:
    """Return the number of steps in one pass over the images."""
    from benchmarks.images import N

    return N // BATCH


NAMES: dict[str, Callable[[int, int, int], tuple[Epoch, int]]] = {
    "pack": pack,
    "bf16": partial(pack, precision="bf16"),
    "eager": eager,
    "jax": jax,
    "products": products,
}


def main(name: str, core: int) -> None:
    """Answer questions until the input ends."""
    if core >= 0:
        os.sched_setaffinity(0, {core})
    built: dict[tuple[int, int, int], tuple[Epoch, int]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        key = (asked["n_x"], asked["k"], asked["replicas"])
        if key not in built:
            built = {key: NAMES[name](*key)}
            built[key][0]()
        train, steps = built[key]
        started = time.process_time()
        bound = [train() for _ in range(asked["epochs"])][-1]
        seconds = time.process_time() - started
        print(json.dumps({"seconds": seconds, "steps": steps * asked["epochs"], "bound": bound}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
