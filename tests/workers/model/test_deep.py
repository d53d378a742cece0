"""Several stochastic layers: a linear-Gaussian chain, whose answers are known, and random ones against the float64 reference."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from tests.workers import reference, tiny
from tests.workers.many_draws import learner_of, set_noise
from workers.contract.streams import Stream, generator
from workers.measure.every_epoch import measure
from workers.model import networks
from workers.model.architecture import architecture_of, initial_parameters
from workers.model.layers import batch_statistics
from workers.model.networks import encode, kl_of_layers, log_ratio, sample_latents
from workers.model.objective import log_prior_ratio, reparameterise
from workers.replicas.seeds import Seeds

RANGE = 100.0
"""A bias that keeps every relu where it is the identity."""

DEPTHS = pytest.mark.parametrize("depth", [2, 3], ids=["two_layers", "three_layers"])
SAMPLES = pytest.mark.parametrize("k", [1, 5])


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


class Chain:
    """z_L ~ N(0, I), z_l = A_l z_l+1 + s_l N(0, I), x = z_0; every true posterior p(z_l+1|z_l) a product over units.

    From the top: A_l' A_l / s_l^2 + cov(z_l+1)^-1 is made a diagonal, the precision of p(z_l+1|z_l).
    """

    def __init__(self, depth, n_x=4, batch=6):
        rng = np.random.default_rng(depth)
        covariance, self.a, self.s, self.precision = np.eye(2), {}, {}, {}
        for layer in reversed(range(depth)):
            inverse = np.linalg.inv(covariance)
            precision = np.diag(np.linalg.eigvalsh(inverse).max() + np.array([0.7, 2.0]))
            s = self.s[layer] = 0.6 + 0.1 * layer
            columns = np.linalg.qr(rng.standard_normal((n_x if layer == 0 else 2, 2)))[0]
            self.a[layer] = s * columns @ np.real(scipy.linalg.sqrtm(precision - inverse))
            self.precision[layer] = precision
            covariance = self.a[layer] @ covariance @ self.a[layer].T + s**2 * np.eye(len(self.a[layer]))
        marginal = scipy.stats.multivariate_normal(np.zeros(n_x), covariance)
        self.x = torch.from_numpy(marginal.rvs(batch, random_state=0))
        self.log_px = torch.from_numpy(marginal.logpdf(self.x.numpy()))

    def log_likelihood(self, model, x, z):
        """In the place of the pixels' density, whose mean is a sigmoid of a linear function and never linear."""
        return Normal(z @ torch.from_numpy(self.a[0]).T, self.s[0]).log_prob(x[:, None]).sum(-1)

    def learner(self, **values):
        """Whose networks are this chain: q(z_l+1|z_l) the true posteriors, p(z_l|z_l+1) the conditional priors."""
        depth = len(self.a)
        above = "-".join(["2-z2"] * (depth - 1))
        learner = learner_of(
            1, n_x=4, n_z=2, model__hidden=(2,), model__activation="relu", model__layers_above=above, **values
        )
        with torch.no_grad():
            for layer in range(depth):
                variance = np.linalg.inv(self.precision[layer])
                up = variance @ self.a[layer].T / self.s[layer] ** 2
                set_linear(learner.parameters, f"encoder{layer + 1 if layer else ''}", up, np.log(np.diag(variance)))
                if layer > 0:
                    set_linear(
                        learner.parameters, f"decoder{layer + 1}", self.a[layer], 2 * np.log(self.s[layer]) * np.ones(2)
                    )
        return learner


def set_linear(parameters, side, matrix, log_variance):
    """A network whose mean is matrix @ h, through one layer of relus, and whose log-variance is constant."""
    # Two hidden units: a matrix [2, in] stands before them, a matrix [2, 2] as well.
    parameters[f"{side}.hidden0.weight"][0] = torch.from_numpy(matrix.T)
    parameters[f"{side}.hidden0.bias"].fill_(RANGE)
    parameters[f"{side}.mean.weight"][0] = torch.eye(2)
    parameters[f"{side}.mean.bias"].fill_(-RANGE)
    parameters[f"{side}.log_variance.weight"].zero_()
    parameters[f"{side}.log_variance.bias"][0, 0] = torch.from_numpy(log_variance)


