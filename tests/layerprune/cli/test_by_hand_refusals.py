"""What the commands that need no server refuse: exit code 2, value and remedy, and nothing on standard output."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from layerprune import models
from layerprune.export import export_onnx

Run = Callable[..., "subprocess.CompletedProcess[str]"]
NETWORK = "cifar:resnet20"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, by_hand: Run) -> Path:
    place = tmp_path_factory.mktemp("refusals")
    state = models.build(NETWORK, classes=10).state_dict()
    save_file(state, place / "good.safetensors")
    save_file(models.build(NETWORK, classes=7).state_dict(), place / "seven.safetensors")
    save_file(models.build(NETWORK, classes=10, args={"width": 8}).state_dict(), place / "narrow.safetensors")
    save_file({**state, "layer1.0.conv1.weight": torch.full((16, 16, 3, 3), float("nan"))}, place / "nan.safetensors")
    (place / "pickle.safetensors").write_bytes(pickle.dumps({"fc.weight": [1.0]}))
    (place / "broken.json").write_text("{'format': 1}")
    (place / "other.json").write_text('{"format": "plan-9", "method": "layer"}')
    (place / "empty").mkdir()
    (place / "one" / "owl").mkdir(parents=True)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    export_onnx(network.eval(), torch.randn(2, 3, 16, 16), place / "tiny.onnx")
    done = by_hand("plan", NETWORK, "--remove", "layer1.0", "-o", "plan.json", cwd=place)
    assert done.returncode == 0, done.stderr
    return place


PLAN = ("plan", NETWORK, "-o", "p.json")
PRUNE = ("prune", NETWORK, "-o", "o.onnx", "--plan", "plan.json")
EVALUATE = ("evaluate", NETWORK, "--data", "digits")


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (("layers", "cifar:resnet21"), "unknown model 'cifar:resnet21'", "cifar:resnet20"),
        (("layers", "timm:resnet5o"), "unknown model 'timm:resnet5o'", "timm:resnet50"),
        (("layers", "gone.onnx"), "there is no file gone.onnx", "Check the path"),
        (("layers", "good.safetensors"), "the ONNX file is refused", ""),
        (("layers", NETWORK, "--args", "width"), "'width' is not NAME=VALUE", ""),
        (("layers", NETWORK, "--args", "breadth=3"), "breadth", "Leave the argument out"),
        (("score", "tiny.onnx", "--criteria", "random"), "no layer can go", "prune filters"),
        (("score", NETWORK, "--criteria", "imprinting"), "the criterion imprinting needs images", "--data"),
        (("score", NETWORK, "--criteria", "weight_l3"), "unknown criterion 'weight_l3'", "weight_l1"),
        (("score", NETWORK, "--draw", "scores.png"), "cannot draw to scores.png", ".svg or .html"),
        (("score", NETWORK, "--layer-score", "median"), "layer_score", "median"),
        (PLAN, "one goal has to be given, 0 are", "--amount FRACTION"),
        ((*PLAN, "--count", 2, "--amount", 0.3), "2 are: --count, --amount", "Give one of"),
        ((*PLAN, "--count", 8), "8 layers cannot go: the network has 7 that can", "at most 7"),
        ((*PLAN, "--amount", 1.5), "amounts", "1.5"),
        ((*PLAN, "--ratio", 0.7), "a latency ratio has to be measured", "--measure together"),
        ((*PLAN, "--count", 2, "--method", "filter"), "--count counts layers, and the method is filter", "--amount"),
        (
            (*PLAN, "--remove", "layer1.9"),
            "no removable layer 'layer1.9'; the nearest are layer1.",
            "layerprune layers",
        ),
        ((*PLAN, "--amount", 0.3, "--method", "filter", "--criterion", "cka"), "cka scores layers", "weight_l1"),
        (("plan", "tiny.onnx", "-o", "p.json", "--count", 1), "no layer can go", "--method filter"),
        (("plan", NETWORK, "-o", "gone/p.json", "--count", 1), "lies in gone, which is no folder", "Give a file"),
        ((*PRUNE, "-o", "o.pt"), "cannot write o.pt", "-o FILE.onnx"),
        ((*PRUNE, "--size", 16), "first difference is at place 1", "images of 3x16x16"),
        (("prune", "cifar:resnet32", *PRUNE[2:]), "the first difference is at place", "Apply the plan to the network"),
        ((*PRUNE, "--weights", "pickle.safetensors"), "safetensors", "layerprune import"),
        ((*PRUNE, "--weights", "nan.safetensors"), "layer1.0.conv1.weight holds NaN", "before it diverged"),
        (
            (*PRUNE, "--weights", "narrow.safetensors"),
            "do not fit the network: conv1.weight has the shape [8, 3, 3, 3]",
            "",
        ),
        ((*PRUNE[:4], "--plan", "broken.json"), "cannot read a plan from broken.json", "JSON"),
        ((*PRUNE[:4], "--plan", "other.json"), "plan: format is 'layerprune-plan-1', not 'plan-9'", ""),
        ((*EVALUATE, "--weights", "seven.safetensors"), "it was trained for 7 classes", ""),
        ((*EVALUATE, "--classes", 7), "--classes 7 contradicts the data, which have 10 classes", "Leave out --classes"),
        (("evaluate", "tiny.onnx", "--data", "digits"), "3 outputs, digits has 10 classes", "trained for"),
        (("evaluate", NETWORK, "--data", "digit"), "unknown dataset 'digit'", "digits"),
        (("evaluate", NETWORK, "--data", "gone/birds"), "there is no file or folder gone/birds", "name a set: digits"),
        (("evaluate", NETWORK, "--data", "empty"), "no images in the folder 'empty'", "every class"),
        (("evaluate", NETWORK, "--data", "one"), "no images in the folder 'one'", "into a folder of its own"),
        (("finetune", NETWORK, "--data", "digits", "-o", "o.onnx", "--epochs", 0), "epochs", "(it is 0)"),
        (("score", NETWORK, "--data", "digits", "--size", 64), "--size 64 and --data contradict", "--preprocess"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_is_named_with_its_remedy(
    arguments: tuple[object, ...], message: str, remedy: str, folder: Path, by_hand: Run
) -> None:
    done = by_hand(*arguments, "--json", cwd=folder)
    assert message in done.stderr
    assert remedy in done.stderr
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
