"""Offline program: prepare the public images, train a U-Net, evaluate it, export it to ONNX."""

import lungseg  # noqa: F401 -- before onnxruntime, whose events to its maker it switches off
