"""Classify JPEGs with a downloaded network: python classify.py NETWORK.onnx PREPROCESS.json FOLDER ANSWERS.json"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

network, see = onnxruntime.InferenceSession(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
folder, answers = Path(sys.argv[3]), {}
for path in folder.rglob("*.jpg"):
    image = Image.open(path).convert("RGB")
    size = [see["resize"] * edge // min(image.size) for edge in image.size]
    image = image.resize(size, Image.Resampling[see["interpolation"].upper()])
    left, top = (round((edge - see["size"]) / 2) for edge in size)
    image = image.crop((left, top, left + see["size"], top + see["size"]))
    pixels = (np.asarray(image, np.float32) / 255 - np.float32(see["mean"])) / np.float32(see["std"])
    (logits,) = network.run(None, {network.get_inputs()[0].name: pixels.transpose(2, 0, 1)[None]})
    answers[path.relative_to(folder).as_posix()] = see["classes"][logits.argmax()]
Path(sys.argv[4]).write_text(json.dumps(answers))
