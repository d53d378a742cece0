"""Say at planning when the packs of a study cannot fit into the memory of their device."""

import os
from collections.abc import Sequence
from pathlib import Path

from study.forecast.amounts import counted, in_bytes
from study.forecast.work import shape_of, sizes_of
from study.plan.rough_cost import heads_of
from workers.contract.trial import Pack
from workers.data.images import Known

FLOAT = 4
"""Bytes of a number."""

PIXELS, LATENT = 2, 2
"""Numbers per pixel and per latent unit of a sample that a step holds at once, at the least: a value and its gradient."""

GPU_BYTES = 80e9
"""Memory of a large GPU; that of the GPU in question is not known before it is used."""

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def step_bytes(pack: Pack, data: Known) -> float:
    """Return how many bytes a training step of a pack holds at the least: what is kept of every sample for its gradients.

        replicas * images * K * (2 heads pixels + hidden units (twice with batch normalisation) + 2 latent units) * 4

    All K samples of a batch are decoded at once. The parameters, the encoder and whatever a step holds for a moment come on
    top, so a pack with more than the memory cannot be trained, and one with less may still not fit.
    """
    settings = shape_of(pack)
    images = min(settings.training.batch_size, sizes_of(settings, data).train)
    pixels = PIXELS * heads_of(settings) * data.n_x
    hidden = sum(settings.model.hidden) * (1 + settings.batch_norm)
    return FLOAT * len(pack.trials) * images * settings.k * float(pixels + hidden + LATENT * settings.n_z)


def memory_notes(packs: Sequence[Pack], data: Known, device: str, slots: int, memory: float | None) -> list[str]:
    """Return a sentence if these packs cannot fit into memory; none if they may.

    Args:
        packs: the packs to run.
        data: sizes of the data set.
        device: cpu | cuda | mps.
        slots: packs that run at once.
        memory: bytes of the machine that runs them; None if it is not known.
    """
    if not packs:
        return []
    largest = sorted(packs, key=lambda pack: step_bytes(pack, data), reverse=True)[: slots if device == "cpu" else 1]
    first, together = step_bytes(largest[0], data), sum(step_bytes(pack, data) for pack in largest)
    limit = GPU_BYTES if device == "cuda" else memory
    if limit is None or together <= limit:
        return []
    there = "a large GPU has" if device == "cuda" else "this machine has"
    what = f"a step of a pack of {counted(len(largest[0].trials), 'trial')} with K = {shape_of(largest[0]).k}"
    needs = f"needs at least {in_bytes(first)}"
    if first <= limit:
        needs += f", and {in_bytes(together)} with the {counted(len(largest) - 1, 'pack')} beside it"
    return [
        f"memory: {what} {needs}, but {there} {in_bytes(limit)}: it will run out of memory; choose a smaller k, a smaller "
        "training.batch_size, or run.packing: none"
    ]


def machine_bytes() -> float | None:
    """Return the memory of this machine, or of the container around this process if that has less; None if unknown."""
    try:
        found = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    except (ValueError, OSError):
        found = []
    for path in map(Path, _LIMITS):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        found += [float(text)] if text.isdecimal() else []
    return min(found, default=None)
