"""Run bombs: `python bomb_runner.py` loads the models and all decoders, then tries each bomb named on stdin in a forked
process, and prints a line of JSON: outcome, seconds of processor time, and bytes of memory beyond what it had before.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

from bombs import bombs
from fuzz_worker import load, outcome
from memory import of_process

MOST = 4 * 2**30
"""Bytes of additional memory at which a bomb is stopped and the test fails."""

LONGEST = 10
"""Seconds of processor time, likewise."""


def tried(image: bytes) -> dict[str, object]:
    """Return the outcome of one image."""
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))
    resource.setrlimit(resource.RLIMIT_DATA, (of_process("VmData") + MOST, resource.RLIM_INFINITY))
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak (proc_pid_clear_refs(5))
    before, started = of_process("VmRSS"), time.process_time()
    try:
        found = outcome(image)
    except Exception as error:
        found = type(error).__name__
    seconds = time.process_time() - started
    return {"outcome": found, "seconds": seconds, "memory": of_process("VmHWM") - before}


def main() -> None:
    load()
    for line in sys.stdin:
        image = bombs()[line.strip()][1]()
        child = os.fork()
        if child == 0:
            print(json.dumps(tried(image)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"outcome": f"ended with {status}", "seconds": LONGEST, "memory": 0}), flush=True)


if __name__ == "__main__":
    main()
