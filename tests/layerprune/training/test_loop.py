"""A training learns, repeats itself, reports, and stops."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.network import Preprocess
from layerprune.api.training import TrainingSpec
from layerprune.data.feed import Feed, MemoryFeed
from layerprune.evaluate import evaluate
from layerprune.models import build
from layerprune.training.loop import train_
from layerprune.training.norms import reestimate_batch_norm_, statistics_batches
from layerprune.training.precision import Dtype, Precision
from layerprune.training.recipe import Recipe, make_recipe

Digits = Callable[..., tuple[Feed, Feed, Feed]]
Small = Callable[[], nn.Module]


def _noise(labels: Tensor, *, std: float = 0.3) -> MemoryFeed:
    """One random grey image of 2x2 per label, centred; `std` divides its pixels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(labels), 1, 2, 2), dtype=torch.uint8, generator=generator)
    return MemoryFeed(pixels, labels, Preprocess(size=8, channels=1, mean=[0.5], std=[std]))


def _recipe(model: nn.Module, precision: Precision | None = None, **spec: object) -> Recipe:
    return make_recipe(model, TrainingSpec.model_validate(spec), precision=precision)


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_resnet20_reaches_97_per_cent_on_digits(digits: Digits) -> None:
    train, validation, test = digits(16, 942)
    model = build("cifar:resnet20", classes=10)
    train_(model, train, _recipe(model), epochs=10, seed=0, validation=validation)
    count, _ = evaluate(model, test)
    assert count.correct >= math.ceil(0.97 * 540)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    dtype: Dtype, digits: Digits, small: Small
) -> None:
    train, validation, _ = digits()
    weights = []
    for seed in (3, 3, 4):
        model = nn.Sequential(small(), nn.Dropout(0.1))
        recipe = _recipe(model, Precision(dtype), ema=0.9)
        train_(model, train, recipe, epochs=1, seed=seed, validation=validation)
        weights.append(_flat(model))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_training_leaves_the_global_random_state_alone(digits: Digits, small: Small) -> None:
    train, validation, _ = digits(8, 64)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train_(model := small(), train, _recipe(model), epochs=1, seed=0, validation=validation)
    assert torch.equal(torch.rand(1), expected)


def test_progress_comes_with_every_epoch_and_ends_at_one(digits: Digits, small: Small) -> None:
    train, validation, _ = digits()
    seen: list[Progress] = []
    model = small()
    curve = train_(model, train, _recipe(model), epochs=2, seed=0, validation=validation, on_progress=seen.append)
    assert [record.epoch for record in curve] == [1, 2]
    assert [(p.epoch, p.accuracy) for p in seen if p.seconds_left == 0] == [(2, curve[1].validation_accuracy)]
    assert seen[-1].fraction == 1
    assert all(p.loss is not None and p.epochs == 2 for p in seen)


def test_a_checkpoint_that_raises_stops_the_training_at_once(digits: Digits, small: Small) -> None:
    train, validation, _ = digits(8, 942)
    model = small()
    passed = 0

    def checkpoint() -> None:
        nonlocal passed
        passed += 1
        if passed == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_(model, train, _recipe(model), epochs=9, seed=0, validation=validation, checkpoint=checkpoint)
    assert passed == 3


def test_a_loss_that_is_not_finite_is_named_diverged() -> None:
    data = _noise(torch.arange(8) % 2, std=1e-30)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Linear(2, 2))
    recipe = _recipe(model, learning_rate=10, batch_size=2)
    with pytest.raises(BadInput, match="in epoch") as caught:
        train_(model, data, recipe, epochs=3, seed=0, validation=data)
    assert caught.value.code == "diverged"
    assert caught.value.field == "training.learning_rate"


def test_distillation_alone_pulls_the_student_to_the_teachers_answers() -> None:
    images = _noise(torch.zeros(256, dtype=torch.int64)).first(256)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    student = copy.deepcopy(teacher)
    nn.init.zeros_(student[1].weight)
    wrong = _noise(1 - teacher(images).argmax(1))
    recipe = _recipe(student, distillation=1, learning_rate=0.5, weight_decay=0)
    train_(student, wrong, recipe, epochs=10, seed=0, validation=wrong, teacher=teacher)
    agreement = (student(images).argmax(1) == teacher(images).argmax(1)).float().mean()
    assert agreement > 0.95


@pytest.mark.parametrize("ema", [None, 0.9])
def test_training_ends_with_the_statistics_of_its_last_weights(ema: float | None, digits: Digits, small: Small) -> None:
    train, validation, _ = digits()
    model = small()
    curve = train_(model, train, _recipe(model, ema=ema), epochs=1, seed=0, validation=validation)
    found = model.get_submodule("bn1").running_mean.clone()
    count, _ = evaluate(model, validation)
    assert curve[-1].validation_accuracy == count.correct / count.n
    reestimate_batch_norm_(model, statistics_batches(train, batch_size=64, seed=0))
    assert found.tolist() == pytest.approx(model.get_submodule("bn1").running_mean.tolist(), abs=1e-6)


def test_averaged_weights_are_what_is_kept() -> None:
    data = _noise(torch.arange(4) % 2)
    start = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    plain, averaged = copy.deepcopy(start), copy.deepcopy(start)
    seen: list[Tensor] = []

    def look() -> None:
        seen.append(plain[1].weight.detach().clone())

    # One batch per epoch, so two steps in all: the first is copied, then (1 + 1) / (10 + 1) is the decay.
    spec = {"learning_rate": 0.5, "batch_size": 4}
    train_(plain, data, _recipe(plain, **spec), epochs=2, seed=0, validation=data, checkpoint=look)
    train_(averaged, data, _recipe(averaged, **spec, ema=0.99), epochs=2, seed=0, validation=data)
    expected = seen[1].lerp(plain[1].weight, 1 - 2 / 11)
    assert not torch.allclose(expected, plain[1].weight, atol=1e-3)
    assert torch.allclose(averaged[1].weight, expected, atol=1e-6)


def test_smoothed_labels_keep_the_network_from_certainty() -> None:
    labels = torch.arange(64) % 2
    bright = (255 * labels).to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    data = MemoryFeed(bright, labels, Preprocess(size=8, channels=1, mean=[0.5], std=[0.5]))
    certainty = []
    for smoothing in (0.0, 0.4):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        recipe = _recipe(model, learning_rate=1, label_smoothing=smoothing)
        train_(model, data, recipe, epochs=60, seed=0, validation=data)
        certainty.append(model(data.first(64)).softmax(1).amax(1).mean().item())
    # With two classes the best answer to labels smoothed by 0.4 is 0.8.
    assert certainty == [pytest.approx(1, abs=0.02), pytest.approx(0.8, abs=0.02)]
