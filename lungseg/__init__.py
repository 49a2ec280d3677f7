"""Lung segmentation of frontal chest radiographs: decode a film, run the network, return the mask."""

import os

__version__ = "0.1.0"

# Official builds of onnxruntime send events about the machine and its models to their maker unless this is set before
# they are imported, which nothing does before this package (onnxruntime's Privacy.md).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
