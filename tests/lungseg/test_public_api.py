"""What `import lungseg` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lungseg


def test_all_names_are_there_and_no_others() -> None:
    for name in lungseg.__all__:
        assert getattr(lungseg, name) is not None
        assert name in dir(lungseg)
    with pytest.raises(AttributeError, match="no attribute 'network'"):
        lungseg.__getattr__("network")


def test_import_loads_no_model_runtime() -> None:
    program = "import lungseg, sys; print('onnxruntime' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
