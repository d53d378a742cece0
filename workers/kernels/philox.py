"""Triton kernels that draw standard normal numbers and binarise batches.

The references are workers.kernels.philox_reference and workers.model.inputs.training_batch.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from workers.kernels.philox_reference import UNIT_BITS

_BLOCK = 256
"""Blocks of four numbers per program; the same on every device, because it is not tuned by timing."""


def normals(
    keys: Tensor,
    stream: int,
    layer: int,
    step: int | Tensor,
    shape: tuple[int, int, int],
    first: tuple[int, int],
    counts: Tensor | None = None,
) -> Tensor:
    """Draw the numbers of philox_reference.normals, up to 1e-6.

    `counts`, where given, is the number of units of every replica; units from that number on are 0.
    """
    k, batch, units = shape
    out = torch.empty(len(keys), k, batch, units, device=keys.device)
    quads = -(-units // 4)
    grid = (len(keys), triton.cdiv(k * batch * quads, _BLOCK))
    place = layer << 8 | stream
    tensors = out, keys, keys if counts is None else counts, _on_device(step, keys)
    _normals[grid](*tensors, place, k * batch, batch, units, quads, *first, counts is not None, UNIT_BITS, _BLOCK)
    return out


def batch(pixels: Tensor, images: Tensor, where: tuple[Tensor, Tensor], stream: int | None, step: int | Tensor) -> Tensor:
    """Return exactly the batch of workers.model.inputs.training_batch, [replica, batch, pixel].

    Args:
        pixels: the pixels of the data set, [image, pixel].
        images: the indices of the images of this step, [seed, batch].
        where: the seed of every replica, and the row of that seed in `images`.
        stream: the stream of the binarisation; None leaves the pixels as they are.
        step: the training step.
    """
    keys, index = where
    n_x, size = pixels.shape[1], images.shape[1]
    out = torch.empty(len(keys), size, n_x, device=pixels.device)
    quads = -(-n_x // 4)
    grid = (len(keys), triton.cdiv(size * quads, _BLOCK))
    draws = stream is not None
    tensors = (out, pixels, images.contiguous(), keys, index, _on_device(step, keys))
    _batch[grid](*tensors, stream or 0, size, n_x, quads, draws, _BLOCK)
    return out


def _on_device(step: int | Tensor, like: Tensor) -> Tensor:
    return step if isinstance(step, Tensor) else torch.full((1,), step, dtype=torch.int64, device=like.device)


@triton.jit
def _words(key, step, image, inner, place):
    low = (step & 0xFFFFFFFF).to(tl.uint32)
    high = ((((step >> 32) & 0xFFFF) << 16) | place).to(tl.uint32)
    zero = tl.zeros_like(image.to(tl.uint32))
    return tl.philox(key, image.to(tl.uint32), inner.to(tl.uint32), zero + low, zero + high)


@triton.jit
def _float(word):
    # Through signed 64-bit integers, which every back end rounds to the nearest float.
    return word.to(tl.int64).to(tl.float32)


@triton.jit
def _logarithm(u):
    bits = u.to(tl.int32, bitcast=True) + (0x3F800000 - 0x3F330000)
    exponent = ((bits >> 23) - 127).to(tl.float32)
    f = ((bits & 0x7FFFFF) + 0x3F330000).to(tl.float32, bitcast=True) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    r = w * (0.40000972152 + w * 0.24279078841) + z * (0.66666662693 + w * 0.28498786688)
    half = 0.5 * f * f
    return s * (half + r) + exponent * 9.0580006145e-06 - half + f + exponent * 6.9313812256e-01


@triton.jit
def _circle(word):
    wide = word.to(tl.int64)
    quarter = (wide + 536870912) >> 30
    x = (wide - (quarter << 30)).to(tl.float32) * 1.4629180792671596e-09
    z = x * x
    sine = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * x + x
    cosine = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0
    is_odd = (quarter & 1) == 1
    a = tl.where(is_odd, sine, cosine)
    b = tl.where(is_odd, cosine, sine)
    return tl.where(((quarter + 1) & 2) == 2, -a, a), tl.where((quarter & 2) == 2, -b, b)


@triton.jit
def _box_muller(first, second):
    u = _float(first) * 2.3283064365386963e-10 + 1.1641532182693481e-10
    radius = tl.sqrt_rn(-2.0 * _logarithm(u))
    cosine, sine = _circle(second)
    return radius * cosine, radius * sine


@triton.jit
def _normals(
    out,
    keys,
    counts,
    step,
    place,
    rows,
    batch,
    units,
    quads,
    first_sample,
    first_image,
    PADDED: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    replica = tl.program_id(0)
    place_in = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row, quad = place_in // quads, place_in % quads
    sample, image = row // batch + first_sample, row % batch + first_image
    w0, w1, w2, w3 = _words(tl.load(keys + replica), tl.load(step), image, (sample << BITS) | quad, place)
    a, b = _box_muller(w0, w1)
    c, d = _box_muller(w2, w3)
    unit = quad * 4
    if PADDED:
        count = tl.load(counts + replica)
        a, b = tl.where(unit < count, a, 0.0), tl.where(unit + 1 < count, b, 0.0)
        c, d = tl.where(unit + 2 < count, c, 0.0), tl.where(unit + 3 < count, d, 0.0)
    to = out + replica.to(tl.int64) * rows * units + row * units + unit
    is_row = row < rows
    tl.store(to, a, mask=is_row & (unit < units))
    tl.store(to + 1, b, mask=is_row & (unit + 1 < units))
    tl.store(to + 2, c, mask=is_row & (unit + 2 < units))
    tl.store(to + 3, d, mask=is_row & (unit + 3 < units))


@triton.jit
def _pixel(out, pixels, word, mask, DRAWS: tl.constexpr):
    p = tl.load(pixels, mask=mask, other=0.0)
    if DRAWS:
        p = ((word >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08 < p).to(tl.float32)
    tl.store(out, p, mask=mask)


@triton.jit
def _batch(out, pixels, images, keys, index, step, stream, size, n_x, quads, DRAWS: tl.constexpr, BLOCK: tl.constexpr):
    replica = tl.program_id(0)
    place_in = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row, quad = place_in // quads, place_in % quads
    is_row = row < size
    w0, w1, w2, w3 = _words(tl.load(keys + replica), tl.load(step), row, quad, stream)
    image = tl.load(images + tl.load(index + replica) * size + row, mask=is_row, other=0)
    pixel = quad * 4
    source = pixels + image * n_x + pixel
    to = out + (replica.to(tl.int64) * size + row) * n_x + pixel
    _pixel(to, source, w0, is_row & (pixel < n_x), DRAWS)
    _pixel(to + 1, source + 1, w1, is_row & (pixel + 1 < n_x), DRAWS)
    _pixel(to + 2, source + 2, w2, is_row & (pixel + 2 < n_x), DRAWS)
    _pixel(to + 3, source + 3, w3, is_row & (pixel + 3 < n_x), DRAWS)
