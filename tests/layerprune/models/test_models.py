from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from layerprune import models
from layerprune.api.errors import BadInput, UnknownName
from layerprune.api.network import Preprocess


def test_listing_the_table_imports_no_torch() -> None:
    code = "import sys, layerprune.models as m; m.SOURCES; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_source_is_listed() -> None:
    names = {model.name for model in models.list_models()}
    assert {"cifar:resnet20", "cifar:mobilenet_v2", "torchvision:resnet18", "timm:deit_tiny_patch16_224"} <= names


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2", "mnasnet"])
def test_a_cifar_form_leaves_four_by_four_of_a_small_image(name: str) -> None:
    model = models.build(f"cifar:{name}", classes=10, args={"in_channels": 1}).eval()
    sizes = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[2:])))
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    assert (sizes[0], sizes[-1]) == ((32, 32), (4, 4))


def test_timm_states_what_its_own_evaluation_does() -> None:
    assert models.preprocess_of("timm:resnet50", {}) == Preprocess(
        size=224, resize=235, interpolation="bicubic", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
    )
    small = models.preprocess_of("timm:deit_tiny_patch16_224", {"img_size": 64})
    assert small is not None
    assert (small.size, small.resize) == (64, 71)


def test_torchvision_states_the_transforms_of_its_weights() -> None:
    stated = models.preprocess_of("torchvision:resnet50", {})
    assert stated is not None
    assert (stated.size, stated.resize, stated.interpolation) == (224, 232, "bilinear")


def test_cifar_networks_leave_preprocessing_to_the_data_set() -> None:
    assert models.preprocess_of("cifar:resnet20") is None


@pytest.mark.parametrize(("depth", "convolutions"), [(20, 21), (32, 33), (44, 45), (56, 57), (110, 111)])
def test_cifar_depths_have_their_convolutions(depth: int, convolutions: int) -> None:
    model = models.build(f"cifar:resnet{depth}", classes=10)
    # 6 n + 1 in the trunk, 2 in the shortcuts where the width changes
    assert sum(isinstance(module, torch.nn.Conv2d) for module in model.modules()) == convolutions


def test_cifar_network_gives_one_logit_per_class() -> None:
    model = models.build("cifar:resnet20", classes=7, args={"in_channels": 1}).eval()
    assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 7)


def test_torchvision_network_takes_small_images() -> None:
    model = models.build("torchvision:resnet18", classes=10).eval()
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = models.build("cifar:resnet20", classes=10, seed=5).state_dict()
    assert torch.equal(torch.rand(3), expected)
    second = models.build("cifar:resnet20", classes=10, seed=5).state_dict()
    other = models.build("cifar:resnet20", classes=10, seed=6).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize(
    ("name", "near"),
    [("cifar:resnet21", "cifar:resnet20"), ("nowhere:resnet18", "torchvision:resnet18"), ("resnet18", "timm:resnet18")],
)
def test_an_unknown_model_names_the_nearest_ones(name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"nearest are .*{near}") as caught:
        models.build(name, classes=10)
    assert caught.value.value == name
    assert caught.value.code == "unknown_model"


@pytest.mark.parametrize("args", [{"depth": 3}, {"width": 0}, {"width": "wide"}])
def test_an_argument_that_the_network_does_not_take_is_named(args: dict[str, int | str]) -> None:
    with pytest.raises(BadInput) as caught:
        models.build("cifar:resnet20", classes=10, args=args)
    assert caught.value.field == "model.args"
    assert caught.value.value == args
