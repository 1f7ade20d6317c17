"""ONNX graphs as other frameworks write them, and graphs that cannot be rebuilt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from layerprune.api.errors import BadInput
from layerprune.models.onnx_import import load
from layerprune.planning.filters import filter_plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace

RANDOM = np.random.default_rng(0)
Shape = Sequence[int | str]


def _weight(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array((RANDOM.standard_normal(shape) * 0.3).astype(np.float32), name)


def _constant(name: str, values: NDArray[np.int64] | list[int]) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.int64), name)


def _file(
    nodes: list[onnx.NodeProto],
    tensors: list[TensorProto],
    *,
    image: Shape = (1, 3, 16, 16),
    answer: Shape = (1, 4),
    opset: int = 17,
    name: str = "x",
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, answer)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def _node(operator: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), output.split(), name=f"{operator}.{output}", **attributes)


def _paddle() -> bytes:
    """All dimensions dynamic, batch norm kept, biases added, hard swish spelt out, softmax at the end; opset 11."""
    tensors = [
        *(_weight("conv2d_0.w_0", 8, 3, 3, 3), _weight("conv2d_0.b_0", 8)),
        *(_weight(f"bn.{part}", 8) for part in ("scale", "bias", "mean")),
        numpy_helper.from_array(np.full(8, 0.7, np.float32), "bn.variance"),
        *(_weight("fc.w_0", 8, 4), _weight("fc.b_0", 4)),
        numpy_helper.from_array(np.float32(3.0), "three"),
        numpy_helper.from_array(np.float32(0.0), "low"),
        numpy_helper.from_array(np.float32(6.0), "high"),
        numpy_helper.from_array(np.float32(1 / 6), "sixth"),
        *(_constant("shape", [1, 8, 1, 1]), _constant("minus", [-1]), _constant("first", [0]), _constant("one", [1])),
    ]
    nodes = [
        _node("Conv", "x conv2d_0.w_0", "c", strides=[2, 2], pads=[1, 1, 1, 1]),
        _node("Reshape", "conv2d_0.b_0 shape", "bias"),
        _node("Add", "c bias", "cb"),
        _node("BatchNormalization", "cb bn.scale bn.bias bn.mean bn.variance", "n", epsilon=1e-5),
        _node("Add", "n three", "n3"),
        _node("Clip", "n3 low high", "n6"),
        _node("Mul", "n n6", "nm"),
        _node("Mul", "nm sixth", "h"),
        _node("GlobalAveragePool", "h", "p"),
        _node("Shape", "p", "s"),
        _node("Slice", "s first one first", "batch"),
        _node("Concat", "batch minus", "target", axis=0),
        _node("Reshape", "p target", "f"),
        _node("MatMul", "f fc.w_0", "m"),
        _node("Add", "m fc.b_0", "logits"),
        _node("Softmax", "logits", "y", axis=1),
    ]
    return _file(nodes, tensors, image=("n", 3, "h", "w"), answer=("n", 4), opset=11)


def _keras() -> bytes:
    """Images N x H x W x C, padding as SAME on one side more, average pooling over what is left, MatMul and bias."""
    tensors = [
        *(_weight("stem/kernel", 8, 3, 3, 3), _weight("stem/bias", 8), _weight("depthwise/kernel", 8, 1, 3, 3)),
        *(_weight("dense/kernel", 8, 4), _weight("dense/bias", 4)),
    ]
    nodes = [
        _node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        _node("Conv", "t stem/kernel stem/bias", "c", strides=[2, 2], auto_pad="SAME_UPPER", kernel_shape=[3, 3]),
        _node("Relu", "c", "r"),
        _node("Conv", "r depthwise/kernel", "d", strides=[2, 2], pads=[0, 0, 1, 1], group=8),
        _node("MaxPool", "d", "mp", kernel_shape=[3, 3], strides=[1, 1], auto_pad="SAME_LOWER"),
        _node("AveragePool", "mp", "ap", kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1]),
        _node("Transpose", "ap", "back", perm=[0, 2, 3, 1]),
        _node("ReduceMean", "back", "g", axes=[1, 2], keepdims=0),
        _node("MatMul", "g dense/kernel", "m"),
        _node("Add", "m dense/bias", "y"),
    ]
    return _file(nodes, tensors, image=("n", 16, 16, 3), answer=("n", 4), opset=13)


def _mxnet() -> bytes:
    """Attributes where later opsets have operands, dropout, resizing; opset 7."""
    tensors = [
        *(_weight("conv0_weight", 6, 3, 3, 3), _weight("fc_weight", 4, 6), _weight("fc_bias", 4)),
        *(_weight(f"bn_{part}", 6) for part in ("gamma", "beta", "mean")),
        numpy_helper.from_array(np.full(6, 0.7, np.float32), "bn_var"),
        _constant("flat", [0, -1]),
    ]
    nodes = [
        _node("Conv", "x conv0_weight", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        _node("BatchNormalization", "c bn_gamma bn_beta bn_mean bn_var", "b"),
        _node("Clip", "b", "k", min=0.0, max=6.0),
        _node("LRN", "k", "l", size=3, alpha=0.01),
        _node("Upsample", "l", "u", mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]),
        _node("Dropout", "u", "d", ratio=0.3),
        _node("Identity", "d", "i"),
        _node("ReduceMean", "i", "m", axes=[2, 3], keepdims=1),
        _node("Reshape", "m flat", "f"),
        _node("Gemm", "f fc_weight fc_bias", "y", transB=1),
    ]
    return _file(nodes, tensors, opset=7)


def test_a_graph_in_the_manner_of_mxnet_is_read_from_opset_7_on() -> None:
    imported = load(_mxnet())
    kinds = {type(module) for module in imported.model.modules()}
    assert {nn.BatchNorm2d, nn.ReLU6, nn.LocalResponseNorm, nn.Dropout, nn.Upsample, nn.Linear} <= kinds
    assert imported.model(torch.zeros(5, 3, 16, 16)).shape == (5, 4)


def test_a_graph_in_the_manner_of_paddle_becomes_modules_and_answers_with_logits() -> None:
    imported = load(_paddle(), size=16)
    kinds = [type(module) for module in imported.model.modules()]
    assert kinds.count(nn.BatchNorm2d) == 1
    assert imported.notes == ("the final Softmax (Softmax.y) was cut off: the network answers with logits",)
    convolution = next(module for module in imported.model.modules() if isinstance(module, nn.Conv2d))
    linear = next(module for module in imported.model.modules() if isinstance(module, nn.Linear))
    assert convolution.bias is not None
    assert linear.bias is not None


def test_a_graph_in_the_manner_of_keras_takes_channels_first_here() -> None:
    imported = load(_keras())
    assert (imported.channels, imported.size, imported.difference < 1e-5) == (3, 16, True)
    assert imported.model(torch.zeros(5, 3, 16, 16)).shape == (5, 4)


def test_channels_can_be_pruned_before_a_baked_reshape() -> None:
    tensors = [_weight("a.weight", 16, 3, 3, 3), _weight("fc.weight", 4, 16), _constant("flat", [1, 16])]
    nodes = [
        _node("Conv", "x a.weight", "c"),
        _node("GlobalAveragePool", "c", "p"),
        _node("Reshape", "p flat", "f"),
        _node("Gemm", "f fc.weight", "y", transB=1),
    ]
    images = torch.randn(2, 3, 16, 16)
    graph = trace(load(_file(nodes, tensors)).model, images)
    plan = filter_plan(graph, images, {"a": torch.arange(16.0)}, criterion="x", ratio=0.5)
    pruned = apply_plan_(graph, plan, images)
    assert pruned.get_submodule("a").out_channels == 8
    assert pruned(images).shape == (2, 4)


def _classifier(*before: onnx.NodeProto, source: str) -> list[onnx.NodeProto]:
    return [*before, _node("GlobalAveragePool", source, "p"), _node("Flatten", "p", "f"), _node("MatMul", "f w", "y")]


def test_every_unknown_operator_is_named_with_its_first_node() -> None:
    odd = [_node("Det", "x", "a"), _node("Relu", "a", "b"), _node("Hardmax", "b", "c"), _node("Det", "c", "d")]
    with pytest.raises(BadInput, match=r"Det \(node 'Det\.a'\); Hardmax \(node 'Hardmax\.c'\)") as caught:
        load(_file(_classifier(*odd, source="d"), [_weight("w", 3, 4)]))
    assert (caught.value.code, caught.value.value) == ("unsupported_operators", ["Det", "Hardmax"])


@pytest.mark.parametrize(
    ("image", "answer", "message"),
    [
        ((2, 3, 16, 16), (2, 4), "its batch is fixed at 2"),
        ((1, 5, 16, 16), (1, 4), "has 5 channels"),
        ((1, 3, 16, 20), (1, 4), "its images are 16 x 20"),
    ],
)
def test_images_that_do_not_fit_are_refused(image: Shape, answer: Shape, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load(
            _file(
                _classifier(source="x"),
                [_weight("w", image[1] if isinstance(image[1], int) else 3, 4)],
                image=image,
                answer=answer,
            )
        )


def test_a_size_that_the_file_does_not_take_is_named() -> None:
    with pytest.raises(BadInput, match="takes images of 16 x 16 pixels, the preprocessing makes 32 x 32") as caught:
        load(_file(_classifier(source="x"), [_weight("w", 3, 4)]), size=32)
    assert caught.value.field == "model.preprocess.size"


def test_a_map_of_answers_is_no_classifier() -> None:
    with pytest.raises(BadInput, match=r"answers with the shape \[1, 4, 16, 16\]"):
        load(_file([_node("Conv", "x k", "y")], [_weight("k", 4, 3, 1, 1)], answer=(1, 4, 16, 16)))


def test_one_output_is_no_classifier() -> None:
    with pytest.raises(BadInput, match="one output value"):
        load(_file(_classifier(source="x"), [_weight("w", 3, 1)], answer=(1, 1)))


def test_weights_that_are_not_finite_are_a_mismatch() -> None:
    tensor = numpy_helper.from_array(np.full((3, 4), np.nan, np.float32), "w")
    with pytest.raises(BadInput, match="differs from ONNX Runtime by nan"):
        load(_file(_classifier(source="x"), [tensor]))


def test_a_constant_that_would_fill_the_memory_is_refused() -> None:
    nodes = [_node("ConstantOfShape", "big", "zeros"), _node("Add", "x zeros", "a")]
    with pytest.raises(BadInput, match="a constant of up to 1000000000000 elements"):
        load(_file(_classifier(*nodes, source="a"), [_weight("w", 3, 4), _constant("big", [10**6, 10**6])]))


def _numbers(**values: float) -> list[TensorProto]:
    return [numpy_helper.from_array(np.float32(value), name) for name, value in values.items()]


CHAINS: dict[type[nn.Module], tuple[list[onnx.NodeProto], list[TensorProto]]] = {
    nn.GELU: (
        [
            *(_node("Div", "x root", "a"), _node("Erf", "a", "b"), _node("Add", "b one", "c")),
            *(_node("Mul", "x c", "d"), _node("Mul", "d half", "z")),
        ],
        _numbers(root=2**0.5, one=1.0, half=0.5),
    ),
    nn.SiLU: ([_node("Sigmoid", "x", "a"), _node("Mul", "x a", "z")], []),
    nn.Hardswish: (
        [
            *(_node("Add", "x three", "a"), _node("Clip", "a zero six", "b")),
            *(_node("Mul", "x b", "c"), _node("Div", "c six", "z")),
        ],
        _numbers(three=3.0, zero=0.0, six=6.0),
    ),
    nn.Mish: ([_node("Softplus", "x", "a"), _node("Tanh", "a", "b"), _node("Mul", "x b", "z")], []),
    nn.LayerNorm: (
        [
            *(_node("ReduceMean", "x", "a", axes=[-1]), _node("Sub", "x a", "b"), _node("Pow", "b two", "c")),
            *(_node("ReduceMean", "c", "d", axes=[-1]), _node("Add", "d small", "e"), _node("Sqrt", "e", "r")),
            *(_node("Div", "b r", "g"), _node("Mul", "g scale", "h"), _node("Add", "h shift", "z")),
        ],
        [*_numbers(two=2.0, small=1e-5), _weight("scale", 16), _weight("shift", 16)],
    ),
}


@pytest.mark.parametrize("kind", CHAINS, ids=lambda kind: kind.__name__)
def test_what_is_spelt_out_becomes_the_module_that_it_was(kind: type[nn.Module]) -> None:
    chain, tensors = CHAINS[kind]
    chain = [_node("Conv", "image k", "x"), *chain]
    nodes = [*chain, *_classifier(source="z")]
    file = _file(nodes, [*tensors, _weight("k", 3, 3, 1, 1), _weight("w", 3, 4)], name="image")
    imported = load(file)
    assert [type(module) for module in list(imported.model.modules())[1:] if type(module) not in _OTHERS] == [kind]
    arithmetic = [node for node in imported.model.graph.nodes if node.op == "call_function"]
    assert [node.target for node in arithmetic] == [torch.flatten]


_OTHERS = (nn.Module, nn.Conv2d, nn.AdaptiveAvgPool2d, nn.Linear)
