"""Layer by layer: what the inspector tells, what the profiler times, and how much of it a DLA does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from workers.harness.backends.tensorrt import dla
from workers.harness.backends.tensorrt.profile import inspect_engine
from workers.harness.errors import HarnessError


def test_every_layer_has_its_time_and_its_formats(rig: Callable[..., Any], conv_net: Callable[..., bytes]) -> None:
    layers = rig("10.3.0").profile(conv_net(depth=1))
    assert [layer["name"] for layer in layers] == ["conv0", "relu0", "pooled", "flat", "logits", "copy of the input"]
    assert layers[0]["p50_ns"] == 500_000
    assert sum(layer["share"] for layer in layers) == pytest.approx(1)
    assert layers[0]["type"] == "CaskConvolution"
    assert layers[0]["inputs"] == [{"shape": [1, 3, 8, 8], "format": "Float"}]


def test_profiling_uses_no_graph_and_leaves_nothing(rig: Callable[..., Any], conv_net: Callable[..., bytes]) -> None:
    found = rig("10.3.0")
    found.profile(conv_net())
    assert "cudaGraphLaunch" not in found.cudart.calls
    assert found.cudart.alive == {}


def test_an_inspector_that_tells_nothing_is_an_error(
    rig: Callable[..., Any], conv_net: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rig("10.3.0")
    session = found.load(conv_net())
    for text in ("", json.dumps({"Bindings": []}), "[1]"):
        monkeypatch.setattr(found.module.EngineInspector, "get_engine_information", lambda self, format, t=text: t)
        with pytest.raises(HarnessError, match="does not describe its engine"):
            inspect_engine(session._library, session.engine)


NETWORK = {"network_layers": ["a", "b", "c", "d"], "dla_layers": ["a", "c", "d"]}


@pytest.mark.parametrize(
    ("layers", "share"),
    [
        ([{"name": "{ForeignNode[a...c]}", "type": "DLA"}, {"name": "d", "type": "CaskConvolution"}], 0.5),
        ([{"name": "{ForeignNode[d]}", "type": "DlaLayer"}], 0.25),
        ([{"name": "{ForeignNode[a...d]}", "type": "Myelin"}], 0.0),
        ([{"name": "{ForeignNode[x...d]}", "type": "DLA"}], 0.0),
        ([], 0.0),
    ],
)
def test_only_layers_of_the_network_that_a_dla_does_are_counted(layers: list[dict[str, str]], share: float) -> None:
    assert dla.share(NETWORK, layers) == share


def test_an_empty_network_has_no_share() -> None:
    assert dla.share({"network_layers": [], "dla_layers": []}, []) == 0.0
