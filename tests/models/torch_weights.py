"""Weights of PyTorch modules in the form of ours."""

from typing import Any

import numpy as np
import torch

Weights = dict[str, Any]


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """`module` in evaluation, with something added to all its weights, as norms and biases begin trivial.

    And with Flax's epsilon in its norms, where PyTorch's is 1e-5.
    """
    torch.manual_seed(0)
    for layer in module.modules():
        if hasattr(layer, 'eps'):
            layer.eps = 1e-6
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().float().numpy()


def norm(layer: torch.nn.Module) -> Weights:
    """Of a LayerNorm or GroupNorm."""
    return {'scale': numpy(layer.weight), 'bias': numpy(layer.bias)}


def dense(layer: torch.nn.Module) -> Weights:
    """Of a linear layer, or of a convolution of one tap."""
    return {'kernel': numpy(layer.weight).reshape(layer.weight.shape[:2]).T, 'bias': numpy(layer.bias)}


def depthwise(layer: torch.nn.Module) -> Weights:
    """Of a convolution with a group for each channel: taps first, then channels."""
    return {'kernel': np.moveaxis(numpy(layer.weight)[:, 0], 0, -1), 'bias': numpy(layer.bias)}


def attention(before: torch.nn.Module, weight: torch.Tensor, bias: torch.Tensor, output: Any, heads: int) -> Weights:
    """Of self-attention after a norm: `weight [3 width, width]` and `bias [3 width]` make queries, keys and values."""
    width = weight.shape[1]
    heads_last = numpy(weight).reshape(3, heads, width // heads, width).transpose(3, 1, 0, 2)
    biases = numpy(bias).reshape(3, heads, width // heads).transpose(1, 0, 2)
    kernel = dense(output)['kernel'].reshape(heads, width // heads, width)
    return {
        'LayerNorm_0': norm(before),
        'DenseGeneral_0': {'kernel': heads_last.reshape(width, heads, -1), 'bias': biases.reshape(heads, -1)},
        'DenseGeneral_1': {'kernel': kernel, 'bias': numpy(output.bias)},
    }


def feed_forward(before: torch.nn.Module, first: torch.nn.Module, second: torch.nn.Module) -> Weights:
    """Of a feed-forward module after a norm."""
    return {'LayerNorm_0': norm(before), 'Dense_0': dense(first), 'Dense_1': dense(second)}
