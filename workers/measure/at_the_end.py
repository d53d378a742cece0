"""Take the expensive measurements once, at the end of training: nll and other bounds, ablations, and other readings."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workers.contract.column import refuse_other_fields
from workers.contract.columns import MEASURED_AT_THE_END
from workers.contract.settings import MeasureSettings
from workers.contract.streams import Stream
from workers.measure.importance import bound_of, importance_bounds
from workers.measure.information import mutual_information
from workers.measure.posterior import Posterior, Statistics, evaluation_model, posterior_of, saturated_share
from workers.measure.slices import chunks
from workers.measure.to_host import on_host
from workers.model.architecture import Architecture
from workers.model.densities import bernoulli_log_likelihood
from workers.model.inputs import Data
from workers.model.networks import (
    Model,
    Parameters,
    Replace,
    decoder_log_variance,
    encode,
    pixel_mean_of,
    pixels,
    sample_latents,
)
from workers.replicas.seeds import Seeds

LOW_THRESHOLD = 0.01
"""The threshold of activity of Burda et al. 2016; units are ablated at this threshold and at that of the study."""


@dataclass(frozen=True)
class Final:
    """The columns measured at the end (see workers/contract/columns.py), one entry per replica; NaN where not applicable."""

    nll: Float[Tensor, "replica"]
    l_1: Float[Tensor, "replica"]
    l_5: Float[Tensor, "replica"]
    l_64: Float[Tensor, "replica"]
    nll_comparable: Float[Tensor, "replica"]
    test_mse: Float[Tensor, "replica"]
    test_cross_entropy: Float[Tensor, "replica"]
    saturated_pixels: Float[Tensor, "replica"]
    mutual_information: Float[Tensor, "replica"]
    marginal_kl: Float[Tensor, "replica"]
    ablation_low: Float[Tensor, "replica"]
    ablation_between: Float[Tensor, "replica"]
    ablation_low_elbo: Float[Tensor, "replica"]
    ablation_between_elbo: Float[Tensor, "replica"]
    bound_bin: Float[Tensor, "replica"]
    activity_bin: Float[Tensor, "replica _unit"]
    activity_grey: Float[Tensor, "replica _unit"]


refuse_other_fields("Final", (field.name for field in fields(Final)), MEASURED_AT_THE_END)


@torch.no_grad()
def measure_final(
    parameters: Parameters,
    architecture: Architecture,
    data: Data,
    seeds: Seeds,
    measure: MeasureSettings,
    epoch: int,
    running: Statistics | None = None,
    look: Callable[[], None] = lambda: None,
) -> Final:
    """Take all measurements of the end, on the test images unless workers/contract/columns.py states other images.

    `look` is called before every part of the longest of them; it may raise an error to end the measurement.
    """
    model, train = evaluation_model(parameters, architecture, data.measured, seeds, epoch, running)
    train = train or posterior_of(model, data.measured, seeds, Stream.MEASURED_NOISE, epoch)
    pixel = pixel_measures(model, data, seeds, epoch)
    information = mutual_information(model, data.measured, seeds, epoch)
    final = Final(
        **importance_bounds(model, data, seeds, measure.nll_samples, epoch, look),
        **pixel,
        **information,
        **ablations(model, data.test, seeds, train, measure, epoch, look),
        **_other_reading(model, data, seeds, measure.secondary_samples, epoch, look),
    )
    return on_host(final)


@torch.no_grad()
def pixel_measures(model: Model, data: Data, seeds: Seeds, epoch: int) -> dict[str, Float[Tensor, "replica"]]:
    """Measure how close E[x|z] is to x, with one sample of z per image.

    test_mse is the squared error per pixel. test_cross_entropy, in nats per example, is that of Bernoulli pixels with mean
    E[x|z], kept 1e-6 away from 0 and 1, whatever the decoder. saturated_pixels is the share of the Gaussian decoder's
    log-variances at an end of tanh or of the clamp.
    """
    ends = _ends_of_pixels(model.architecture)
    totals = torch.zeros(3, len(seeds.index), dtype=torch.float64, device=data.test.device)
    for part, start, x in chunks(data.test, seeds):
        inputs = x.expand(len(seeds.index), -1, -1)
        noise = seeds.normals(Stream.SECONDARY_NOISE, epoch, (1, len(x)), model.architecture.latent, part, (0, start))
        first = encode(model, inputs)
        z = sample_latents(model, first, noise)[0].z
        heads = pixels(model, z)
        mean = pixel_mean_of(model.architecture, heads).double().clamp(1e-6, 1 - 1e-6)
        totals[0] += (inputs.unsqueeze(1) - mean).square().mean(-1).sum((1, 2))
        totals[1] -= bernoulli_log_likelihood(inputs.double(), torch.logit(mean)).sum((1, 2))
        if ends:
            totals[2] += saturated_share(decoder_log_variance(model, heads), *ends) * len(x)
        else:
            totals[2] += torch.nan
    mse, cross_entropy, saturated = totals / len(data.test)
    return {"test_mse": mse, "test_cross_entropy": cross_entropy, "saturated_pixels": saturated}


def _ends_of_pixels(architecture: Architecture) -> tuple[float, float] | None:
    if architecture.decoder != "gaussian":
        return None
    limit = architecture.decoder_logvar_limit
    return {"tanh": (-1.0, 1.0), "linear_clamped": (-limit, limit)}.get(architecture.decoder_logvar)


@torch.no_grad()
def ablations(
    model: Model,
    test: Float[Tensor, "test pixel"],
    seeds: Seeds,
    train: Posterior,
    measure: MeasureSettings,
    epoch: int,
    look: Callable[[], None] = lambda: None,
) -> dict[str, Float[Tensor, "replica"]]:
    """Return the changes of L_S and L_1, in nats per example, when inactive units carry no information about the image.

    S is secondary_samples, and all bounds use the same noise. "low" replaces units of activity at most 0.01; "between"
    replaces units above that and at most the study's threshold; "_elbo" is the change of L_1. A change is 0 if there is no
    such unit.

    q_u becomes the prior N(0, 1), which still gives a bound. Below the top of a deep model the prior depends on the layer
    above, so q_u becomes the Gaussian with the unit's own mean and variance over images. Because log p(x) does not depend on
    q, L_S changes less the larger S is, and not at all in the limit; L_1 shows the whole contribution of a unit.
    """
    samples = measure.secondary_samples
    is_low = ~(train.activity > LOW_THRESHOLD)
    masks = {"ablation_low": is_low, "ablation_between": ~(train.activity > measure.threshold) & ~is_low}
    nothing = torch.zeros(len(seeds.index), dtype=torch.float64, device=test.device)
    found = dict.fromkeys([name + kind for kind in ("", "_elbo") for name in masks], nothing)
    if not any(bool(mask.any()) for mask in masks.values()):
        return found
    whole = bound_of(model, test, seeds, samples, epoch, look=look)
    for name, mask in masks.items():
        if mask.any():
            swap = _silence(model.architecture, mask, train)
            without = bound_of(model, test, seeds, samples, epoch, swap, look)
            found[name], found[f"{name}_elbo"] = (a - b for a, b in zip(without, whole, strict=True))
    return found


def _silence(architecture: Architecture, mask: Bool[Tensor, "replica unit"], train: Posterior) -> Replace:
    """Return a Replace that gives the units of a mask a q_u that does not depend on the image."""
    own = train.mean.float(), torch.log(train.activity + train.variance).float()
    masks, means, log_variances = (whole.split(list(architecture.latent), -1) for whole in (mask, *own))

    def put(layer: int, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
        is_top = layer == len(architecture.latent) - 1
        shape = masks[layer][:, None, None]
        to = [torch.zeros_like(v[layer]) if is_top else v[layer] for v in (means, log_variances)]
        return tuple(torch.where(shape, new[:, None, None], old) for new, old in zip(to, (mean, log_variance), strict=True))  # type: ignore[return-value]

    return put


def _other_reading(
    model: Model, data: Data, seeds: Seeds, samples: int, epoch: int, look: Callable[[], None]
) -> dict[str, Tensor]:
    """Measure on pixels that are read in another way than in training.

    A model of grey pixels is given one binarisation of the images; a model of binary pixels is given the grey images.
    """
    none = torch.zeros(len(seeds.index), 0)
    found: dict[str, Tensor] = {
        "bound_bin": torch.full((len(seeds.index),), torch.nan, dtype=torch.float64),
        "activity_bin": none,
        "activity_grey": none,
    }
    if data.other_measured is None or data.other_test is None:
        return found
    other = posterior_of(model, data.other_measured, seeds, Stream.MEASURED_NOISE, epoch)
    found["activity_bin" if data.input == "grey" else "activity_grey"] = other.activity
    if data.input == "grey" and model.architecture.decoder != "continuous_bernoulli":
        found["bound_bin"], _ = bound_of(model, data.other_test, seeds, samples, epoch, look=look)
    return found
