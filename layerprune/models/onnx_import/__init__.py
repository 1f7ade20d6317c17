"""Turn an uploaded ONNX classifier into a network that can be pruned and trained like any other.

Every node becomes a module of torch.nn with trainable weights, or a function that torch.fx can trace. The file is read
for one image, whatever batch its exporter fixed, and written for any number of them; ONNX Runtime then has to agree on
random images, one by one and, where the file allows it, several at once.

It does not build on onnx2fx (0.0.1): its functions decide by the shapes of weights while they run, so that torch.fx
cannot trace the result again, and its weights are buffers.
"""

from __future__ import annotations

from .convert import convert
from .imported import Image, Imported, image_of, load

__all__ = ["Image", "Imported", "convert", "image_of", "load"]
