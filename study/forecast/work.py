"""Count from its shapes what a pack has to compute: the amounts whose prices a calibration finds.

The counts need not be exact, but they must grow as the work does: the prices absorb whatever all counts leave out alike.
"""

from dataclasses import dataclass

from study.plan.rough_cost import heads_of, images_of, weights_of
from workers.contract.settings import Settings, layers_above
from workers.contract.trial import Pack
from workers.data.images import Known

CHUNK = 100
"""Images per chunk of a measurement on a CPU."""

NLL_GROUP = 10
"""Importance samples per group in the measurements of the end, on a CPU."""

HIDDEN, BATCH_NORM, DRAW, LATENT = 1.0, 1.0, 1.0, 4.0
"""Passes over memory in the forward direction per number of each kind, relative to an activation."""


@dataclass(frozen=True)
class Work:
    """Amounts of work, which can be added and multiplied by a number."""

    calls: float = 0.0
    """Calls of a whole model, however many replicas and images each call takes."""
    products: float = 0.0
    """Multiplications and additions in matrix products."""
    elements: float = 0.0
    """Numbers that elementwise operations (activations, likelihood, sampling, normalisation) pass over."""
    updates: float = 0.0
    """Parameters times optimizer steps."""
    pairs: float = 0.0
    """Pairs of images in the mutual information of the end, times a factor that grows with the latent units."""

    def amounts(self) -> tuple[float, ...]:
        """Return all amounts in this order; `astuple` copies deeply, which is expensive for thousands of packs."""
        return self.calls, self.products, self.elements, self.updates, self.pairs

    def __add__(self, other: "Work") -> "Work":
        """Return the sum of both."""
        return Work(*(a + b for a, b in zip(self.amounts(), other.amounts(), strict=True)))

    def __mul__(self, times: float) -> "Work":
        """Return this work multiplied by a number of times."""
        return Work(*(times * amount for amount in self.amounts()))

    __rmul__ = __mul__


@dataclass(frozen=True)
class Sizes:
    """The sizes of a data set that decide how much work there is."""

    train: int
    measured: int
    test: int
    n_x: int


def sizes_of(settings: Settings, data: Known) -> Sizes:
    """Return the numbers of images that a trial trains on and is measured on."""
    train, test = images_of(settings, data)
    return Sizes(train, min(train, settings.measure.images), round(test), data.n_x)


def training_epoch(settings: Settings, replicas: int, sizes: Sizes) -> Work:
    """Return the work of one pass over the training images with one update per batch."""
    encoder, decoder = _encoder(settings, sizes.n_x), _decoder(settings, sizes.n_x)
    forward = sizes.train * (encoder + settings.k * decoder)
    steps = -(-sizes.train // settings.training.batch_size)
    # Forward once, backward about twice that; pixels are drawn, and noise, once.
    drawn = sizes.train * (sizes.n_x + settings.k * settings.n_z) * DRAW
    whole = forward * 3 + Work(elements=drawn, updates=steps * parameters_of(settings, sizes.n_x))
    return whole * replicas + Work(calls=3 * steps)


def measurement(settings: Settings, replicas: int, sizes: Sizes) -> Work:
    """Return the work of the measurements after every epoch: posterior of training images, bounds of test images."""
    encoder, decoder = _encoder(settings, sizes.n_x), _decoder(settings, sizes.n_x)
    drawn = Work(elements=sizes.test * settings.k * settings.n_z * DRAW)
    each = sizes.measured * encoder + sizes.test * (encoder + settings.k * decoder) + drawn
    calls = _chunks(sizes.measured) + _chunks(sizes.test)
    if settings.batch_norm and settings.model.bn_statistics == "recompute":
        each += sizes.measured * _decoder(settings, sizes.n_x, with_pixels=False)
        calls += 1 - _chunks(sizes.measured)
    return each * replicas + Work(calls=calls)


def end(settings: Settings, replicas: int, sizes: Sizes) -> Work:
    """Return the work of what is measured once: nll, ablations, mutual information, and the other reading of the pixels."""
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
    """Return the work left of a pack with `done` epochs stored (-1: not even epoch 0): training, measurements, end."""
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
    """Return the settings of a pack's largest trial, to whose size all its trials are padded."""
    return max((trial.settings for trial in pack.trials), key=lambda settings: settings.n_z)


def parameters_of(settings: Settings, n_x: int) -> int:
    """Return approximately the number of trained weights and biases of one trial."""
    encoder, decoder, above = weights_of(settings, n_x)
    hidden = settings.model.hidden
    return round(encoder + decoder + above + 2 * sum(hidden) + 2 * settings.n_z + heads_of(settings) * n_x)


def _encoder(settings: Settings, n_x: int) -> Work:
    """Return the work of encoding one image."""
    encoder, _, above = weights_of(settings, n_x)
    return Work(products=2 * (encoder + above / 2), elements=_hidden(settings) + LATENT * settings.n_z)


def _decoder(settings: Settings, n_x: int, with_pixels: bool = True) -> Work:
    """Return the work of decoding one sample of one image, with its likelihood."""
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
