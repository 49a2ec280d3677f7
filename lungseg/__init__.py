"""Lung segmentation of frontal chest radiographs.

    from pathlib import Path

    import lungseg

    result = lungseg.segment(Path("image.dcm").read_bytes())
    result.mask      # (height, width) bool, True = lung
    result.verdict   # accept, review or reject, with reasons

The public API is `segment`, `Options` and `Result`; every other name may change. Errors are those of `lungseg.errors`.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # read by type checkers; `typing` takes a few milliseconds in which Ctrl-C prints a traceback
if TYPE_CHECKING:
    from typing import Any

    from lungseg.pipeline.options import Options
    from lungseg.pipeline.result import Result
    from lungseg.pipeline.segment import segment

__all__ = ["Options", "Result", "__version__", "segment"]

__version__ = "0.1.0"

# Official builds of onnxruntime send telemetry to Microsoft unless this is set before onnxruntime is imported
# (onnxruntime's Privacy.md). This package is always imported first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_MODULES = {
    "Options": "lungseg.pipeline.options",
    "Result": "lungseg.pipeline.result",
    "segment": "lungseg.pipeline.segment",
}


def __getattr__(name: str) -> Any:
    """Import the public API on first use, because the command line imports this package before it can handle Ctrl-C.

    https://peps.python.org/pep-0562/
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
