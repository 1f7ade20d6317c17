"""The commands that need no server, one after the other on real networks and images."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from layerprune import models
from layerprune.export import export_onnx
from layerprune.structure.plan import Plan

Run = Callable[..., "subprocess.CompletedProcess[str]"]
NETWORK = "cifar:resnet20"
BLOCKS = ["layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2"]
BASE = ("--weights", "base.safetensors")


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass
class Chain:
    """What each command of the chain said, and where its files are."""

    folder: Path
    base: Any
    scores: Any
    plan: Any
    pruned: Any
    tuned: Any


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, by_hand: Run) -> Chain:
    folder = tmp_path_factory.mktemp("by-hand")

    def say(*arguments: object) -> Any:
        return answer(by_hand(*arguments, "--json", cwd=folder))

    digits, plan = ("--data", "digits"), ("--plan", "plan.json")
    return Chain(
        folder,
        say("finetune", NETWORK, *digits, "--epochs", 1, "-o", "base.safetensors"),
        say("score", NETWORK, *BASE, *digits, "--criteria", "weight_l1,block_influence", "--draw", "scores.svg"),
        say("plan", NETWORK, *BASE, *digits, "--criterion", "block_influence", "--count", 3, "-o", "plan.json"),
        say("prune", NETWORK, *BASE, "--calibrate", "digits", *plan, "-o", "out.onnx", "-o", "o.safetensors"),
        say("finetune", NETWORK, *BASE, *digits, *plan, "--epochs", 1, "-o", "tuned.onnx", "-o", "t.safetensors"),
    )


def test_layers_lists_what_can_go_with_its_cost(by_hand: Run, tmp_path: Path) -> None:
    rows = answer(by_hand("layers", NETWORK, "--json", cwd=tmp_path))
    assert [row["name"] for row in rows if row["removable"]] == BLOCKS
    block = next(row for row in rows if row["name"] == "layer1.0")
    convolutions = 2 * 16 * 16 * 9
    assert (block["kind"], block["params"]) == ("residual_block", convolutions + 2 * 32)
    assert block["macs"] == convolutions * 32 * 32
    assert {"name", "kind", "params", "macs", "removable"} <= rows[0].keys()


def test_layers_says_of_the_rest_why_it_stays(by_hand: Run, tmp_path: Path) -> None:
    rows = answer(by_hand("layers", NETWORK, "--json", cwd=tmp_path))
    why = {row["name"]: row["why"] for row in rows}
    assert why["fc"] == "computes the answer"
    assert "changes the shape" in why["conv1"]
    assert why["layer1.0"] is None


def test_layers_counts_every_convolution_once(by_hand: Run, tmp_path: Path) -> None:
    rows = answer(by_hand("layers", NETWORK, "--json", "--size", 16, cwd=tmp_path))
    whole = answer(
        by_hand("plan", NETWORK, "--size", 16, "--remove", "layer1.0", "-o", "p.json", "--json", cwd=tmp_path)
    )
    assert sum(row["macs"] for row in rows) == whole["before"]["macs"]


def test_finer_layers_are_offered_on_request(by_hand: Run, tmp_path: Path) -> None:
    rows = answer(by_hand("layers", NETWORK, "--finer", "--json", cwd=tmp_path))
    going = {row["name"]: row["inside"] for row in rows if row["removable"]}
    assert going["layer1.0.conv1"] == "layer1.0"
    assert set(BLOCKS) < going.keys()


def plain_network(path: Path, *widths: int) -> None:
    """Write a chain of 3x3 convolutions with these widths, and a classifier of 3 classes, as ONNX."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for before, after in zip((3, *widths), widths, strict=False):
        parts += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 3))
    export_onnx(network.eval(), torch.randn(2, 3, 16, 16), path)


def test_width_changing_layers_are_offered_on_request(by_hand: Run, tmp_path: Path) -> None:
    plain_network(tmp_path / "plain.onnx", 8, 8, 16)
    plainly = answer(by_hand("layers", "plain.onnx", "--json", cwd=tmp_path))
    widely = answer(by_hand("layers", "plain.onnx", "--width-changing", "--json", cwd=tmp_path))
    assert [sum(row["removable"] for row in rows) for rows in (plainly, widely)] == [1, 3]


def test_layers_says_why_nothing_can_go(by_hand: Run, tmp_path: Path) -> None:
    plain_network(tmp_path / "plain.onnx", 8, 16)
    done = by_hand("layers", "plain.onnx", "--json", cwd=tmp_path)
    assert not any(row["removable"] for row in answer(done))
    assert "No layer can go: of the other blocks from input to output, 2 change the number of channels" in done.stderr