def noise_of(seed, k, batch, latent):
    return [normal([seed, layer], 1, k, batch, n_z) for layer, n_z in enumerate(latent)]


FORMS = {
    "iwae": {},
    "vae": {"objective__bound": "vae"},
    "outside": {"objective__beta_place": "outside"},
    "stl": {"objective__gradient": "stl"},
    "dreg": {"objective__gradient": "dreg"},
}


# ---- the chain ----


@DEPTHS
@SAMPLES
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_with_the_true_posterior_every_sample_gives_log_px(form, k, depth, monkeypatch):
    """All log weights are log p(x): so is the bound, whatever is drawn and however many samples."""
    chain = Chain(depth)
    learner = chain.learner(k=k, objective__kl="sampled", **form)
    monkeypatch.setattr("workers.train.learner.log_likelihood", chain.log_likelihood)
    set_noise(learner, noise_of(k, k, 6, [2] * depth))
    for found in learner._objective(chain.x[None], torch.ones(1, 1, 1, dtype=torch.float64), 1):
        torch.testing.assert_close(found[0], chain.log_px, rtol=0, atol=1e-10)


@DEPTHS
@SAMPLES
@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_with_the_true_posterior_no_path_has_a_derivative(gradient, k, depth, monkeypatch):
    """Roeder et al. 2017: the encoder's gradient is 0 at every draw; the standard one is so in the mean alone."""
    chain, found = Chain(depth), {}
    monkeypatch.setattr("workers.train.learner.log_likelihood", chain.log_likelihood)
    for name in ("standard", gradient):
        learner = chain.learner(k=k, objective__kl="sampled", objective__gradient=name)
        set_noise(learner, noise_of(k, k, 6, [2] * depth))
        objective, _ = learner._objective(chain.x[None], torch.ones(1, 1, 1, dtype=torch.float64), 1)
        names = [n for n in learner.parameters if n.startswith("encoder")]
        found[name] = torch.autograd.grad(objective.sum(), [learner.parameters[n] for n in names])
    assert min(g.abs().max() for g in found["standard"]) > 0.1
    assert max(g.abs().max() for g in found[gradient]) < 1e-9


