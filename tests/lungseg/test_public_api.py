"""What `import lungseg` offers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

import lungseg
from lungseg.pipeline.segment import segment


def test_segment_gives_the_mask_of_the_pipeline(small: bytes) -> None:
    mask: NDArray[np.bool_] = lungseg.segment(small, lungseg.Options(threshold=0.6)).mask
    np.testing.assert_array_equal(mask, segment(small, lungseg.Options(threshold=0.6)).mask)


def test_all_names_are_there_and_no_others() -> None:
    for name in lungseg.__all__:
        assert getattr(lungseg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'network'"):
        lungseg.__getattr__("network")


def test_import_loads_no_model_runtime() -> None:
    program = "import lungseg, sys; print('onnxruntime' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
