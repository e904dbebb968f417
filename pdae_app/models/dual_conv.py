"""Convolutions with a cheap forward derivative.

PyTorch's own forward derivative of a convolution convolves the input's tangent, and the input once
more with the weights' tangent, even where that is zero. DiffEnc differentiates by time alone, so a
third of its convolutions would be of zeros.
"""

from typing import Any

import torch
from torch import Tensor, nn


class _Convolution(torch.autograd.Function):
    """A 2-D convolution, or a transposed one; derivatives of the first and second order.

    Forward ones are by the input alone. That is the point: one by the weights is refused.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple) -> Tensor:
        return torch.convolution(x, weight, bias, *how)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, bias, ctx.how = inputs
        ctx.bias_size = None if bias is None else [len(bias)]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple:
        if grad is None:
            return None, None, None, None
        x, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        convolution_backward = torch.ops.aten.convolution_backward
        return *convolution_backward(
            grad, x, weight, ctx.bias_size, *ctx.how, output_mask=needed
        ), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, *of_weights: Tensor | None) -> Tensor | None:
        if any(other is not None for other in of_weights):
            raise ValueError("the forward derivative is by the input alone")
        _, weight = ctx.saved_tensors
        return None if tangent is None else torch.convolution(tangent, weight, None, *ctx.how)


class DualConv2d(nn.Conv2d):
    """`nn.Conv2d`, with the same weights and results."""

    def forward(self, x: Tensor) -> Tensor:
        how = (self.stride, self.padding, self.dilation, False, (0, 0), self.groups)
        return _Convolution.apply(x, self.weight, self.bias, how)


class DualConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`, with the same weights and results."""

    def forward(self, x: Tensor) -> Tensor:
        how = (self.stride, self.padding, self.dilation, True, self.output_padding, self.groups)
        return _Convolution.apply(x, self.weight, self.bias, how)
