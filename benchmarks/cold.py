"""Cold start: from nothing to the first mask, through Lambda's own runtime interface, on one core.

    make bench-cold                             20 starts with a 5 Mpx JPEG
    python -m benchmarks.cold --starts 3        a quick try
    python -m benchmarks.cold --docs            also rewrites the tables of docs/PERFORMANCE.md

aws-sam-cli's emulator starts the function at its first event, as Lambda does, so the clock runs from sending that event
to receiving the mask. Emulator and function share one core. Bytecode is compiled, as in the container image. Peak
memory is the function's VmHWM. Run it with the Python of `make e2e`.
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

WARM_EVENTS = 5
"""Events after the first one."""

ENVIRONMENT = {"LUNG_DOOR": "http"}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20, metavar="N", help="cold starts (default: %(default)s)")
    parser.add_argument("--docs", action="store_true", help="rewrite docs/PERFORMANCE.md")
    arguments = parser.parse_args()
    machine.pin_to_core()
    images = dict(_films())
    image = next(iter(images))
    starts = []
    for number in tqdm(range(-1, arguments.starts), desc="cold starts", unit="start", file=sys.stderr):
        one = time_start(images[image])
        if number >= 0:  # the first start compiles bytecode
            starts.append(one)
    names = starts[0].keys()
    result = {
        "machine": machine.describe_machine(),
        "starts": arguments.starts,
        "image": image,
        "milliseconds": {name: median([each[name] for each in starts]) for name in names},
        "slowest": round(max(each["first mask"] for each in starts), 1),
        "times": [round(each["first mask"], 1) for each in starts],
        "memory": {name: time_start(data)["memory"] for name, data in images.items()},
        "imports": imports.time_imports("import serverless", ENVIRONMENT | {"PYTHONDONTWRITEBYTECODE": ""}, 9),
    }
    machine.save_result("cold", result)
    print(tables.cold(result))
    if arguments.docs:
        docs.write()


def time_start(image: bytes) -> dict[str, float]:
    """Return the milliseconds to the first mask, of INIT, and of a later image, and the peak memory in MiB."""
    from benchmarks import events

    event = events.make_event(image)
    if not events.fits_event(event):
        raise SystemExit("error: this image is too large for a synchronous invocation of Lambda")
    with tempfile.TemporaryDirectory() as folder, _function(Path(folder, "log")) as function:
        start = time.perf_counter()
        answer = function.invoke(event)
        first = time.perf_counter()
        if answer["statusCode"] != 200 or not base64.b64decode(answer["body"]).startswith(b"\x89PNG"):
            raise SystemExit(f"error: status {answer['statusCode']} instead of a mask")
        peak = max(machine.peak_mebibytes(pid) for pid in machine.child_processes(os.getpid()) if _is_function(pid))
        warm = []
        for _ in range(WARM_EVENTS):
            start = time.perf_counter()
            function.invoke(event)
            warm.append(1000 * (time.perf_counter() - start))
        log = function.log.read_text(errors="replace")
    init = re.search(r"INIT REPORT\(durationMs: ([\d.]+)", log)
    return {
        "first mask": 1000 * (first - start),
        "INIT": float(init[1]) if init else 0.0,
        "an image later": median(warm),
        "memory": peak,
    }


@contextmanager
def _function(log: Path) -> Iterator[Any]:
    """Run the service in Lambda's runtime interface."""
    sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "e2e")]
    from runtime import runtime

    with runtime(log, ENVIRONMENT) as function:
        yield function


def _is_function(pid: int) -> bool:
    """Return whether a process is the function, and not the emulator, whose arguments contain its command line."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"python" in words[0] and b"awslambdaric" in words


def _films() -> Iterator[tuple[str, bytes]]:
    """Yield images that fit into an event. Memory depends on pixels, not bytes; large images have few grey levels."""
    import numpy as np

    from benchmarks.sample_images import encode_pixels, make_image, resize_rg1

    yield "5 Mpx JPEG", make_image("", "JPEG", 5).data
    for megapixels in (5, 20):
        few = (31 * resize_rg1(megapixels, noise=0)).astype(np.uint16)
        yield f"{megapixels} Mpx PNG, 8 bits", encode_pixels((8 * few).astype(np.uint8), "PNG")
        yield f"{megapixels} Mpx PNG, 16 bits", encode_pixels(2048 * few, "PNG")


if __name__ == "__main__":
    main()
