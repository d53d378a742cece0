"""Convert the whole state of a pack to bytes and back, as safetensors; nothing is unpickled."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from workers.model.padding import resized
from workers.store.weights_file import encode_weights
from workers.train.optimizer import MOMENTS


@dataclass(frozen=True)
class State:
    """A pack at the end of an epoch. Every tensor has a leading replica axis; random streams continue from `step`."""

    epoch: int
    step: int
    """Updates so far; the same for all replicas."""
    parameters: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    """Adam's first and second moments by parameter name."""
    diverged_at: tuple[int | None, ...]
    """For every replica the first epoch whose numbers were not finite; None if all were finite so far."""
    seconds: float
    """Wall time of all epochs so far, for the whole pack, in seconds."""
    statistics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Running mean and variance of every batch-normalised layer; empty if statistics are recomputed for measurements."""


def take(state: State, members: Sequence[int]) -> State:
    """Return the state of some replicas."""
    index = torch.tensor(list(members))

    def sliced(tensor: Tensor) -> Tensor:
        return tensor.index_select(0, index.to(tensor.device))

    return State(
        epoch=state.epoch,
        step=state.step,
        parameters={name: sliced(tensor) for name, tensor in state.parameters.items()},
        moments={name: {kind: sliced(m) for kind, m in kinds.items()} for name, kinds in state.moments.items()},
        diverged_at=tuple(state.diverged_at[i] for i in members),
        seconds=state.seconds * len(members) / len(state.diverged_at),
        statistics={name: (sliced(mean), sliced(variance)) for name, (mean, variance) in state.statistics.items()},
    )


def to_bytes(state: State) -> bytes:
    """Return the state as a safetensors file."""
    tensors = {f"parameter/{name}": tensor for name, tensor in state.parameters.items()}
    for name, kinds in state.moments.items():
        tensors |= {f"{kind}/{name}": kinds[kind] for kind in MOMENTS}
    tensors |= _named(state.statistics)
    facts = {"epoch": state.epoch, "step": state.step, "diverged_at": state.diverged_at, "seconds": state.seconds}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(contiguous, metadata={"state": json.dumps(facts)})


def from_bytes(raw: bytes, device: torch.device) -> State:
    """Return the state that `to_bytes` wrote."""
    tensors = {name: tensor.to(device) for name, tensor in load(raw).items()}
    facts = _facts(raw)
    parameters = {name.removeprefix("parameter/"): t for name, t in tensors.items() if name.startswith("parameter/")}
    moments = {name: {kind: tensors[f"{kind}/{name}"] for kind in MOMENTS} for name in parameters}
    layers = [name.removeprefix("running_mean/") for name in tensors if name.startswith("running_mean/")]
    statistics = {name: (tensors[f"running_mean/{name}"], tensors[f"running_variance/{name}"]) for name in layers}
    ended = tuple(facts["diverged_at"])
    return State(facts["epoch"], facts["step"], parameters, moments, ended, facts["seconds"], statistics)


def weights_to_bytes(
    state: State,
    replica: int,
    facts: dict[str, Any],
    statistics: Mapping[str, tuple[Tensor, Tensor]],
    n_z: int | None = None,
) -> bytes:
    """Return one trial's parameters without the replica axis, with `facts` and a checksum in the header (weights_file.py).

    `statistics` are those of evaluation, so that the file alone is enough to compute the model's outputs. `n_z` is the
    trial's own; the tensors of a padded pack are cut to it.
    """
    tensors = {name: tensor[replica].detach().cpu() for name, tensor in (state.parameters | _named(statistics)).items()}
    if n_z is not None:
        tensors = {name: resized(name, tensor, n_z) for name, tensor in tensors.items()}
    return encode_weights({name: tensor.contiguous().numpy() for name, tensor in tensors.items()}, facts)


def _named(statistics: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for name, (mean, variance) in statistics.items():
        named |= {f"running_mean/{name}": mean, f"running_variance/{name}": variance}
    return named


def sha256(raw: bytes) -> str:
    """Return the checksum that a rows file stores for its checkpoint."""
    return hashlib.sha256(raw).hexdigest()


def _facts(raw: bytes) -> dict[str, Any]:
    # safetensors reads metadata only from files. Its layout: 8 bytes of length, then a JSON header.
    length = int.from_bytes(raw[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["state"])
    return facts
