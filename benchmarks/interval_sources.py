"""Measures what an interval over seeds leaves out: other test images, other binarisations and other importance samples.

python -m benchmarks.interval_sources results/quickstart [--draws 20] [--out benchmarks/interval_sources.md]
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.averages.average import select
from analysis.averages.one_factor import usual_base
from analysis.latent.models import TrainedModel, read_model
from analysis.loading.load import load
from analysis.loading.study import Study
from benchmarks.table import page, parser, publish
from workers.data.images import known, load_images
from workers.data.subset import subset
from workers.measure.importance import weigh
from workers.model.inputs import Data, data_from
from workers.model.networks import encode

Floats = NDArray[np.float64]


@torch.no_grad()
def nll_per_image(model: TrainedModel, x: torch.Tensor, samples: int, generator: torch.Generator) -> Floats:
    """Estimate -L_S of every image, nats per example."""
    inputs = x.double().unsqueeze(0)
    first = encode(model.network, inputs)
    shapes = [(1, samples, len(x), width) for width in model.network.architecture.latent]
    noise = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    _, log_w = weigh(model.network, inputs, first, noise)
    return (math.log(samples) - torch.logsumexp(log_w, 1))[0].numpy()


def data_of(model: TrainedModel) -> Data:
    """Return the images of a trial."""
    settings = model.settings
    images = subset(load_images(settings.data), settings.data)
    return data_from(images, known(settings.data).fingerprint, settings.measure, torch.device("cpu"), settings.data.input)


def models_of(study: Study, cell: Mapping[str, Any]) -> list[TrainedModel]:
    """Read the completed models of a cell, one per seed."""
    trials = select(study, cell)
    return [read_model(study, one) for one in trials.loc[trials["status"] == "completed", "trial_id"]]


def spread(fixed: Floats, binarised: Floats, sampled: Floats) -> tuple[float, float, float, float, float]:
    """Return the mean, its SE over seeds and over images, and the sd of the mean under other binarisations and samples.

    Args:
        fixed: [seed, image] on the stored binarisation.
        binarised: the mean over seeds and images, one per other binarisation.
        sampled: the same with other importance samples on the stored binarisation.
    """
    seeds, images = fixed.shape
    over_seeds = float(fixed.mean(axis=1).std(ddof=1) / np.sqrt(seeds))
    over_images = float(fixed.mean(axis=0).std(ddof=1) / np.sqrt(images))
    return float(fixed.mean()), over_seeds, over_images, float(binarised.std(ddof=1)), float(sampled.std(ddof=1))


def measure(models: list[TrainedModel], data: Data, samples: int, draws: int) -> tuple[Floats, Floats, Floats]:
    """Return nll per [seed, image] on the stored images, and per [draw, seed, image] on other binarisations and samples."""
    if data.other_test is None or data.input == "grey":
        raise SystemExit("these images are not binarised; take a study with data.input: dynamic, static or threshold")
    grey = data.other_test
    # Cells get the same images and the same noise, so that their differences are those of the models.
    generator = torch.Generator().manual_seed(0)
    others = [(torch.rand(grey.shape, generator=generator) < grey).float() for _ in range(draws)]

    def of(x: torch.Tensor, seed: int) -> list[Floats]:
        return [nll_per_image(model, x, samples, torch.Generator().manual_seed(seed)) for model in models]

    fixed = np.array(of(data.test, 1))
    binarised = np.array([of(x, 1) for x in others])
    return fixed, binarised, np.array([of(data.test, 2 + draw) for draw in range(draws)])


def main() -> None:
    """Measure the base cell at the largest and the smallest K, and their difference."""
    asked = parser(__doc__ or "")
    asked.add_argument("study", type=Path, help="folder of a study whose weights are stored")
    asked.add_argument("--draws", type=int, default=20, help="other binarisations, and other importance samples")
    options = asked.parse_args()
    study = load(options.study)
    base = usual_base(study)
    levels = sorted({max(study.factors["k"]), min(study.factors["k"])}, reverse=True)
    found, rows = {}, []
    for k in levels:
        models = models_of(study, {**base, "k": k})
        samples = models[0].settings.measure.nll_samples
        found[k] = measure(models, data_of(models[0]), samples, options.draws)
        fixed, binarised, sampled = found[k]
        rows.append((f"nll at K = {k}", *spread(fixed, binarised.mean(axis=(1, 2)), sampled.mean(axis=(1, 2)))))
    if len(levels) > 1:
        many, few = (found[k] for k in levels)
        fixed, binarised, sampled = (a - b for a, b in zip(many, few, strict=True))
        title = f"nll at K = {levels[0]} less K = {levels[1]}"
        rows.append((title, *spread(fixed, binarised.mean(axis=(1, 2)), sampled.mean(axis=(1, 2)))))
    shown = [[name, *(f"{number:.3f}" for number in numbers)] for name, *numbers in rows]
    seeds, images = fixed.shape
    notes = [
        f"The cell: {study.labels.in_words({name: level for name, level in base.items() if name != 'k'})}; {seeds} seeds, "
        f"{images} test images, {samples} importance samples, {options.draws} draws; all numbers in nats per example.",
        "SE over images: sd over images of the mean over seeds, divided by the root of the number of images.",
        "Other binarisations: sd of the mean over seeds and images when the same images are binarised anew; other samples: "
        "the same when only the noise of nll is drawn anew. Both cells get the same binarisations and the same noise.",
    ]
    header = ["what", "mean", "SE over seeds", "SE over images", "sd of other binarisations", "sd of other samples"]
    question = "An interval in the report is over seeds alone. How far do the images move the same numbers?"
    publish(page("Sources of an interval", question, header, shown, notes), options.out)


if __name__ == "__main__":
    main()
