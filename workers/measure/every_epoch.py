"""Measure a pack after every epoch, on fixed images and at beta 1."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from workers.contract.column import refuse_other_fields
from workers.contract.columns import MEASURED_EVERY_EPOCH
from workers.contract.streams import Stream
from workers.measure.importance import weigh
from workers.measure.posterior import Code, Statistics, evaluation_model, posterior_of, posterior_of_codes
from workers.measure.slices import chunks
from workers.measure.to_host import on_host
from workers.model.architecture import Architecture
from workers.model.inputs import Data, measured_at
from workers.model.networks import Parameters, encode, kl_of_layers, sample_latents
from workers.model.objective import effective_share, iwae_bound
from workers.replicas.seeds import Seeds


@dataclass(frozen=True)
class Measurement:
    """The columns of every epoch (see workers/contract/columns.py), one entry per replica; NaN where not applicable."""

    test_bound: Float[Tensor, "replica"]
    test_elbo: Float[Tensor, "replica"]
    test_reconstruction: Float[Tensor, "replica"]
    test_kl: Float[Tensor, "replica"]
    ess: Float[Tensor, "replica"]
    saturated_mean: Float[Tensor, "replica"]
    saturated_log_variance: Float[Tensor, "replica"]
    activity: Float[Tensor, "replica unit"]
    activity_test: Float[Tensor, "replica unit"]
    activity_pca: Float[Tensor, "replica unit"]
    kl_per_unit: Float[Tensor, "replica unit"]
    kl_per_unit_test: Float[Tensor, "replica unit"]
    posterior_mean: Float[Tensor, "replica unit"]
    posterior_variance: Float[Tensor, "replica unit"]
    reconstruction_per_class: Float[Tensor, "replica label"]


refuse_other_fields("Measurement", (field.name for field in fields(Measurement)), MEASURED_EVERY_EPOCH)


@torch.no_grad()
def measure(
    parameters: Parameters,
    architecture: Architecture,
    data: Data,
    seeds: Seeds,
    k: int,
    epoch: int,
    running: Statistics | None = None,
) -> Measurement:
    """Measure every replica on the fixed training and test images; all bounds at beta 1."""
    images = measured_at(data, epoch)
    model, train = evaluation_model(parameters, architecture, images, seeds, epoch, running)
    train = train or posterior_of(model, images, seeds, Stream.MEASURED_NOISE, epoch)
    codes, sampled = [], []
    for part, start, x in chunks(data.test, seeds, k):
        noise = seeds.normals(Stream.TEST_NOISE, epoch, (k, len(x)), architecture.latent, part, (0, start))
        inputs = x.expand(len(seeds.index), -1, -1)
        first = encode(model, inputs)
        log_px, log_w = weigh(model, inputs, first, noise)
        one = sample_latents(model, first, [drawn[:, :1] for drawn in noise])
        codes.append(Code(one, kl_of_layers(model, one)))
        sampled.append((iwae_bound(log_w), log_w.mean(1), log_px.mean(1), effective_share(log_w)))
    bound, elbo, reconstruction, ess = (torch.cat(column, dim=-1) for column in zip(*sampled, strict=True))
    test = posterior_of_codes(codes, architecture)
    measured = Measurement(
        test_bound=bound.mean(-1),
        test_elbo=elbo.mean(-1),
        test_reconstruction=reconstruction.mean(-1),
        test_kl=test.kl.sum(-1),
        ess=ess.mean(-1),
        saturated_mean=train.saturated_mean,
        saturated_log_variance=train.saturated_log_variance,
        activity=train.activity,
        activity_test=test.activity,
        activity_pca=train.activity_pca,
        kl_per_unit=train.kl,
        kl_per_unit_test=test.kl,
        posterior_mean=train.mean,
        posterior_variance=train.variance,
        reconstruction_per_class=_per_class(reconstruction, data),
    )
    return on_host(measured)


def _per_class(reconstruction: Tensor, data: Data) -> Tensor:
    """Return the mean log p(x|z) of the test images of each class; NaN for a class without images, empty without labels."""
    if data.test_classes is None:
        return reconstruction.new_zeros(len(reconstruction), 0)
    # Not one_hot, which reads the classes on the host.
    classes = torch.arange(data.n_classes, device=reconstruction.device)
    member = (data.test_classes.unsqueeze(1) == classes).to(reconstruction.dtype)
    return (reconstruction @ member) / member.sum(0)
