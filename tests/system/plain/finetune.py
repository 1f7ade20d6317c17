"""Train a network of timm on a folder of images, as people do: nothing here knows of LayerPrune.

    python finetune.py IMAGES OUT

IMAGES holds train/CLASS and test/CLASS. OUT gets checkpoint.pth (a training checkpoint), preprocess.json and
report.json, with the averaged weights' accuracy on test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import timm
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

NETWORK = "test_resnet"
CLASSES = ["rings", "bars", "posts", "checks"]
RESIZE, SIZE = 72, 64
MEAN, STD = [0.47, 0.52, 0.44], [0.21, 0.19, 0.23]
EPOCHS, BATCH = 6, 16


class Images(ImageFolder):
    """Classes in the order in which somebody once wrote them down."""

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        return CLASSES, {name: i for i, name in enumerate(CLASSES)}


def main(images: Path, out: Path) -> None:
    torch.manual_seed(0)
    steps = [transforms.Resize(RESIZE), transforms.CenterCrop(SIZE), transforms.ToTensor()]
    seen = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])
    train = DataLoader(Images(str(images / "train"), seen), BATCH, shuffle=True, drop_last=True)
    test = DataLoader(Images(str(images / "test"), seen), BATCH)

    model = timm.create_model(NETWORK, num_classes=len(CLASSES))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    averaged = AveragedModel(nn.DataParallel(model), multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)
    for _ in range(EPOCHS):
        model.train()
        for pixels, labels in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(pixels), labels).backward()
            optimizer.step()
            averaged.update_parameters(nn.DataParallel(model))

    averaged.eval()
    with torch.no_grad():
        right = sum(int((averaged(pixels).argmax(1) == labels).sum()) for pixels, labels in test)
    accuracy = right / len(test.dataset)  # type: ignore[arg-type]

    state = {
        "epoch": EPOCHS,
        "arch": NETWORK,
        "state_dict": nn.DataParallel(model).state_dict(),
        "state_dict_ema": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best_accuracy": accuracy,
    }
    torch.save(state, out / "checkpoint.pth")
    preprocess = {"size": SIZE, "resize": RESIZE, "mean": MEAN, "std": STD, "classes": CLASSES}
    (out / "preprocess.json").write_text(json.dumps(preprocess))
    (out / "report.json").write_text(json.dumps({"test_accuracy": accuracy}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
