"""Copy the fields of a record from the device to the host in one transfer."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TypeVar

import torch
from torch import Tensor

Record = TypeVar("Record")
"""A dataclass whose fields are tensors."""


def on_host(record: Record) -> Record:
    """Return the same record with every tensor on the CPU, waiting for the device once, however many fields there are."""
    tensors = {field.name: getattr(record, field.name) for field in fields(record)}  # type: ignore[arg-type]
    away = {name: tensor for name, tensor in tensors.items() if tensor.device.type != "cpu"}
    return replace(record, **together(away)) if away else record  # type: ignore[type-var]


def together(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of one device on the CPU, with their shapes and types, by one copy of all their numbers."""
    # float64 represents every float32 and every bool exactly.
    whole = torch.cat([tensor.double().flatten() for tensor in tensors.values()]).cpu()
    parts = whole.split([tensor.numel() for tensor in tensors.values()])
    return {
        name: part.view(tensor.shape).to(tensor.dtype) for (name, tensor), part in zip(tensors.items(), parts, strict=True)
    }
