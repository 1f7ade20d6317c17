"""Train a network of one's own on a folder of images and export it twice: nothing here knows of LayerPrune.

    python own_network.py IMAGES OUT

IMAGES holds train/CLASS and test/CLASS. OUT gets current.onnx (torch's exporter of today, batch free), older.onnx (its
predecessor, batch fixed at 1) and report.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

SIZE = 32
MEAN, STD = [0.5, 0.5, 0.5], [0.2, 0.2, 0.2]
EPOCHS, BATCH = 4, 16


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.norm_a, self.norm_b = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm_b(self.b(torch.relu(self.norm_a(self.a(x))))))


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.blocks = nn.Sequential(Block(16), Block(16), nn.MaxPool2d(2), Block(16))
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(torch.relu(self.stem(x)))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def main(images: Path, out: Path) -> None:
    torch.manual_seed(0)
    squashed = [transforms.Resize((SIZE, SIZE)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    seen = transforms.Compose(squashed)
    train = DataLoader(ImageFolder(str(images / "train"), seen), BATCH, shuffle=True, drop_last=True)
    test = DataLoader(ImageFolder(str(images / "test"), seen), BATCH)

    model = Net(classes=4)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(EPOCHS):
        for pixels, labels in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(pixels), labels).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum(int((model(pixels).argmax(1) == labels).sum()) for pixels, labels in test)
    accuracy = right / len(test.dataset)  # type: ignore[arg-type]
    (out / "report.json").write_text(json.dumps({"test_accuracy": accuracy}))
    (out / "preprocess.json").write_text(json.dumps({"size": SIZE, "mean": MEAN, "std": STD}))

    some = torch.zeros(2, 3, SIZE, SIZE)
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        model, (some,), out / "current.onnx", dynamo=True, opset_version=20, dynamic_shapes=(free,), external_data=False
    )
    torch.onnx.export(model, (some[:1],), out / "older.onnx", dynamo=False, opset_version=13)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
