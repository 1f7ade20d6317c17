"""Constants that act as weights, and those that belong to the module before them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from .builder import Builder
from .values import Constant, Data, Node

Handler = Callable[[Builder, Node], Data]


def as_weight(builder: Builder, constant: Constant, beside: Data) -> Constant:
    """The constant, as a weight if it acts as one on what it is combined with.

    It does unless it comes before the first weights (a normalisation of the pixels), is a mask (two values, one of them
    zero; or infinite) or is not made of floating-point numbers.
    """
    array = constant.array
    if array.dtype != np.float32 or array.size < 2 or not np.isfinite(array).all() or not builder.has_learned(beside):
        return constant
    low, high = array.min(), array.max()
    is_mask = low < high and 0 in (low, high) and bool(((array == low) | (array == high)).all())
    return constant if is_mask else replace(constant, is_weight=True)


def learned(handler: Handler, absorb: Callable[[Builder, Data, Constant], Data | None]) -> Handler:
    """An operator of a value and a constant, which acts as a weight: of the module before it, if that has none yet."""

    def adapted(builder: Builder, node: Node) -> Data:
        for value, constant in (node.operands, node.operands[::-1]):
            if isinstance(value, Data) and isinstance(constant, Constant):
                weight = as_weight(builder, constant, value)
                absorbed = absorb(builder, value, weight) if weight.is_weight else None
                if absorbed is not None:
                    return absorbed
                operands = [weight if operand is constant else operand for operand in node.operands]
                node = replace(node, operands=operands)
        return handler(builder, node)

    return adapted


def _norm_of(builder: Builder, value: Data, weight: Constant) -> nn.LayerNorm | None:
    """The layer norm that computes the value, if the weight has its shape."""
    module = builder.module_of(value.node)
    if isinstance(module, nn.LayerNorm) and weight.array.shape == tuple(module.normalized_shape):
        return module
    return None


def absorb_scale(builder: Builder, value: Data, weight: Constant) -> Data | None:
    norm = _norm_of(builder, value, weight)
    if norm is None or norm.weight is not None:
        return None
    scaled = nn.LayerNorm(norm.normalized_shape, norm.eps, bias=False)
    scaled.weight = nn.Parameter(torch.tensor(weight.array))
    return builder.instead(value, scaled, weight)


def absorb_bias(builder: Builder, value: Data, bias: Constant) -> Data | None:
    module, array = builder.module_of(value.node), bias.array
    if isinstance(module, nn.Linear):
        fits = array.size == module.out_features == array.shape[-1]
    elif isinstance(module, nn.Conv2d):
        fits = (1, 1, 1, *array.shape)[-4:] == (1, module.out_channels, 1, 1)
    else:
        fits = _norm_of(builder, value, bias) is not None and module is not None and module.weight is not None
    if not fits or module is None or module.bias is not None:
        return None
    biased = copy.copy(module)
    biased._parameters = {**module._parameters, "bias": nn.Parameter(torch.tensor(array).reshape(-1))}
    return builder.instead(value, biased, bias)
