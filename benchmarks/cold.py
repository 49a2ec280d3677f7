"""A cold start: from nothing to the first mask through Lambda's own runtime interface, on one core.

    make bench-cold                             20 starts with a 5 Mpx JPEG
    python -m benchmarks.cold --starts 3        to try it
    python -m benchmarks.cold --docs            also rewrites the tables of docs/PERFORMANCE.md

The emulator of aws-sam-cli starts the function when its first event comes, as Lambda does, so the clock runs from
sending that event to holding the mask. Emulator and function share one core. Bytecode is compiled, as it is in the
image. Peak memory is the function's VmHWM. Run it with the Python of `make e2e`.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import docs, imports, machine, tables
from benchmarks.machine import ROOT, median

WARM = 5
"""Events after the first one."""

ENVIRONMENT = {"LUNG_DOOR": "http"}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20, metavar="N", help="cold starts (default: %(default)s)")
    parser.add_argument("--docs", action="store_true", help="rewrite docs/PERFORMANCE.md")
    arguments = parser.parse_args()
    machine.pin()
    films = dict(_films())
    film = next(iter(films))
    starts = []
    for number in tqdm(range(-1, arguments.starts), desc="cold starts", unit="start", file=sys.stderr):
        one = started(films[film])
        if number >= 0:  # the first one compiles what is not compiled yet
            starts.append(one)
    names = starts[0].keys()
    result = {
        "machine": machine.describe(),
        "starts": arguments.starts,
        "film": film,
        "milliseconds": {name: median([each[name] for each in starts]) for name in names},
        "slowest": round(max(each["first mask"] for each in starts), 1),
        "times": [round(each["first mask"], 1) for each in starts],
        "memory": {name: started(data)["memory"] for name, data in films.items()},
        "imports": imports.breakdown("import serverless", ENVIRONMENT | {"PYTHONDONTWRITEBYTECODE": ""}, 9),
    }
    machine.keep("cold", result)
    print(tables.cold(result))
    if arguments.docs:
        docs.write()


def started(film: bytes) -> dict[str, float]:
    """One start: milliseconds to the first mask, of INIT alone, and of an image later; MiB at most."""
    from benchmarks import events

    event = events.event_of(film)
    if not events.fits(event):
        raise SystemExit("error: this image does not go through Lambda's synchronous invocation")
    with tempfile.TemporaryDirectory() as folder, _function(Path(folder, "log")) as function:
        begun = time.perf_counter()
        answer = function.invoke(event)
        first = time.perf_counter()
        if answer["statusCode"] != 200 or not base64.b64decode(answer["body"]).startswith(b"\x89PNG"):
            raise SystemExit(f"error: no mask came back, but status {answer['statusCode']}")
        peak = max(machine.peak_mebibytes(pid) for pid in machine.below(os.getpid()) if _is_function(pid))
        warm = []
        for _ in range(WARM):
            again = time.perf_counter()
            function.invoke(event)
            warm.append(1000 * (time.perf_counter() - again))
        log = function.log.read_text(errors="replace")
    init = re.search(r"INIT REPORT\(durationMs: ([\d.]+)", log)
    return {
        "first mask": 1000 * (first - begun),
        "INIT": float(init[1]) if init else 0.0,
        "an image later": median(warm),
        "memory": peak,
    }


@contextmanager
def _function(log: Path) -> Iterator[Any]:
    """The service in Lambda's runtime interface."""
    sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "e2e")]
    from runtime import runtime

    with runtime(log, ENVIRONMENT) as function:
        yield function


def _is_function(pid: int) -> bool:
    """Whether a process is the function, and not the emulator that has its command line among its arguments."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"python" in words[0] and b"awslambdaric" in words


def _films() -> Iterator[tuple[str, bytes]]:
    """Images small enough for an event. Memory depends on pixels, not on bytes: greys are few in the large ones."""
    import numpy as np

    from benchmarks.kinds import encoded, made, resized

    yield "5 Mpx JPEG", made("", "JPEG", 5).data
    for megapixels in (5, 20):
        few = (31 * resized(megapixels, noise=0)).astype(np.uint16)
        yield f"{megapixels} Mpx PNG, 8 bits", encoded((8 * few).astype(np.uint8), "PNG")
        yield f"{megapixels} Mpx PNG, 16 bits", encoded(2048 * few, "PNG")


if __name__ == "__main__":
    main()
