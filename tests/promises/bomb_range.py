"""Where bombs go off: `python bomb_range.py` loads the models and every decoder, then tries each bomb that standard
input names in a process forked for it, and answers with a line of JSON: outcome, seconds of the processor, and bytes
of memory beyond those that the process had.
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
"""Bytes of memory beyond what the process has at which a bomb is stopped, and the test fails."""

LONGEST = 10
"""Seconds of the processor, likewise."""


def tried(film: bytes) -> dict[str, object]:
    """What an image comes to."""
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))
    resource.setrlimit(resource.RLIMIT_DATA, (of_process("VmData") + MOST, resource.RLIM_INFINITY))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc_pid_clear_refs(5))
    before, started = of_process("VmRSS"), time.process_time()
    try:
        found = outcome(film)
    except Exception as error:
        found = type(error).__name__
    seconds = time.process_time() - started
    return {"outcome": found, "seconds": seconds, "memory": of_process("VmHWM") - before}


def main() -> None:
    load()
    for line in sys.stdin:
        film = bombs()[line.strip()][1]()
        child = os.fork()
        if child == 0:
            print(json.dumps(tried(film)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"outcome": f"ended with {status}", "seconds": LONGEST, "memory": 0}), flush=True)


if __name__ == "__main__":
    main()
