"""Offline training: prepare the public images, train a U-Net, evaluate it and export it to ONNX."""

import lungseg  # noqa: F401 -- before onnxruntime, whose telemetry it turns off
