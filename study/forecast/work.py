"""What a pack has to compute, counted from its shapes: the terms whose prices a calibration finds. No torch, no clock.

The counts need not be exact, but they must grow as the work does: the prices make up for what is left out of all alike.
"""

from dataclasses import dataclass

from study.plan.rough_cost import heads_of, images_of, weights_of
from workers.contract.settings import Settings, layers_above
from workers.contract.trial import Pack
from workers.data.images import Known

CHUNK = 100
"""Images at a time where something is measured on a CPU."""

NLL_GROUP = 10
"""Importance samples at a time in the measurements of the end, on a CPU."""

HIDDEN, BATCH_NORM, DRAW, LATENT = 1.0, 1.0, 1.0, 4.0
"""Passes over memory that one number of each kind costs forwards, in those of an activation."""


@dataclass(frozen=True)
class Work:
    """Amounts of work; they add up, and can be multiplied by a number."""

    calls: float = 0.0
    """Times that a whole model is called, however many replicas and images it takes at once."""
    products: float = 0.0
    """Multiplications and additions of matrix products."""
    elements: float = 0.0
    """Numbers that elementwise operations (activations, likelihood, sampling, normalisation) go over."""
    updates: float = 0.0
    """Parameters times optimizer steps."""
    pairs: float = 0.0
    """Pairs of images, for the mutual information of the end, times latent units and one more."""

    def amounts(self) -> tuple[float, ...]:
        """All of them, in this order; `astuple` copies deeply, which is dear for thousands of packs."""
        return self.calls, self.products, self.elements, self.updates, self.pairs

    def __add__(self, other: "Work") -> "Work":
        """Both, one after the other."""
        return Work(*(a + b for a, b in zip(self.amounts(), other.amounts(), strict=True)))

    def __mul__(self, times: float) -> "Work":
        """The same so many times."""
        return Work(*(times * amount for amount in self.amounts()))

    __rmul__ = __mul__


@dataclass(frozen=True)
class Sizes:
    """What of a data set decides how much there is to do."""

    train: int
    measured: int
    test: int
    n_x: int


def sizes_of(settings: Settings, data: Known) -> Sizes:
    """Images that a trial trains on, and is measured on."""
    train, test = images_of(settings, data)
    return Sizes(train, min(train, settings.measure.images), round(test), data.n_x)


def training_epoch(settings: Settings, replicas: int, sizes: Sizes) -> Work:
    """One pass over the training images with an update a batch."""
    encoder, decoder = _encoder(settings, sizes.n_x), _decoder(settings, sizes.n_x)
    forward = sizes.train * (encoder + settings.k * decoder)
    steps = -(-sizes.train // settings.training.batch_size)
    # Forward once, backward about twice that; pixels are drawn, and noise, once.
    drawn = sizes.train * (sizes.n_x + settings.k * settings.n_z) * DRAW
    whole = forward * 3 + Work(elements=drawn, updates=steps * parameters_of(settings, sizes.n_x))
    return whole * replicas + Work(calls=3 * steps)


def measurement(settings: Settings, replicas: int, sizes: Sizes) -> Work:
    """What is measured after every epoch: posterior of the training images, bounds of the test images."""
    encoder, decoder = _encoder(settings, sizes.n_x), _decoder(settings, sizes.n_x)
    drawn = Work(elements=sizes.test * settings.k * settings.n_z * DRAW)
    each = sizes.measured * encoder + sizes.test * (encoder + settings.k * decoder) + drawn
    calls = _chunks(sizes.measured) + _chunks(sizes.test)
    if settings.batch_norm and settings.model.bn_statistics == "recompute":
        each += sizes.measured * _decoder(settings, sizes.n_x, with_pixels=False)
        calls += 1 - _chunks(sizes.measured)
    return each * replicas + Work(calls=calls)


def end(settings: Settings, replicas: int, sizes: Sizes) -> Work:
    """What is measured once: nll, ablations, mutual information, and the other reading of the pixels."""
    encoder, decoder = _encoder(settings, sizes.n_x), _decoder(settings, sizes.n_x)
    measure = settings.measure
    drawn = Work(elements=settings.n_z * DRAW)
    # With all units, without the silent ones, and without those between: three times, where there are such units.
    samples = measure.nll_samples + 3 * measure.secondary_samples
    each = sizes.test * (samples * (decoder + drawn) + 5 * encoder + decoder) + 3 * sizes.measured * encoder
    each += Work(pairs=sizes.measured**2 * (1 + settings.n_z / 16))
    groups = -(-measure.nll_samples // NLL_GROUP) + 3 * -(-measure.secondary_samples // NLL_GROUP)
    return each * replicas + Work(calls=_chunks(sizes.test) * (groups + 3) + 3 * _chunks(sizes.measured))


def of_pack(pack: Pack, data: Known, done: int) -> tuple[Work, Work, Work]:
    """What is left of a pack of which `done` epochs are stored (-1: not even epoch 0): training, measurements, end."""
    settings, replicas = shape_of(pack), len(pack.trials)
    sizes = sizes_of(settings, data)
    epochs = pack.epochs - max(done, 0)
    # Epoch 0 passes over the training images too, but does not go back.
    passes, measurements = (epochs + 1 / 3, epochs + 1) if done < 0 else (epochs, epochs)
    return (
        training_epoch(settings, replicas, sizes) * passes,
        measurement(settings, replicas, sizes) * measurements,
        end(settings, replicas, sizes),
    )


def shape_of(pack: Pack) -> Settings:
    """Settings of the trial that all of a pack are as large as."""
    return max((trial.settings for trial in pack.trials), key=lambda settings: settings.n_z)


def parameters_of(settings: Settings, n_x: int) -> int:
    """Trained numbers of one trial, about: weights and biases."""
    encoder, decoder, above = weights_of(settings, n_x)
    hidden = settings.model.hidden
    return round(encoder + decoder + above + 2 * sum(hidden) + 2 * settings.n_z + heads_of(settings) * n_x)


def _encoder(settings: Settings, n_x: int) -> Work:
    """Of one image."""
    encoder, _, above = weights_of(settings, n_x)
    return Work(products=2 * (encoder + above / 2), elements=_hidden(settings) + LATENT * settings.n_z)


def _decoder(settings: Settings, n_x: int, with_pixels: bool = True) -> Work:
    """Of one sample of one image, with its likelihood."""
    _, decoder, above = weights_of(settings, n_x)
    heads = heads_of(settings)
    elements = _hidden(settings) + LATENT * settings.n_z
    if not with_pixels:
        return Work(products=2 * (decoder - heads * settings.model.hidden[0] * n_x), elements=elements)
    return Work(products=2 * (decoder + above / 2), elements=elements + (1 + heads) * n_x)


def _hidden(settings: Settings) -> float:
    above = sum(sum(sizes) for sizes, _ in layers_above(settings.model))
    return (sum(settings.model.hidden) + above) * (HIDDEN + BATCH_NORM * settings.batch_norm)


def _chunks(images: int) -> int:
    return -(-images // CHUNK)
