"""The precision of matrix products: chosen, set anew for each pack, recorded; and products that are rounded here."""

import pytest
import torch

from tests.workers import tiny
from workers.contract.settings import RunSettings
from workers.contract.settings_table import leaves
from workers.contract.trial import trial_of
from workers.replicas import products
from workers.replicas.device import PRECISIONS, describe_device, precision_in_use, prepare_device
from workers.replicas.products import RoundedProduct, affine_product, product


def test_it_is_a_setting_of_the_run_and_of_no_trial():
    assert "precision" in leaves(RunSettings)
    assert RunSettings().precision == "auto"
    assert not [name for name in leaves() if "precision" in name]
    assert trial_of(tiny.settings(), "0" * 64).trial_id == tiny.trial_of(tiny.settings(), "0" * 64).trial_id


@pytest.mark.parametrize("precision", ["ieee", "bf16"])
def test_a_process_is_set_up_for_it_and_says_so(precision):
    prepare_device("cpu", precision)
    assert precision_in_use() == precision == describe_device(tiny.CPU)["precision"]
    assert torch.get_float32_matmul_precision() == PRECISIONS[precision]


def test_the_next_pack_of_a_process_has_its_own():
    prepare_device("cpu", "bf16")
    prepare_device("cpu")
    assert precision_in_use() == "ieee"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_cpu_has_no_tf32():
    with pytest.raises(
        ValueError, match=r"run\.precision: got tf32, which cpu does not support; allowed on cpu: auto, ieee, bf16"
    ):
        prepare_device("cpu", "tf32")
    assert precision_in_use() == "ieee"


@pytest.mark.parametrize("word", [word for name, word in PRECISIONS.items() if name != "ieee"])
def test_ieee_products_are_those_of_a_process_that_was_never_set(word):
    a, b = torch.randn(2, 2, 33, 65, generator=torch.Generator().manual_seed(0)).unbind()
    plain = torch.bmm(a, b.transpose(1, 2))
    torch.set_float32_matmul_precision(word)
    prepare_device("cpu", "ieee")
    assert torch.equal(torch.bmm(a, b.transpose(1, 2)), plain)


# ---- products with rounded factors ----


def factors():
    draw = torch.Generator().manual_seed(0)
    sizes = (2, 7, 5), (2, 5, 3), (2, 7, 3)
    return [torch.randn(size, generator=draw, requires_grad=i < 2) for i, size in enumerate(sizes)]


def test_rounded_factors_give_the_product_and_gradients_of_their_roundings():
    h, weight, slope = factors()
    rounded = [tensor.detach().bfloat16().double().requires_grad_() for tensor in (h, weight)]
    found, expected = RoundedProduct.apply(h, weight), torch.bmm(*rounded)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    gradients = torch.autograd.grad(found, (h, weight), slope)
    references = torch.autograd.grad(expected, rounded, slope.bfloat16().double())
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient.double(), reference, rtol=1e-6, atol=1e-6)
        assert gradient.dtype == torch.float32


def test_rounding_is_seen():
    h, weight, _ = factors()
    error = (RoundedProduct.apply(h, weight) - torch.bmm(h, weight)).abs().max()
    assert 1e-4 < error < 5e-2


def test_only_what_needs_a_gradient_has_its_product(monkeypatch):
    h, weight, slope = factors()
    calls = []
    right = products._product
    monkeypatch.setattr(products, "_product", lambda a, b: calls.append(1) or right(a, b))
    torch.autograd.grad(RoundedProduct.apply(h.detach(), weight), weight, slope)
    assert len(calls) == 2


def test_a_cpu_leaves_products_to_torch():
    """Bit for bit what they were."""
    h, weight, bias = *factors()[:2], torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(1))
    for precision in ("ieee", "bf16"):
        prepare_device("cpu", precision)
        assert torch.equal(product(h, weight), torch.bmm(h, weight))
        assert torch.equal(affine_product(bias, h, weight), torch.baddbmm(bias, h, weight))
