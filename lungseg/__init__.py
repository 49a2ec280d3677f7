"""Lung segmentation of frontal chest radiographs.

    from lungseg import segment

    result = segment("image.dcm")
    result.mask               # (height, width) bool, True = lung
    result.verdict.decision   # accept, review or reject
    result.save("mask.png")

The public API is the names below and `lungseg.errors`; every other name may change.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # read by type checkers; `typing` takes a few milliseconds in which Ctrl-C prints a traceback
if TYPE_CHECKING:
    from typing import Any

    from lungseg.errors import ModelError, ProblemError
    from lungseg.library.model import Model
    from lungseg.library.result import Result
    from lungseg.library.segment import segment, segment_many
    from lungseg.library.segmenter import Segmenter

__all__ = [
    "Model",
    "ModelError",
    "ProblemError",
    "Result",
    "Segmenter",
    "__version__",
    "segment",
    "segment_many",
]

__version__ = "0.2.0"

# Official builds of onnxruntime send telemetry to Microsoft unless this is set before onnxruntime is imported
# (onnxruntime's Privacy.md). This package is always imported first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_MODULES = {
    "Model": "lungseg.library.model",
    "ModelError": "lungseg.errors",
    "ProblemError": "lungseg.errors",
    "Result": "lungseg.library.result",
    "Segmenter": "lungseg.library.segmenter",
    "segment": "lungseg.library.segment",
    "segment_many": "lungseg.library.segment",
}


def __getattr__(name: str) -> Any:
    """Import the public API on first use, because the command line imports this package before it can handle Ctrl-C.

    https://peps.python.org/pep-0562/
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public API, for completion in a notebook."""
    return sorted({*globals(), *__all__})
