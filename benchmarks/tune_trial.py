"""One trial of the peer on Ray Tune, in its own module so that Ray's workers find it."""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from ray import tune

from benchmarks.eager import Autoencoder, adam, measure, step
from workers.contract.settings import DataSettings
from workers.data.files import read_images


@lru_cache(maxsize=1)
def _images(name: str, root: str | None) -> tuple[Any, Any]:
    images = read_images(DataSettings(name=name, root=root))
    scale = 255 if images.train.dtype == "uint8" else 1
    train, test = (torch.from_numpy(part.reshape(len(part), -1)).float() / scale for part in (images.train, images.test))
    return train, (torch.rand(test.shape, generator=torch.Generator().manual_seed(0)) < test).float()


def _batches(train: Any, in_memory: bool) -> Iterator[Any]:
    if in_memory:
        yield from (train[chosen] for chosen in torch.randperm(len(train)).split(100))
    else:
        dataset = torch.utils.data.TensorDataset(train)
        yield from (pixels for (pixels,) in torch.utils.data.DataLoader(dataset, batch_size=100, shuffle=True))


def train_one(space: Mapping[str, Any]) -> None:
    """Run one trial: train, measure and report every epoch, and the nll at the end."""
    config = space["trial"]
    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    train, test = _images(config["data"], config["root"])
    model = Autoencoder(train.shape[1], config["n_z"], config["decoder"], config["batch_norm"])
    optimizer = adam(model)
    measured = (torch.rand_like(train[: config["images"]]) < train[: config["images"]]).float()
    for epoch in range(1, config["epochs"] + 1):
        beta = min(1.0, (epoch - 1) / config["warmup"]) if config["warmup"] else 1.0
        values = [step(model, optimizer, pixels, config["k"], beta) for pixels in _batches(train, config["tuned"])]
        bound, active = measure(model, measured, test, config["k"])
        objective = float(torch.stack(values).mean())
        tune.report({"epoch": epoch, "objective": objective, "test_bound": bound, "active_units": active})
    with torch.no_grad():
        model.eval()
        samples = config["nll_samples"]
        log_w = [torch.cat([sum(model(x, 1)[:2]) for _ in range(samples)]) for x in test.split(100)]
        nll = math.log(samples) - float(torch.cat([torch.logsumexp(part, 0) for part in log_w]).mean())
    tune.report({"epoch": config["epochs"], "nll": nll})
