"""Make the networks of `layerprune device check`: three small ONNX files, their images' seeds and reference outputs.

    python benchmarks/check_networks.py            # writes into workers/harness/check/
    python benchmarks/check_networks.py --check    # says whether what lies there is what this writes

The references come from the onnx package's own evaluator, in numpy: no runtime is its own judge. The networks stand
for many: residual blocks with batch norm (opset 13), separable convolutions with squeeze and excitation (opset 11), a
transformer block (opset 17). Their input is as `layerprune.export` writes it: a batch of any size.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator

from workers.harness.check import CLASSES, FOLDER, INDEX, SIZE, image
from workers.harness.evaluate import Preprocess, normalise

Array = NDArray[np.float32]
EVALUATED = 17
CANDIDATES, CHOSEN = 96, 32
"""Of so many images, so many are kept: those whose answer is clearest in all networks, which no rounding changes."""
PREPROCESS = {"channels": 3, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


class Writer:
    """Collects nodes and weights; every method adds one step and returns the name of what it computes."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.RandomState(seed)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, values: Any, kind: type = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=kind), name))
        return name

    def random(self, *shape: int, fan_in: int) -> Array:
        return (self._random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    def conv(self, x: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> str:
        fan_in = inputs // groups * kernel * kernel
        weight = self.weight(self.random(outputs, inputs // groups, kernel, kernel, fan_in=fan_in))
        pads = [0 if kernel == stride else kernel // 2] * 4
        return self.node("Conv", x, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=groups)

    def batch_norm(self, x: str, channels: int) -> str:
        scale, shift, mean = (self._random.uniform(low, low + 0.4, channels) for low in (0.8, -0.1, -0.2))
        return self.node("BatchNormalization", x, *(self.weight(v) for v in (scale, shift, mean, scale + 0.2)))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        weight = self.weight(self.random(inputs, outputs, fan_in=2 * inputs))
        return self.node("Add", self.node("MatMul", x, weight), self.weight(np.full(outputs, 0.05)))


def residual(net: Writer) -> tuple[str, int]:
    x = net.node("Relu", net.batch_norm(net.conv("input", 3, 16, 3), 16))
    inputs = 16
    for outputs, stride in ((16, 1), (24, 2)):
        y = net.node("Relu", net.batch_norm(net.conv(x, inputs, outputs, 3, stride=stride), outputs))
        y = net.batch_norm(net.conv(y, outputs, outputs, 3), outputs)
        if stride > 1:
            x = net.batch_norm(net.conv(x, inputs, outputs, 1, stride=stride), outputs)
        x, inputs = net.node("Relu", net.node("Add", x, y)), outputs
    return net.node("Flatten", net.node("GlobalAveragePool", x)), inputs


def separable(net: Writer) -> tuple[str, int]:
    low, high = net.weight(0.0), net.weight(6.0)
    x = net.node("Clip", net.batch_norm(net.conv("input", 3, 24, 3, stride=2), 24), low, high)
    x = net.node("Clip", net.batch_norm(net.conv(x, 24, 24, 3, groups=24), 24), low, high)
    x = net.batch_norm(net.conv(x, 24, 32, 1), 32)
    squeezed = net.node("Relu", net.conv(net.node("GlobalAveragePool", x), 32, 8, 1))
    gate = net.node("HardSigmoid", net.conv(squeezed, 8, 32, 1), alpha=1 / 6, beta=0.5)
    x = net.node("Mul", x, gate)
    x = net.batch_norm(net.conv(x, 32, 32, 5, stride=2, groups=32), 32)
    x = net.batch_norm(net.conv(x, 32, 64, 1), 64)
    x = net.node("Mul", x, net.node("HardSigmoid", x, alpha=1 / 6, beta=0.5))
    return net.node("Flatten", net.node("GlobalAveragePool", x)), 64


def attention(net: Writer) -> tuple[str, int]:
    width, heads, patch = 48, 4, 8
    tokens, head = (SIZE // patch) ** 2, width // heads

    def norm(x: str) -> str:
        return net.node("LayerNormalization", x, net.weight(np.ones(width)), net.weight(np.zeros(width)), axis=-1)

    def split(x: str, order: list[int]) -> str:
        shape = net.weight([0, tokens, heads, head], np.int64)
        return net.node("Transpose", net.node("Reshape", net.linear(x, width, width), shape), perm=order)

    x = net.node("Reshape", net.conv("input", 3, width, patch, stride=patch), net.weight([0, width, tokens], np.int64))
    x = net.node("Transpose", x, perm=[0, 2, 1])
    y = norm(x)
    query, key, value = split(y, [0, 2, 1, 3]), split(y, [0, 2, 3, 1]), split(y, [0, 2, 1, 3])
    scores = net.node("Mul", net.node("MatMul", query, key), net.weight(head**-0.5))
    mixed = net.node("MatMul", net.node("Softmax", scores, axis=-1), value)
    mixed = net.node(
        "Reshape", net.node("Transpose", mixed, perm=[0, 2, 1, 3]), net.weight([0, tokens, width], np.int64)
    )
    x = net.node("Add", x, net.linear(mixed, width, width))
    y = net.linear(norm(x), width, 2 * width)
    erf = net.node("Erf", net.node("Div", y, net.weight(2**0.5)))
    y = net.node("Mul", net.node("Mul", y, net.node("Add", erf, net.weight(1.0))), net.weight(0.5))
    x = net.node("Add", x, net.linear(y, 2 * width, width))
    return net.node("ReduceMean", x, axes=[1], keepdims=0), width


NETWORKS = {"residual": (residual, 13, 1), "separable": (separable, 11, 2), "attention": (attention, 17, 3)}
"""Name: how it is made, its opset, the seed of its weights."""


def finish(net: Writer, output: str, opset: int, name: str) -> onnx.ModelProto:
    shape = ["batch", 3, SIZE, SIZE]
    graph = helper.make_graph(
        net.nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        net.weights,
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=6, producer_name="layerprune")


def build(name: str, images: Array) -> tuple[onnx.ModelProto, Array]:
    """Make a network whose logits spread over the images, and its logits of them."""
    make, opset, seed = NETWORKS[name]
    net = Writer(seed)
    output, width = make(net)
    features = run(finish(net, output, opset, name), images)
    weight = net.random(width, CLASSES, fan_in=2 * width) / features.std(axis=0, keepdims=True).T
    bias = -features.mean(axis=0) @ weight
    # Rounded, so that the last bits of numpy's sums on some processor do not decide what the file holds.
    logits = net.node("Gemm", output, net.weight(np.round(weight, 3)), net.weight(np.round(bias, 3)))
    net.nodes[-1].output[0] = logits = "logits"
    model = finish(net, logits, opset, name)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", CLASSES]))
    onnx.checker.check_model(model, full_check=True)
    return model, run(model, images)


def run(model: onnx.ModelProto, images: Array) -> Array:
    """Evaluate as opset 17: before opset 14 the evaluator takes batch norm's means from the images, as in training."""
    evaluator = ReferenceEvaluator(version_converter.convert_version(model, EVALUATED))
    found: Array = evaluator.run(None, {"input": images})[0]
    return found


def clearest(logits: Sequence[Array]) -> list[int]:
    """The images whose best answer stands out most from the second, in the network where it stands out least."""
    ordered = [np.sort(values, axis=1) for values in logits]
    margins = np.min([values[:, -1] - values[:, -2] for values in ordered], axis=0)
    return sorted(int(i) for i in np.argsort(-margins, kind="stable")[:CHOSEN])


def make() -> dict[str, bytes]:
    """Every file, by name."""
    pixels = np.stack([image(seed) for seed in range(CANDIDATES)])
    images = normalise(pixels, Preprocess.from_dict(PREPROCESS))
    built = {name: build(name, images) for name in NETWORKS}
    seeds = clearest([logits for _, logits in built.values()])
    files = {
        INDEX: json.dumps({"preprocess": PREPROCESS, "seeds": seeds, "networks": list(NETWORKS)}, indent=1).encode()
    }
    for name, (model, logits) in built.items():
        files[f"{name}.onnx"] = model.SerializeToString(deterministic=True)
        table = io.BytesIO()
        np.save(table, logits[seeds].astype("<f4"))
        files[f"{name}.npy"] = table.getvalue()
    return files


def differences(files: dict[str, bytes], folder: Path) -> list[str]:
    """What lies in the folder and is not what was made; outputs may differ by rounding."""
    found = []
    for name, content in files.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif name.endswith(".npy"):
            if not np.allclose(np.load(path), np.load(io.BytesIO(content)), rtol=0, atol=1e-4):
                found.append(f"{name} holds other outputs")
        elif path.read_bytes() != content:
            found.append(f"{name} differs")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    files = make()
    if parser.parse_args().check:
        problems = differences(files, FOLDER)
        for problem in problems:
            print(problem)
        return 1 if problems else 0
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
