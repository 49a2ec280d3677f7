"""`remote segment` in this process, and `segment` in a process of its own to compare with."""

from __future__ import annotations

from pathlib import Path

from processes import run

from lungseg.cli.main import main


def send_image(image: Path, address: str, *more: str) -> int:
    """Run `remote segment`; return its exit code."""
    return main(["remote", "segment", str(image), "--url", address, *more])


def segment_locally(image: Path, *options: str) -> bytes:
    """Return the output of `segment`."""
    return run("segment", image, "-o", "-", *options).stdout
