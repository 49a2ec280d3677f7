"""A result as NumPy arrays."""

from __future__ import annotations

import io

import numpy as np

from lungseg.pipeline.result import Result


def arrays_npz(result: Result) -> bytes:
    """Return "mask" bool, "labels" uint8 and "probability" float16, (height, width), and "spacing" in mm, or empty."""
    spacing = result.radiograph.spacing
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        mask=result.mask,
        labels=result.labels,
        probability=result.probability.astype(np.float16),
        spacing=np.array([] if spacing is None else [spacing.row, spacing.column]),
    )
    return buffer.getvalue()
