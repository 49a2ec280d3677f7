"""`remote segment` in this process."""

from __future__ import annotations

from pathlib import Path

from lungseg.cli.main import main


def send_image(image: Path, address: str, *more: str) -> int:
    """Run `remote segment`; return its exit code."""
    return main(["remote", "segment", str(image), "--url", address, *more])
