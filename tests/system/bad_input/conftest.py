"""A server and a worker for jobs that cannot work, and the files that they name."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file

PLUGINS = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width) if norm else nn.Identity()

    def forward(self, x):
        return x + torch.relu(self.norm(self.conv(x)))

def net(*, classes, blocks=2, norm=True):
    body = [Block(8, norm) for _ in range(blocks)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

class Branching(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.net = net(classes=classes)

    def forward(self, x):
        return self.net(x) if x.mean() > 0 else self.net(-x)

def branching(*, classes):
    return Branching(classes)
"""
ENTRIES = "[layerprune.models]\nacme_net = acme_bad:net\nacme_branching = acme_bad:branching\n"


class Files:
    """Makes and uploads what the jobs name."""

    @staticmethod
    def png(label: int, seed: int) -> bytes:
        return png(label, seed)

    def __init__(self, client: Any, folder: Path) -> None:
        self._client, self._folder = client, folder

    def store(self, name: str, content: bytes) -> str:
        """Upload some bytes; gives their digest."""
        path = self._folder / name
        path.write_bytes(content)
        return self._client.upload(path)

    def zip(self, entries: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> dict[str, Any]:
        """Upload a zip file; gives the data set."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", compression) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        return {"name": "own", "upload": self.store("images.zip", packed.getvalue())}

    def images(self, classes: int = 2, each: int = 16) -> dict[str, Any]:
        """Upload images of some classes that differ in brightness."""
        return self.zip({f"class{c:02}/{i}.png": png(c, i) for c in range(classes) for i in range(each)})

    def mixed(self) -> dict[str, Any]:
        """Upload images of all modes and of no common size, which is nothing bad."""
        modes = {"RGB": "png", "L": "png", "RGBA": "png", "P": "png", "CMYK": "tiff", "1": "png", "LA": "png"}
        sizes = [(24, 20), (17, 40), (64, 16)]
        return self.zip(
            {
                f"class{c}/{mode}{i}.{suffix}": png(c, i, size=sizes[i % 3], mode=mode)
                for c in range(2)
                for mode, suffix in modes.items()
                for i in range(3)
            }
        )

    def parquet(self, labels: list[int], names: str) -> dict[str, Any]:
        """Upload a parquet file as Hugging Face writes it, with these labels."""
        encoded = [{"bytes": png(label % 2, i)} for i, label in enumerate(labels)]
        metadata = {"huggingface": f'{{"info": {{"features": {{"label": {{"names": {names}}}}}}}}}'}
        table = pa.table({"image": encoded, "label": labels}).replace_schema_metadata(metadata)
        out = io.BytesIO()
        pq.write_table(table, out)
        return {"name": "own", "upload": self.store("images.parquet", out.getvalue())}

    def weights(self, spoil: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Upload weights of the network acme_net for two classes, spoilt; gives the model."""
        scope: dict[str, Any] = {}
        exec(PLUGINS, scope)
        state = scope["net"](classes=2).state_dict()
        spoil(state)
        save_file(state, self._folder / "spoilt.safetensors")
        return {"name": "acme_net", "weights": self._client.upload(self._folder / "spoilt.safetensors")}

    def onnx(self, *, inputs: int = 1, outputs: int = 1, control_flow: bool = False) -> dict[str, Any]:
        """Upload a network of two convolutions side by side without batch norm, and more or less than that."""
        content = onnx_network(inputs, outputs, control_flow).SerializeToString()
        return {"onnx": self.store("network.onnx", content)}


def png(label: int, seed: int, *, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> bytes:
    """An image whose brightness tells its class."""
    noise = np.random.default_rng(seed).integers(0, 90, (size[1], size[0], 3)) + 100 * (label % 2)
    out = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).convert(mode).save(out, "TIFF" if mode == "CMYK" else "PNG")
    return out.getvalue()


def onnx_network(inputs: int, outputs: int, control_flow: bool) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    tensors = {"k0": (8, 3, 3, 3), "k1": (8, 8, 3, 3), "w": (2, 8)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.2, s).astype(np.float32), n) for n, s in tensors.items()]
    nodes = [
        helper.make_node("Conv", ["image", "k0"], ["c0"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], name="stem_relu"),
        helper.make_node("Conv", ["r0", "k1"], ["c1"], name="block", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["r0", "c1"], ["sum"], name="add"),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w"], ["logits"], name="head", transB=1),
    ]
    if control_flow:
        branches = {
            f"{name}_branch": helper.make_graph([helper.make_node(kind, ["logits"], [name])], name, [], [value(name)])
            for name, kind in (("then", "Identity"), ("else", "Neg"))
        }
        weights.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
        nodes += [
            helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=0),
            helper.make_node("Cast", ["brightest"], ["bright"], to=TensorProto.BOOL),
            helper.make_node("If", ["bright"], ["chosen"], name="by_brightness", **branches),
        ]
    nodes += [helper.make_node("Neg", ["logits"], [f"more{i}"]) for i in range(1, outputs)]
    graph = helper.make_graph(
        nodes,
        "network",
        [value(name, ["N", 3, 16, 16]) for name in ["image", *(f"image{i}" for i in range(1, inputs))]],
        [value("chosen" if control_flow else "logits"), *(value(f"more{i}") for i in range(1, outputs))],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def value(name: str, shape: list[Any] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or ["N", 2])


@pytest.fixture(scope="module")
def site(shared_site: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server, and a worker with the plug-ins and a data root that holds little."""
    installed, root = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("root")
    (installed / "acme_bad.py").write_text(PLUGINS)
    information = installed / "acme_bad-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-bad\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRIES)
    (root / "empty").mkdir()
    (root / "elsewhere").symlink_to(installed)
    return shared_site("--data-root", str(root), PYTHONPATH=str(installed))


@pytest.fixture(scope="module")
def files(site: Any, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(site.client, tmp_path_factory.mktemp("files"))
