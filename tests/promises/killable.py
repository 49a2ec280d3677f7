"""The batch function in its own process, as on Lambda, which some images really kill.

As a program it reads events from stdin, one JSON document per line, and prints one line for each.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]

KILL, MEMORY = b"an image that kills", b"an image that is too large"
"""Last bytes of images that kill the process, and of images that exhaust its memory."""


class Function:
    """The function: a process that is started for the first event, and again after each kill.

    Attributes:
        calls, kills: counts.
    """

    def __init__(self) -> None:
        self.calls = self.kills = 0
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, event: object) -> Any:
        """Return the response; None if the process was killed."""
        if self._process is None:
            command = [sys.executable, __file__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin and self._process.stdout
        self.calls += 1
        self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer:
            return json.loads(answer)
        assert self.close() == -signal.SIGKILL
        self.kills += 1
        return None

    def close(self) -> int:
        """End the process; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with process:
            assert process.stdin
            process.stdin.close()
            return process.wait(30)


def handler(event: object, context: object) -> Any:
    """Return the real handler, whose process some images kill."""
    return _armed()(event, context)


@functools.cache
def _armed() -> Callable[[object, object], Any]:
    import serverless
    from app.buckets import process

    segment = process.segment

    def killing(data: bytes, *args: Any) -> Any:
        if data.endswith(KILL):
            os.kill(os.getpid(), signal.SIGKILL)
        if data.endswith(MEMORY):
            raise MemoryError
        return segment(data, *args)

    process.segment = killing
    return serverless.handler


def serve() -> None:
    """Handle events until there are no more."""
    sys.path[:0] = [str(TESTS.parent), str(TESTS / "support")]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # metrics go to standard output
    os.environ |= {"LUNG_DOOR": "records", "LUNG_THREADS": "1"}
    from buckets import Context

    for line in sys.stdin:
        answers.write(json.dumps(handler(json.loads(line), Context(600_000))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
