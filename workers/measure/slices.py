"""Split images and samples into the slices that are measured at a time."""

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from workers.replicas.seeds import COUNTER, Seeds

CHUNK = 100
"""Images at a time. The slices key numpy's noise, so a change of this number changes results."""

ELEMENTS = 2**27
"""Elements of the decoder's output at a time, for a whole pack on a GPU, where noise is keyed by image and sample."""

_ROWS = {"cpu": 200, "mps": 2_000}
"""Decoder rows per replica at a time; on a CPU the activations of a pack then stay in the cache. It changes no result."""


def chunks(
    images: Float[Tensor, "image pixel"], seeds: Seeds, k: int = 1
) -> Iterator[tuple[int, int, Float[Tensor, "_chunk pixel"]]]:
    """Yield the number, the first image and the images of each chunk; the size depends on the generator."""
    size = CHUNK
    if seeds.source == COUNTER:
        size = max(CHUNK, ELEMENTS // (len(seeds.index) * images.shape[1] * k))
    for part, x in enumerate(images.split(size)):
        yield part, part * size, x


def at_once(noise: Sequence[Tensor], x: Float[Tensor, "replica batch pixel"]) -> Iterator[tuple[Tensor, ...]]:
    """Yield the noise of as many samples at a time as suit the device; the split changes no result."""
    k = max(1, rows_at_once(x) // x.shape[1])
    return zip(*(drawn.split(k, dim=1) for drawn in noise), strict=True)


def rows_at_once(x: Float[Tensor, "replica batch pixel"]) -> int:
    """Return the number of decoder rows per replica that suits the device."""
    return _ROWS.get(x.device.type) or max(1, ELEMENTS // (x.shape[0] * x.shape[2]))
