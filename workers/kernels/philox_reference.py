"""Counter-based random numbers by Philox4x32-10 in torch's integers: the reference for the kernels, and used without them.

Every number is a function of (seed, stream, layer, step, image, sample, unit) alone and is drawn where it is used: there is
no state and no order. The seed, which has up to 63 bits, is the whole key. The counter consists of

    word 0: image      its place in the batch, in evaluation its place in the data
    word 1: sample << 12 | unit // 4,   or pixel // 4
    word 2: step, the lower 32 bits
    word 3: step, 16 more bits << 16 | layer << 8 | stream

so that no two draws of a seed share a block of four words (Salmon et al. 2011, sec. 4), whichever trials are in the pack and
however many units a layer is padded to. The functions below use no library's log, sin or cos, because the results of torch
on a CPU and on a GPU differ in the last bits.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROUNDS = 10

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)

WEYL = (0x9E3779B9, 0xBB67AE85)

UNIT_BITS = 12
"""Bits of the counter's second word that number blocks of four units: 16,384 units per layer and 2^20 samples."""

_MASK = 0xFFFFFFFF


_LN2_HIGH, _LN2_LOW = 6.9313812256e-01, 9.0580006145e-06


def philox4x32(counter: Sequence[Tensor], key: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return four 32-bit words, in int64, per counter of four words and key of two; Salmon et al. 2011, sec. 3.3."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _product(MULTIPLIERS[0], c0)
        high1, low1 = _product(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & _MASK, (k1 + WEYL[1]) & _MASK
    return c0, c1, c2, c3


def _product(multiplier: int, word: Tensor) -> tuple[Tensor, Tensor]:
    # Multiply by halves of the word, because the whole product does not fit into a signed 64-bit integer.
    low, high = (word & 0xFFFF) * multiplier, (word >> 16) * multiplier
    carried = high + (low >> 16)
    return carried >> 16, (carried & 0xFFFF) << 16 | low & 0xFFFF


def normals(
    keys: Int[Tensor, "replica"],
    stream: int,
    layer: int,
    step: int | Int[Tensor, "1"],
    shape: tuple[int, int, int],
    first: tuple[int, int] = (0, 0),
) -> Float[Tensor, "replica k batch unit"]:
    """Draw standard normal numbers by the method of Box and Muller from pairs of words.

    Args:
        keys: one seed per replica.
        stream: a workers.contract.streams.Stream.
        layer: the stochastic layer, counted from 0.
        step: the training step, or the epoch of an evaluation.
        shape: numbers of samples, images and units.
        first: the first sample and the first image; the numbers of later ones do not depend on it.
    """
    k, batch, units = shape
    sample, image, block = (
        torch.arange(n, device=keys.device).view(view)
        for n, view in ((k, (-1, 1, 1)), (batch, (-1, 1)), (-(-units // 4), (-1,)))
    )
    words = _words(keys, image + first[1], (sample + first[0]) << UNIT_BITS | block, step, layer << 8 | stream)
    drawn = torch.stack([*box_muller(words[0], words[1]), *box_muller(words[2], words[3])], -1)
    return drawn.flatten(-2)[..., :units].contiguous()


def uniforms(
    keys: Int[Tensor, "seed"], stream: int, step: int | Int[Tensor, "1"], shape: tuple[int, int]
) -> Float[Tensor, "seed batch pixel"]:
    """Draw uniform numbers in [0, 1) that are multiples of 2^-24."""
    batch, pixels = shape
    image, block = torch.arange(batch, device=keys.device).view(-1, 1), torch.arange(-(-pixels // 4), device=keys.device)
    words = _words(keys.view(-1), image, block, step, stream)
    drawn = torch.stack([uniform(word) for word in words], -1)
    return drawn.flatten(-2)[..., :pixels].contiguous()


def _words(keys: Tensor, image: Tensor, inner: Tensor, step: int | Tensor, place: int) -> tuple[Tensor, ...]:
    """Return four words for every key, with the key's axis before the axes that `image` and `inner` broadcast to."""
    image, inner = torch.broadcast_tensors(image, inner)
    keys = keys.view(-1, *(1 for _ in image.shape))
    low = torch.zeros_like(keys) + (step & _MASK)
    high = torch.zeros_like(keys) + ((step >> 32 & 0xFFFF) << 16 | place)
    return philox4x32((image, inner, low, high), (keys & _MASK, keys >> 32))


def uniform(word: Tensor) -> Tensor:
    """Return a number in [0, 1) made of the upper 24 bits of a word."""
    return (word >> 8).float() * 2**-24


def box_muller(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return two independent standard normal numbers from two words: sqrt(-2 ln u) times cosine and sine of 2 pi v."""
    radius = torch.sqrt(-2 * logarithm(first.float() * 2**-32 + 2**-33))
    cosine, sine = circle(second)
    return radius * cosine, radius * sine


def logarithm(u: Tensor) -> Tensor:
    """Return ln u of a positive float32 to one unit in the last place, by the method of fdlibm and of musl's logf."""
    bits = u.view(torch.int32) + (0x3F800000 - 0x3F330000)
    exponent = ((bits >> 23) - 127).float()
    f = ((bits & 0x7FFFFF) + 0x3F330000).view(torch.float32) - 1
    s = f / (2 + f)
    z = s * s
    w = z * z
    r = w * (0.40000972152 + w * 0.24279078841) + z * (0.66666662693 + w * 0.28498786688)
    half = 0.5 * f * f
    return s * (half + r) + exponent * _LN2_LOW - half + f + exponent * _LN2_HIGH


def circle(word: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of 2 pi word / 2^32, by Cephes' polynomials for an eighth of the circle beside each axis."""
    quarter = (word + 2**29) >> 30
    x = (word - (quarter << 30)).float() * (2 * math.pi * 2**-32)
    z = x * x
    sine = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * x + x
    cosine = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1
    is_odd = quarter & 1 == 1
    a, b = torch.where(is_odd, sine, cosine), torch.where(is_odd, cosine, sine)
    return torch.where((quarter + 1) & 2 == 2, -a, a), torch.where(quarter & 2 == 2, -b, b)