def test_scores_have_a_column_per_criterion(chain: Chain) -> None:
    assert [row["name"] for row in chain.scores] == BLOCKS
    assert all(row["scores"].keys() == {"weight_l1", "block_influence"} for row in chain.scores)
    assert all(0 <= row["scores"]["block_influence"] <= 2 for row in chain.scores)


def test_scores_are_drawn_with_a_bar_per_layer_and_criterion(chain: Chain) -> None:
    drawing = ElementTree.parse(chain.folder / "scores.svg").getroot()
    bars = [bar for bar in drawing.iter("{http://www.w3.org/2000/svg}rect") if len(bar)]
    assert len(bars) == 2 * len(BLOCKS)
    widest = max(chain.scores, key=lambda row: row["scores"]["weight_l1"])["name"]
    width = {bar[0].text: float(bar.attrib["width"]) for bar in bars[: len(BLOCKS)]}
    assert max(width, key=width.__getitem__).startswith(f"{widest}: ")


def test_scores_are_drawn_as_a_page(by_hand: Run, tmp_path: Path) -> None:
    answer(by_hand("score", NETWORK, "--criteria", "random", "--draw", "s.html", "--json", cwd=tmp_path))
    page = (tmp_path / "s.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<svg" in page


def test_a_plan_removes_the_least_important_layers(chain: Chain) -> None:
    scores = {row["name"]: row["scores"]["block_influence"] for row in chain.scores}
    assert set(chain.plan["removed"]) == set(sorted(scores, key=scores.__getitem__)[:3])
    assert chain.plan["amount"] == pytest.approx(1 - chain.plan["after"]["macs"] / chain.plan["before"]["macs"])


def test_the_plan_is_a_file_that_the_library_reads(chain: Chain) -> None:
    plan = Plan.from_dict(json.loads((chain.folder / "plan.json").read_text()))
    assert plan.hash == chain.plan["plan_hash"]
    assert plan.outline[0].startswith("conv1 Conv2d 16x3x3x3")


def test_pruning_leaves_what_the_plan_promised(chain: Chain) -> None:
    assert chain.pruned["before"] == chain.plan["before"]
    assert chain.pruned["after"] == chain.plan["after"]
    assert chain.pruned["reestimated"]


def test_the_pruned_onnx_runs_on_any_batch(chain: Chain) -> None:
    assert chain.pruned["onnx_difference"] < 1e-4
    session = onnxruntime.InferenceSession(str(chain.folder / "out.onnx"))
    assert session.run(None, {"input": np.zeros((5, 3, 16, 16), np.float32)})[0].shape == (5, 10)


def test_the_pruned_weights_lack_the_layers_that_went(chain: Chain) -> None:
    names = load_file(chain.folder / "o.safetensors").keys()
    assert not any(name.startswith(f"{layer}.") for layer in chain.plan["removed"] for name in names)
    assert "fc.weight" in names


def test_finetuning_reports_the_three_accuracies(chain: Chain) -> None:
    assert all(chain.tuned["test"][moment]["n"] == 540 for moment in ("after_surgery", "after_reestimation", "final"))
    assert chain.tuned["recipe"]["distillation"] == 0.5
    assert chain.tuned["notes"] == []


def test_an_onnx_file_is_evaluated_as_the_network_was(chain: Chain, by_hand: Run) -> None:
    found = answer(by_hand("evaluate", "tuned.onnx", "--data", "digits", "--json", cwd=chain.folder))
    assert (found["correct"], found["images"]) == (chain.tuned["test"]["final"]["correct"], 540)
    assert found["runtime"].startswith("onnxruntime ")
    assert found["ci_low"] < found["accuracy"] < found["ci_high"]


def test_a_file_for_one_image_at_a_time_is_evaluated_alike(chain: Chain, by_hand: Run) -> None:
    network = models.build(NETWORK, classes=10).eval()
    network.load_state_dict(load_file(chain.folder / "base.safetensors"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(network, (torch.randn(1, 3, 16, 16),), chain.folder / "one.onnx", dynamo=False)
    found = answer(by_hand("evaluate", "one.onnx", "--data", "digits", "--json", cwd=chain.folder))
    assert abs(found["correct"] - chain.base["test"]["final"]["correct"]) <= 1


def test_pruned_weights_are_evaluated_with_their_plan(chain: Chain, by_hand: Run) -> None:
    arguments = ("evaluate", NETWORK, "--plan", "plan.json", "--weights", "t.safetensors", "--data", "digits")
    found = answer(by_hand(*arguments, "--json", cwd=chain.folder))
    assert found["correct"] == chain.tuned["test"]["final"]["correct"]
    assert found["runtime"].startswith("torch ")


def test_a_base_that_was_trained_here_is_evaluated_alike(chain: Chain, by_hand: Run) -> None:
    done = by_hand("evaluate", NETWORK, *BASE, "--data", "digits", cwd=chain.folder)
    correct = chain.base["test"]["final"]["correct"]
    assert f"({correct} of 540;" in done.stdout


def test_a_pruned_onnx_is_pruned_again(chain: Chain, by_hand: Run) -> None:
    again = answer(by_hand("plan", "out.onnx", "--count", 1, "-o", "again.json", "--json", cwd=chain.folder))
    done = answer(by_hand("prune", "out.onnx", "--plan", "again.json", "-o", "less.onnx", "--json", cwd=chain.folder))
    assert done["after"] == again["after"]
    assert done["after"]["macs"] < chain.pruned["after"]["macs"]


def test_named_layers_go_in_forward_order(by_hand: Run, tmp_path: Path) -> None:
    arguments = ("plan", NETWORK, "--remove", "layer3.1,layer1.0", "-o", "p.json", "--json")
    assert answer(by_hand(*arguments, cwd=tmp_path))["removed"] == ["layer1.0", "layer3.1"]


@pytest.mark.parametrize("method", ["layer", "filter", "hybrid"])
def test_a_fraction_of_the_macs_goes_by_every_method(method: str, by_hand: Run, tmp_path: Path) -> None:
    arguments = ("plan", NETWORK, "--size", 16, "--method", method, "--amount", 0.4, "--alignment", 8, "-o", "p.json")
    found = answer(by_hand(*arguments, "--json", cwd=tmp_path))
    assert found["amount"] == pytest.approx(0.4, abs=0.07)  # a block is 12 % of the network
    assert found["plan"]["method"] == method
    pruned = answer(by_hand("prune", NETWORK, "--size", 16, "--plan", "p.json", "-o", "o.onnx", "--json", cwd=tmp_path))
    assert pruned["after"] == found["after"]


def test_a_latency_is_reached_as_it_is_measured_here(by_hand: Run, tmp_path: Path) -> None:
    arguments = ("plan", NETWORK, "--ratio", 0.75, "--measure", "-o", "p.json")
    found = answer(by_hand(*arguments, "--json", cwd=tmp_path))
    assert 0 < found["ratio"] <= 0.75
    assert len(found["removed"]) >= 1


def test_finetuning_from_random_weights_has_no_teacher(by_hand: Run, tmp_path: Path) -> None:
    narrow = (NETWORK, "--args", "width=4")
    answer(by_hand("plan", *narrow, "--size", 16, "--count", 5, "-o", "p.json", "--json", cwd=tmp_path))
    arguments = ("finetune", *narrow, "--data", "digits", "--plan", "p.json", "--epochs", 1, "-o", "o.onnx")
    found = answer(by_hand(*arguments, "--json", cwd=tmp_path))
    assert "without distillation" in found["notes"][0]


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of two classes with 20 images each, which are not square."""
    root = tmp_path_factory.mktemp("own") / "birds"
    generator = np.random.default_rng(0)
    for name in ("duck", "owl"):
        (root / name).mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    shutil.make_archive(str(root), "zip", root)
    return root


@pytest.mark.parametrize("form", ["birds", "birds.zip"])
def test_own_images_come_as_a_folder_or_a_zip(form: str, birds: Path, by_hand: Run) -> None:
    arguments = ("evaluate", NETWORK, "--args", "width=4", "--data", form, "--json")
    found = answer(by_hand(*arguments, cwd=birds.parent))
    assert found["images"] == 12  # 30 per cent
    assert "random weights" in found["notes"][0]


@pytest.mark.parametrize("command", ["layers", "score", "plan", "prune", "finetune", "evaluate"])
def test_every_command_by_hand_explains_itself_with_an_example(command: str, by_hand: Run, tmp_path: Path) -> None:
    done = by_hand(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"layerprune {command} " in done.stdout.split("Options")[0]


def test_people_get_tables_and_sentences(chain: Chain, by_hand: Run) -> None:
    said = [
        by_hand("layers", NETWORK, cwd=chain.folder).stdout,
        by_hand("score", NETWORK, *BASE, "--criteria", "weight_l1", cwd=chain.folder).stdout,
        by_hand("plan", NETWORK, *BASE, "--remove", "layer1.0", "-o", "p.json", cwd=chain.folder).stdout,
        by_hand("prune", NETWORK, *BASE, "--plan", "p.json", "-o", "p.onnx", cwd=chain.folder).stdout,
    ]
    expected = ["7 layers can go", "████████", "p.json: without 1 layer (layer1.0)", "ONNX Runtime agrees with PyTorch"]
    assert [text in page for text, page in zip(expected, said, strict=True)] == [True] * 4
