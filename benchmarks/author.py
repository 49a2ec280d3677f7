"""The author's way from an image to its mask: a 31.0 M U-Net at 512 x 512 x 3, in PyTorch and in onnxruntime.

Decode, resize to the square, run, resize back, threshold, write a PNG. Speed does not depend on weights, so they are
random; what is resized back is the probability that the served network gave, so that the PNG holds lungs and no noise.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image

from lungseg.model.preprocess import InputSpec
from model_export.config import ORIGINAL
from model_export.network.convert import to_onnx
from model_export.network.unet import build_network

SIZE = 512

PEERS = (
    "Peers that pip installs: none. lungs-segmentation 1.1.2 and torchxrayvision fetch their weights from elsewhere, "
    "and lungs-finder 1.0.0, which brings its own, gives boxes and no mask."
)

Run = Callable[[NDArray[np.float32]], object]


def ways(film: bytes, probability: NDArray[np.float32], folder: Path) -> dict[str, Callable[[], bytes]]:
    """Both ways to the mask of an image, by name; to be called on one thread.

    Args:
        image: JPEG or PNG.
        probability: of lung, in [0, 1], on a grid of any size.
        folder: for the ONNX file.
    """
    torch.set_num_threads(1)
    model = build_network(ORIGINAL).eval()
    path = folder / "author.onnx"
    onnx.save(to_onnx(model, InputSpec(size=SIZE, channels=ORIGINAL.in_channels)), path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (node,) = session.get_inputs()

    def in_pytorch(square: NDArray[np.float32]) -> object:
        with torch.inference_mode():
            return torch.sigmoid(model(torch.from_numpy(square))).numpy()

    def in_onnxruntime(square: NDArray[np.float32]) -> object:
        return session.run(None, {node.name: square})

    runs: dict[str, Run] = {"author's, PyTorch": in_pytorch, "author's, onnxruntime": in_onnxruntime}
    return {name: lambda run=run: _mask(film, run, probability) for name, run in runs.items()}


def _mask(film: bytes, run: Run, probability: NDArray[np.float32]) -> bytes:
    image = Image.open(io.BytesIO(film)).convert("RGB")
    square = np.asarray(image.resize((SIZE, SIZE)), np.float32).transpose(2, 0, 1)[np.newaxis] / 255
    run(np.ascontiguousarray(square))
    large = Image.fromarray(probability).resize(image.size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(large) > 0.5).astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()
