"""Convolutions whose forward derivative costs one convolution."""

import pytest
import torch
from torch import nn

from pdae_app.models.dual_conv import DualConv2d, DualConvTranspose2d

PAIRS = [
    (nn.Conv2d, DualConv2d, (3, 5, 3, 1, 1)),
    (nn.Conv2d, DualConv2d, (3, 5, 1)),
    (nn.ConvTranspose2d, DualConvTranspose2d, (3, 5, 2, 2)),
]


def gradients(conv: nn.Module, x: torch.Tensor, tangent: torch.Tensor) -> list[torch.Tensor]:
    """Value, forward derivative, and the weights' gradients through both."""
    y, slope = torch.func.jvp(lambda x: conv(x).tanh(), (x,), (tangent,))
    (y.sum() + slope.square().sum()).backward()
    return [y, slope, conv.weight.grad, conv.bias.grad]


@pytest.mark.parametrize("plain, dual, sizes", PAIRS)
def test_values_and_derivatives_are_those_of_pytorch(plain, dual, sizes):
    torch.manual_seed(0)
    plain, dual = plain(*sizes).double(), dual(*sizes).double()
    dual.load_state_dict(plain.state_dict())
    x, tangent = torch.randn(2, 2, 3, 6, 6).double()
    for expected, found in zip(
        gradients(plain, x, tangent), gradients(dual, x, tangent), strict=True
    ):
        assert torch.allclose(found, expected)
    x.requires_grad_()
    assert torch.autograd.gradcheck(dual, (x,)) and torch.autograd.gradgradcheck(dual, (x,))


def test_one_convolution_more_and_no_tangents_of_weights():
    conv = DualConv2d(3, 3, 3)
    x = torch.randn(1, 3, 6, 6)
    with torch.profiler.profile() as profiled:
        torch.func.jvp(conv, (x,), (x,))
    calls = {event.key: event.count for event in profiled.key_averages()}
    assert calls["aten::convolution"] == 2

    def by_weight(weight):
        return torch.func.functional_call(conv, {"weight": weight}, (x,))

    with pytest.raises(ValueError, match="by the input alone"):
        torch.func.jvp(by_weight, (conv.weight.detach(),), (conv.weight.detach(),))
