"""Files of the Linux kernel with other contents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

KernelFiles = dict[str, str | None]
"""Contents by path; None is a missing file."""


def replace_kernel_files(monkeypatch: pytest.MonkeyPatch) -> KernelFiles:
    """Let `Path.read_text` read from the returned dictionary first."""
    contents: KernelFiles = {}
    before = Path.read_text

    def read_text(path: Path, *arguments: Any, **options: Any) -> str:
        if str(path) not in contents:
            return before(path, *arguments, **options)
        text = contents[str(path)]
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read_text)
    return contents