@DEPTHS
def test_kl_of_layers_is_that_of_the_joint_distributions(depth):
    """An encoder beside the true one, on the same side of every relu; the terms are quadratic in the noise, so three nodes a number are exact."""
    learner = Chain(depth).learner(k=1)
    with torch.no_grad():
        for i, (name, p) in enumerate(learner.parameters.items()):
            if name.startswith("encoder"):
                p += 0.01 * normal(i, *p.shape) * (0.0 if "log_variance.weight" in name else 1.0)
        x = normal(5, 1, 4)
        points, weights = np.polynomial.hermite_e.hermegauss(3)
        index = torch.cartesian_prod(*[torch.arange(3)] * (2 * depth))
        noise = torch.from_numpy(points)[index].T.reshape(depth, 2, -1)
        weight = torch.from_numpy(weights / weights.sum())[index].prod(1)
        model = networks.Model(learner.parameters, learner.architecture, batch_statistics())
        first = tuple(t.expand(1, 1, len(weight), 2) for t in encode(model, x[None]))
        latents = sample_latents(model, first, [drawn.T[None, None] for drawn in noise])
        kl = kl_of_layers(model, latents)
        sampled = -log_ratio(model, latents)[0, 0]
        expected = kl_divergence(*joints(learner.parameters, x, depth))
    assert kl.shape == (1, len(weight), 2 * depth)
    torch.testing.assert_close((weight * kl[0].sum(-1)).sum(), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close((weight * sampled).sum(), expected, rtol=1e-10, atol=1e-10)


def linear(parameters, side):
    """Matrix, shift and variances of a network made by set_linear."""
    p = {name: tensor[0].detach() for name, tensor in parameters.items()}
    w, v = p[f"{side}.hidden0.weight"].T, p[f"{side}.mean.weight"].T
    shift = v @ p[f"{side}.hidden0.bias"][0] + p[f"{side}.mean.bias"][0]
    return v @ w, shift, p[f"{side}.log_variance.bias"][0].exp()


def joints(parameters, x, depth):
    """q(z_1 ... z_L|x) and p(z_1 ... z_L) as Gaussians of all units: an affine map of independent noise each."""
    n = 2 * depth
    distributions = []
    for sides in (
        [f"encoder{i + 1 if i else ''}" for i in range(depth)],
        [*(f"decoder{i + 1}" for i in range(1, depth)), None],
    ):
        upwards = sides[-1] is not None
        mean, root = torch.zeros(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
        for i in range(depth) if upwards else reversed(range(depth)):
            here = slice(2 * i, 2 * i + 2)
            if sides[i] is None:
                root[here, here] = torch.eye(2)
                continue
            matrix, shift, variance = linear(parameters, sides[i])
            other = slice(2 * i - 2, 2 * i) if upwards else slice(2 * i + 2, 2 * i + 4)
            from_mean = x[0] if upwards and i == 0 else mean[other]
            mean[here] = matrix @ from_mean + shift
            if not (upwards and i == 0):
                root[here] = matrix @ root[other]
            root[here, here] += variance.sqrt().diag()
        distributions.append(MultivariateNormal(mean, root @ root.T))
    return distributions


# ---- random models against the reference ----

ABOVE = {"two": "5-z2", "three": "5-4-z3-4-z2"}
MODELS = {
    "plain": {},
    "batch_norm": {"batch_norm": True},
    "batch_norm_of_latents": {"batch_norm": True, "model__bn_scope": "hidden_and_latent"},
    "gaussian": {"decoder": "gaussian", "model__decoder_logvar": "global", "model__decoder_logvar_value": -0.5},
    "burda": {"model__activation": "tanh", "model__encoder_logvar_head": "linear_sd"},
    "heads": {
        "model__encoder_mean_head": "sigmoid",
        "model__encoder_logvar_head": "softplus",
        "model__activation": "leaky_relu",
    },
}
OBJECTIVES = {
    "iwae": {},
    "k1": {"k": 1},
    "vae_sampled": {"objective__bound": "vae"},
    "outside": {"objective__beta_place": "outside"},
    "stl": {"objective__gradient": "stl"},
    "dreg": {"objective__gradient": "dreg"},
}


@pytest.mark.parametrize("above", ABOVE.values(), ids=ABOVE)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("form", OBJECTIVES.values(), ids=OBJECTIVES)
def test_objective_bound_and_gradient_are_the_references(form, model, above):
    """In float64, 1e-9 of what rounding may do in a step."""
    values = {
        "k": 5,
        "n_z": 3,
        "model__hidden": (6, 5),
        "model__activation": "tanh",
        "model__layers_above": above,
        **model,
        **form,
    }
    settings, learner = tiny.settings(**values), learner_of(1, n_x=4, spread=0.3, **values)
    x, noise, beta = (
        torch.from_numpy(np.random.default_rng(3).random((7, 4))).round(),
        noise_of(4, settings.k, 7, learner.architecture.latent),
        0.6,
    )
    set_noise(learner, noise)
    objective, bound = learner._objective(x[None], torch.full((1, 1, 1), beta, dtype=torch.float64), 1)
    gradients = torch.autograd.grad(-objective.mean(-1).sum(), learner._leaves)
    plain = reference.Model(learner.parameters, settings)
    expected = reference.step(plain, x, [drawn[0] for drawn in noise], beta)
    for found, values in zip((objective, bound), expected, strict=True):
        torch.testing.assert_close(found[0], values, rtol=1e-9, atol=1e-9)
    for name, gradient in zip(learner.parameters, gradients, strict=True):
        torch.testing.assert_close(gradient[0], plain.p[name].grad, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_what_is_measured_is_the_references(model, data):
    values = {"k": 5, "model__layers_above": "5-4-z3-4-z2", "training__learning_rate": 0.01, **model}
    settings, learner = tiny.settings(**values), tiny.learner(values)
    learner.train_epoch(1)
    found = measure(learner.parameters, learner.architecture, data, learner.seeds, 5, 1)
    plain, latent = reference.Model(learner.parameters, settings), learner.architecture.latent

    def drawn(stream, k, images):
        return [
            torch.from_numpy(generator(0, stream, 1, layer << 56).standard_normal((k, len(images), n_z), dtype=np.float32))
            for layer, n_z in enumerate(latent)
        ]

    statistics = None
    if settings.batch_norm:
        statistics = plain.evaluation_statistics(data.measured, drawn(Stream.STATISTICS_NOISE, 1, data.measured))
    noise = drawn(Stream.TEST_NOISE, 5, data.test)
    log_px, ratio = plain.sampled(data.test, noise, statistics)
    q, _ = plain.latents(data.test, noise, statistics)
    # Upper layers at the first sample of what is below them.
    activity = torch.cat(
        [layer.loc.reshape(-1, len(data.test), layer.loc.shape[-1])[0].var(0, correction=0) for layer in q], -1
    )
    close = {"rtol": 1e-4, "atol": 1e-5, "check_dtype": False}
    torch.testing.assert_close(found.test_bound[0], reference.log_mean_exp(log_px + ratio).mean(), **close)
    torch.testing.assert_close(found.test_elbo[0], (log_px + ratio).mean(), **close)
    torch.testing.assert_close(found.activity_test[0], activity, **close)


# ---- one layer stays what it was ----


def test_one_layer_has_the_ratio_that_it_had_bit_for_bit():
    architecture = architecture_of(tiny.settings(), 9)
    parameters = initial_parameters(architecture, [0, 1], tiny.CPU)
    x, noise = normal(0, 2, 6, 9).float(), normal(1, 2, 4, 6, 3).float()
    model = networks.Model(parameters, architecture, batch_statistics())
    first = encode(model, x)
    (latent,) = sample_latents(model, first, [noise])
    found = log_ratio(model, [latent])
    assert torch.equal(found, log_prior_ratio(reparameterise(*first, noise), first[1], noise))


@pytest.mark.parametrize(
    "cell", [{}, {"batch_norm": True, "model__bn_scope": "hidden_and_latent"}, {"decoder": "gaussian"}], ids=str
)
@pytest.mark.parametrize("above", ABOVE.values(), ids=ABOVE)
def test_layers_above_leave_weights_and_noise_of_the_first_alone(above, cell):
    shallow, deep = (architecture_of(tiny.settings(model__layers_above=layers, **cell), 9) for layers in ("none", above))
    one, more = (initial_parameters(architecture, [3, 4], tiny.CPU) for architecture in (shallow, deep))
    assert one.keys() < more.keys()
    assert all(torch.equal(one[name], more[name]) for name in one)
    seeds = Seeds([3, 4], tiny.CPU)
    below = seeds.normal(Stream.NOISE, 7, (5, 6, 3))
    drawn = seeds.normals(Stream.NOISE, 7, (5, 6), deep.latent)
    assert torch.equal(drawn[0], below)
    # No layer draws what another one does.
    heads = [layer[..., 0].flatten() for layer in drawn]
    assert all(not torch.equal(a, b) for i, a in enumerate(heads) for b in heads[:i])
