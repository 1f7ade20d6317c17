"""Parsing and building for real, with TensorRT for RTX, which needs no GPU for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workers.harness.backends import load_backend
from workers.harness.backends.tensorrt.building import BuildOptions, Library, build, libraries, parse
from workers.harness.errors import HarnessError

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

SHAPE = (4, 3, 8, 8)
Net = Callable[..., bytes]


@pytest.fixture(scope="module")
def rtx() -> Library:
    return next(library for library in libraries() if library.name == "tensorrt-rtx")


def can_load(name: str) -> bool:
    try:
        load_backend(name)
    except HarnessError:
        return False
    return True


def test_the_parser_tells_layers_and_inputs(rtx: Library, conv_net: Net) -> None:
    found = parse(conv_net(depth=2), rtx)
    assert found.layers >= 6
    assert found.inputs == {"input": (-1, 3, 8, 8)}
    assert found.refusals == []


def test_the_parser_names_the_operator_and_the_node_that_it_refuses(rtx: Library, foreign_net: Net) -> None:
    (refusal,) = parse(foreign_net(), rtx).refusals
    assert (refusal.operator, refusal.node) == ("Swizzle", "strange")
    assert refusal.message
    assert str(refusal).startswith("Swizzle (node strange): ")


@pytest.mark.parametrize("network", [b"", b"no network", b"\x08\x09"], ids=["empty", "text", "no graph"])
def test_what_is_no_network_is_refused_with_a_reason(rtx: Library, network: bytes) -> None:
    assert all(refusal.message for refusal in parse(network, rtx).refusals)
    with pytest.raises(HarnessError, match="refuses the network: .+") as caught:
        build(network, rtx, BuildOptions(shape=SHAPE))
    assert caught.value.code == "parse_rejected"


def test_a_refused_operator_stops_the_build_by_name(rtx: Library, foreign_net: Net) -> None:
    with pytest.raises(HarnessError, match=r"refuses the network: Swizzle \(node strange\)") as caught:
        build(foreign_net(), rtx, BuildOptions(shape=SHAPE, capability="SM86"))
    assert (caught.value.code, caught.value.value) == ("parse_rejected", ["Swizzle"])


@pytest.mark.parametrize("capability", ["SM86", "SM89", "SM120"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_networks_of_every_precision_are_built_for_cards_that_are_not_here(
    rtx: Library, conv_net: Net, half_net: Net, quantised_net: Net, capability: str, precision: str
) -> None:
    network = {"fp32": conv_net, "fp16": half_net, "int8": quantised_net}[precision]()
    engine = build(network, rtx, BuildOptions(shape=SHAPE, precision=precision, capability=capability))
    assert len(engine.plan) > 1000
    assert engine.layers >= 3
    assert engine.seconds > 0


def test_an_engine_may_take_many_batch_sizes(rtx: Library, conv_net: Net) -> None:
    options = BuildOptions(shape=SHAPE, smallest=(1, 3, 8, 8), largest=(64, 3, 8, 8), capability="SM89")
    assert build(conv_net(), rtx, options).plan


def test_a_network_without_open_sizes_needs_no_shape(rtx: Library, fixed_net: Net) -> None:
    assert build(fixed_net(), rtx, BuildOptions(capability="SM86")).plan


def test_a_network_without_open_sizes_takes_its_own_shape_only(rtx: Library, fixed_net: Net) -> None:
    assert build(fixed_net(), rtx, BuildOptions(shape=SHAPE, capability="SM86")).plan
    with pytest.raises(HarnessError, match=r"takes \[4, 3, 8, 8\], not \[1, 3, 8, 8\]"):
        build(fixed_net(), rtx, BuildOptions(shape=(1, 3, 8, 8), capability="SM86"))


def test_open_sizes_without_a_shape_are_refused_by_the_library(rtx: Library, conv_net: Net) -> None:
    with pytest.raises(HarnessError, match="no optimization profile has been defined") as caught:
        build(conv_net(), rtx, BuildOptions(capability="SM86"))
    assert caught.value.code == "parse_rejected"


def test_what_a_card_cannot_do_is_refused_by_the_library(rtx: Library, conv_net: Net) -> None:
    with pytest.raises(HarnessError, match="FP32 GEMM is not supported") as caught:
        build(conv_net(), rtx, BuildOptions(shape=SHAPE, capability="SM75"))
    assert caught.value.code == "parse_rejected"


def test_the_card_that_is_here_needs_a_driver(rtx: Library, conv_net: Net) -> None:
    if can_load("tensorrt-rtx"):
        assert build(conv_net(), rtx, BuildOptions(shape=SHAPE)).plan
        return
    with pytest.raises(HarnessError, match="tensorrt-rtx .* cannot .*CUDA"):
        build(conv_net(), rtx, BuildOptions(shape=SHAPE))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"capability": "SM87"}, "cannot build for SM87; it can for: .*SM86"),
        ({"precision": "fp8"}, "has no precision 'fp8'; it has: fp32, fp16, int8"),
        ({"typing": "weak"}, "has no typing 'weak'; it has: strong"),
        ({"precision": "fp16"}, "the network's file carries fp32, not fp16, and with strong typing the file decides"),
        ({"precision": "int8"}, "carries fp32, not int8"),
        ({"dla_core": 0}, "a DLA computes in fp16 and int8 only"),
        ({"largest": (2, 3, 8, 8)}, "are not in rising order"),
    ],
)
def test_options_that_cannot_be_met_are_refused(
    rtx: Library, conv_net: Net, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(HarnessError, match=words) as caught:
        build(conv_net(), rtx, BuildOptions(**{"shape": SHAPE, "capability": "SM86", **options}))
    assert caught.value.code == "bad_input"
    assert caught.value.remedy


@pytest.mark.parametrize("shape", [(4, 3, 16, 16), (4, 1, 8, 8), (3, 8, 8)])
def test_a_shape_that_the_network_does_not_take_is_refused(rtx: Library, conv_net: Net, shape: tuple[int, ...]) -> None:
    with pytest.raises(HarnessError, match=r"takes \[-1, 3, 8, 8\], not ") as caught:
        build(conv_net(), rtx, BuildOptions(shape=shape, capability="SM86"))
    assert caught.value.code == "parse_rejected"


def test_an_engine_is_no_network(rtx: Library, fixed_net: Net) -> None:
    engine = build(fixed_net(), rtx, BuildOptions(capability="SM86"))
    with pytest.raises(HarnessError, match="this is an engine of TensorRT, not ONNX"):
        parse(engine.plan, rtx)


def test_building_without_tf32_is_another_engine(rtx: Library, conv_net: Net) -> None:
    engines = [
        build(conv_net(), rtx, BuildOptions(shape=SHAPE, capability="SM86", tf32=tf32)) for tf32 in (True, False)
    ]
    assert engines[0].plan != engines[1].plan


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_without_a_gpu_the_backend_says_what_is_missing(name: str) -> None:
    if can_load(name):
        pytest.skip(f"{name} and a GPU are here")
    with pytest.raises(HarnessError, match="is not installed here|no GPU can be used here") as caught:
        load_backend(name)
    assert caught.value.code == "bad_input"
    assert caught.value.remedy
