"""The one recipe: it learns, it repeats itself, it reports, and it stops."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.training import TrainingSpec
from layerprune.data import Split, load_dataset, normalise, preprocess_images
from layerprune.evaluate import evaluate
from layerprune.models import build
from layerprune.train import reestimate_batch_norm_, statistics_batches, train_


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Two threads that share a busy core wait for each other at every operation.
    torch.set_num_threads(1)


def _digits(size: int = 16) -> tuple[tuple[Tensor, Tensor], ...]:
    data = load_dataset("digits")
    preprocess = data.default_preprocess().model_copy(update={"size": size})

    def prepared(split: Split) -> tuple[Tensor, Tensor]:
        return normalise(preprocess_images(split.images, preprocess), preprocess), torch.from_numpy(split.labels)

    return prepared(data.train), prepared(data.validation), prepared(data.test)


def _small(seed: int = 0) -> nn.Module:
    return build("cifar:resnet20", classes=10, args={"width": 4}, seed=seed)


def test_resnet20_reaches_97_per_cent_on_digits() -> None:
    train, validation, test = _digits()
    model = build("cifar:resnet20", classes=10)
    train_(model, train, TrainingSpec(), epochs=10, seed=0, validation=validation)
    count, _ = evaluate(model, *test)
    assert count.correct >= math.ceil(0.97 * 540)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    (images, labels), validation, _ = _digits(8)
    weights = []
    for seed in (3, 3, 4):
        model = nn.Sequential(_small(), nn.Dropout(0.1))
        train_(model, (images[:128], labels[:128]), TrainingSpec(), epochs=1, seed=seed, validation=validation)
        weights.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_training_leaves_the_global_random_state_alone() -> None:
    (images, labels), validation, _ = _digits(8)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train_(_small(), (images[:64], labels[:64]), TrainingSpec(), epochs=1, seed=0, validation=validation)
    assert torch.equal(torch.rand(1), expected)


def test_progress_comes_with_every_epoch_and_ends_at_one() -> None:
    (images, labels), validation, _ = _digits(8)
    seen: list[Progress] = []
    data = (images[:128], labels[:128])
    curve = train_(_small(), data, TrainingSpec(), epochs=2, seed=0, validation=validation, on_progress=seen.append)
    assert [record.epoch for record in curve] == [1, 2]
    assert [(p.epoch, p.accuracy) for p in seen if p.seconds_left == 0] == [(2, curve[1].validation_accuracy)]
    assert seen[-1].fraction == 1
    assert all(p.loss is not None and p.epochs == 2 for p in seen)


def test_a_checkpoint_that_raises_stops_the_training_at_once() -> None:
    (images, labels), validation, _ = _digits(8)
    passed = 0

    def checkpoint() -> None:
        nonlocal passed
        passed += 1
        if passed == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_(
            _small(), (images, labels), TrainingSpec(), epochs=9, seed=0, validation=validation, checkpoint=checkpoint
        )
    assert passed == 3


def test_a_loss_that_is_not_finite_is_named_diverged() -> None:
    data = torch.full((8, 3, 8, 8), 1e30), torch.arange(8) % 2
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2), nn.Linear(2, 2))
    with pytest.raises(BadInput, match="in epoch") as caught:
        train_(model, data, TrainingSpec(learning_rate=10, batch_size=2), epochs=3, seed=0, validation=data)
    assert caught.value.code == "diverged"
    assert caught.value.field == "training.learning_rate"


def test_distillation_alone_pulls_the_student_to_the_teachers_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(256, 1, 2, 2, generator=generator)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    student = copy.deepcopy(teacher)
    nn.init.zeros_(student[1].weight)
    wrong = 1 - teacher(images).argmax(1)
    spec = TrainingSpec(distillation=1, learning_rate=0.5, weight_decay=0)
    train_(student, (images, wrong), spec, epochs=10, seed=0, validation=(images, wrong), teacher=teacher)
    agreement = (student(images).argmax(1) == teacher(images).argmax(1)).float().mean()
    assert agreement > 0.95


def test_training_ends_with_the_statistics_of_its_last_weights() -> None:
    (images, labels), validation, _ = _digits(8)
    model = _small()
    train_(model, (images[:128], labels[:128]), TrainingSpec(), epochs=1, seed=0, validation=validation)
    found = model.get_submodule("bn1").running_mean.clone()
    reestimate_batch_norm_(model, statistics_batches(images[:128], batch_size=64, seed=0))
    assert found.tolist() == pytest.approx(model.get_submodule("bn1").running_mean.tolist(), abs=1e-6)


def test_no_batch_of_statistics_holds_a_single_image() -> None:
    assert [len(batch) for batch in statistics_batches(torch.zeros(65, 1, 2, 2), batch_size=64, seed=0)] == [65]


def test_reestimated_statistics_are_the_average_over_the_batches() -> None:
    norm = nn.BatchNorm1d(1).eval()
    batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [14.0]])]
    reestimate_batch_norm_(norm, batches)
    # Means 1 and 12; unbiased variances 2 and 8.
    assert norm.running_mean.tolist() == [6.5]
    assert norm.running_var.tolist() == [5.0]
    assert norm.momentum == 0.1
    assert not norm.training


def test_reestimation_does_not_touch_weights_nor_dropout() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.9), nn.BatchNorm1d(3)).train()
    reestimate_batch_norm_(model, [torch.randn(64, 3) + 5])
    # Dropout would have multiplied the variance by ten.
    assert model[2].running_var.tolist() == pytest.approx([1, 1, 1], abs=0.1)
    assert model[0].weight.tolist() == [1, 1, 1]
    assert model[1].training
