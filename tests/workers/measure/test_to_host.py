"""A record comes to the host in one copy, with its numbers, shapes and types."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from workers.measure.to_host import on_host, together


@dataclass(frozen=True)
class Row:
    scalars: Tensor
    vectors: Tensor
    none: Tensor
    flags: Tensor


def row():
    return Row(
        torch.tensor([1.5, torch.nan, -torch.inf], dtype=torch.float64) / 3,
        torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        torch.zeros(3, 0),
        torch.tensor([[True], [False], [True]]),
    )


def test_every_tensor_comes_as_it_was():
    tensors = vars(row())
    found = together(tensors)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].shape == tensor.shape
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_one_copy_is_made(monkeypatch):
    copies, right = [], Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: copies.append(1) or right(self))
    together(vars(row()))
    assert len(copies) == 1


def test_what_is_on_the_host_stays_itself():
    record = row()
    assert on_host(record) is record


def test_what_is_elsewhere_is_taken():
    """The meta device has no numbers to give: asking for them shows that they are asked for."""
    with pytest.raises(NotImplementedError):
        on_host(Row(*(tensor.to("meta") for tensor in vars(row()).values())))
