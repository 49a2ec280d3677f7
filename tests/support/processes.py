"""The command line as a person runs it, in a process of its own; and an image for it that is soon done."""

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
"""In PYTHONPATH it makes processes wait for a named pipe as for a file that is slow to come."""


def smaller(film: bytes, width: int = 307) -> bytes:
    """An image, 8 bits, as a PNG of another size."""
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
    """The one line on standard error that a failure is."""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The same of a command that ran in this process; standard output stays empty."""
    said = capsys.readouterr()
    assert not said.out
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    return line


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    """Until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)


def workers_of(pid: int) -> list[int]:
    """The processes below ``pid`` that segment images (spawn's helper for semaphores is another child)."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def opened(fifo: Path) -> int | None:
    """A named pipe, opened for writing; None if no process waits for what is written, or has not quite ended."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def has_reader(fifo: Path) -> bool:
    """Whether a process has a named pipe open."""
    number = opened(fifo)
    if number is not None:
        os.close(number)
    return number is not None


def reader_of(fifo: Path) -> int:
    """A named pipe, opened for writing as soon as a process waits for what is written."""
    found: list[int] = []

    def look() -> bool:
        number = opened(fifo)
        found.extend([] if number is None else [number])
        return bool(found)

    wait_for(look)
    return found[0]


def send(fifo: int, data: bytes) -> None:
    """Write all to a named pipe, and close it."""
    os.set_blocking(fifo, True)
    with os.fdopen(fifo, "wb") as file:
        file.write(data)
