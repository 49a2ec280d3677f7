"""Run the command line in its own process, as a user does; and make small images for it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from films import encode
from PIL import Image

SLOW_FILES = str(Path(__file__).parent / "slow_files")
"""In PYTHONPATH, it makes processes read named pipes like slow files."""


def smaller(film: bytes, width: int = 307) -> bytes:
    """Return an 8-bit image as a PNG of another size."""
    with Image.open(io.BytesIO(film)) as image:
        return encode(image.resize((width, round(width * image.height / image.width)), reducing_gap=2.0), "PNG")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "lungseg", *map(str, arguments)]


def run(*arguments: object, data: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(*arguments), input=data, capture_output=True, env=os.environ | environment, check=False, timeout=120
    )


def start_function(**environment: str) -> subprocess.CompletedProcess[str]:
    """Import the Lambda handler in a new process, which prints the digest of its model."""
    program = "import serverless; print(serverless.load_models().lung.sha256)"
    line = [sys.executable, "-c", program]
    return subprocess.run(line, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120)


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the one line on stderr that a failure prints."""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the same for a command that ran in this process, with nothing on stdout."""
    said = capsys.readouterr()
    assert not said.out
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    return line


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)


def workers_of(pid: int) -> list[int]:
    """Return the worker processes below ``pid`` (spawn's semaphore tracker is another child)."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def opened(fifo: Path) -> int | None:
    """Return a named pipe opened for writing; None if no process reads it."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def has_reader(fifo: Path) -> bool:
    """Return whether a process has a named pipe open."""
    number = opened(fifo)
    if number is not None:
        os.close(number)
    return number is not None


def reader_of(fifo: Path) -> int:
    """Return a named pipe opened for writing, as soon as a process reads it."""
    found: list[int] = []

    def look() -> bool:
        number = opened(fifo)
        found.extend([] if number is None else [number])
        return bool(found)

    wait_for(look)
    return found[0]


def send(fifo: int, data: bytes) -> None:
    """Write everything to a named pipe and close it."""
    os.set_blocking(fifo, True)
    with os.fdopen(fifo, "wb") as file:
        file.write(data)
