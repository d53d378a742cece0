"""How many images and samples are measured at a time."""

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from workers.replicas.seeds import COUNTER, Seeds

CHUNK = 100
"""Images at a time. It keys numpy's noise, so a change of it changes numbers."""

ELEMENTS = 2**27
"""Numbers of the decoder's output at a time, of a whole pack on a GPU, where noise is keyed by image and sample."""

_ROWS = {"cpu": 200, "mps": 2_000}
"""Decoder rows a replica at a time; on a CPU the activations of a pack then stay in the cache. Changes no number."""


def chunks(
    images: Float[Tensor, "image pixel"], seeds: Seeds, k: int = 1
) -> Iterator[tuple[int, int, Float[Tensor, "_chunk pixel"]]]:
    """The images a chunk at a time, each with its number and its first image; by what the generator or the device takes."""
    size = CHUNK
    if seeds.source == COUNTER:
        size = max(CHUNK, ELEMENTS // (len(seeds.index) * images.shape[1] * k))
    for part, x in enumerate(images.split(size)):
        yield part, part * size, x


def at_once(noise: Sequence[Tensor], x: Float[Tensor, "replica batch pixel"]) -> Iterator[tuple[Tensor, ...]]:
    """The noise of as many samples at a time as the device takes well; changes no number."""
    k = max(1, rows_at_once(x) // x.shape[1])
    return zip(*(drawn.split(k, dim=1) for drawn in noise), strict=True)


def rows_at_once(x: Float[Tensor, "replica batch pixel"]) -> int:
    """Decoder rows a replica that the device takes well at once."""
    return _ROWS.get(x.device.type) or max(1, ELEMENTS // (x.shape[0] * x.shape[2]))
