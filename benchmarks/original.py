"""The original project's pipeline: a U-Net of 31.0 M weights at 512 x 512 x 3, in PyTorch and in onnxruntime.

Decode, resize to the square, run, resize back, threshold, write a PNG. Speed does not depend on the weights, so they
are random. The resized probability is that of the served network, so that the PNG shows lungs instead of noise.
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
    "No other package from PyPI can be compared: lungs-segmentation 1.1.2 and torchxrayvision download their weights, "
    "and lungs-finder 1.0.0, which contains its weights, returns boxes instead of masks."
)

Run = Callable[[NDArray[np.float32]], object]


def original_pipelines(image: bytes, probability: NDArray[np.float32], folder: Path) -> dict[str, Callable[[], bytes]]:
    """Return both pipelines for an image by name, to be called on one thread.

    Args:
        image: JPEG or PNG.
        probability: of lung, in [0, 1], on a grid of any size.
        folder: for the ONNX file.
    """
    torch.set_num_threads(1)
    model = build_network(ORIGINAL).eval()
    path = folder / "original.onnx"
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

    runs: dict[str, Run] = {"original, PyTorch": in_pytorch, "original, onnxruntime": in_onnxruntime}
    return {name: lambda run=run: _segment(image, run, probability) for name, run in runs.items()}


def _segment(data: bytes, run: Run, probability: NDArray[np.float32]) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    square = np.asarray(image.resize((SIZE, SIZE)), np.float32).transpose(2, 0, 1)[np.newaxis] / 255
    run(np.ascontiguousarray(square))
    large = Image.fromarray(probability).resize(image.size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(large) > 0.5).astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()
