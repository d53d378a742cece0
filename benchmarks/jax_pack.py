"""The peer in JAX: the same model, optimizer, binarisation and noise; one program runs an epoch of all replicas."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.images import digits

LEARNING_RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.9, 1e-4


def compiled_epoch(n_x: int, n_z: int, k: int, replicas: int, batch: int) -> tuple[Callable[[], float], int]:
    """Return a compiled epoch of this many replicas, and the number of its trial-steps."""
    # XLA's generator, on a CPU several times faster than JAX's default, threefry.
    jax.config.update("jax_default_prng_impl", "unsafe_rbg")
    images = jnp.asarray(digits(n_x))
    steps = len(images) // batch
    parameters = _initial(n_x, n_z, replicas)
    moments = jax.tree.map(jnp.zeros_like, parameters)
    state = (parameters, moments, jax.tree.map(jnp.zeros_like, parameters), jnp.zeros((), jnp.float32))

    def bound(parameters: Any, x: Any, noise: Any) -> Any:
        h = _hidden(parameters, ("e0", "e1"), x)
        mean, log_variance = _affine(parameters, "mean", h), _affine(parameters, "log_variance", h)
        z = mean + jnp.exp(0.5 * log_variance) * noise
        logits = _affine(parameters, "pixels", _hidden(parameters, ("d0", "d1"), z.reshape(-1, n_z)))
        logits = logits.reshape(k, *x.shape)
        log_px = (x * logits - jax.nn.softplus(logits)).sum(-1)
        if k == 1:
            return (log_px[0] - 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(-1)).mean()
        log_w = log_px + 0.5 * (noise**2 - z**2 + log_variance).sum(-1)
        return (jax.nn.logsumexp(log_w, axis=0) - jnp.log(k)).mean()

    gradient = jax.vmap(jax.value_and_grad(bound))

    def step(state: Any, chosen_and_key: Any) -> tuple[Any, Any]:
        parameters, first, second, t = state
        chosen, key = chosen_and_key
        binarisation, noise = jax.random.split(key)
        pixels = images[chosen]
        x = (jax.random.uniform(binarisation, pixels.shape) < pixels).astype(jnp.float32)
        value, grads = gradient(parameters, x, jax.random.normal(noise, (replicas, k, batch, n_z)))
        t = t + 1
        first = jax.tree.map(lambda m, g: BETA1 * m - (1 - BETA1) * g, first, grads)
        second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, grads)
        rate, scale = LEARNING_RATE / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
        parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / scale + EPSILON), parameters, first, second)
        return (parameters, first, second, t), value.mean()

    def epoch(state: Any, key: Any) -> tuple[Any, Any]:
        order, draws = jax.random.split(key)
        orders = jax.vmap(lambda one: jax.random.permutation(one, len(images)))(jax.random.split(order, replicas))
        chosen = orders.reshape(replicas, steps, batch).swapaxes(0, 1)
        state, values = jax.lax.scan(step, state, (chosen, jax.random.split(draws, steps)))
        return state, values.mean()

    run = jax.jit(epoch, donate_argnums=0)
    key = jax.random.key(0)

    def train() -> float:
        nonlocal state, key
        key, now = jax.random.split(key)
        state, value = run(state, now)
        return float(value)

    return train, replicas * steps


def _initial(n_x: int, n_z: int, replicas: int) -> dict[str, tuple[Any, Any]]:
    draws = np.random.default_rng(0)
    sizes = {"e0": (n_x, 200), "e1": (200, 200), "mean": (200, n_z), "log_variance": (200, n_z)}
    sizes |= {"d0": (n_z, 200), "d1": (200, 200), "pixels": (200, n_x)}
    return {
        name: (
            jnp.asarray(draws.normal(0, (2 / (n_in + n_out)) ** 0.5, (replicas, n_in, n_out)), jnp.float32),
            jnp.zeros((replicas, n_out), jnp.float32),
        )
        for name, (n_in, n_out) in sizes.items()
    }


def _affine(parameters: Any, name: str, h: Any) -> Any:
    weight, bias = parameters[name]
    return h @ weight + bias


def _hidden(parameters: Any, names: tuple[str, ...], h: Any) -> Any:
    for name in names:
        h = jax.nn.softplus(_affine(parameters, name, h))
    return h
