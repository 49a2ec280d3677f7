"""Latency of one image on one core: every entry point, the lower bound, and the original project's pipeline.

    make bench                                  30 rounds, all images
    python -m benchmarks.image --rounds 3       a quick try
    python -m benchmarks.image --docs           also rewrites the tables and the picture of docs/PERFORMANCE.md

All measurements of an image are interleaved in one process that is pinned to one core. Medians are printed, and medians
of ratios. The results are written to runs/bench/image.json.
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import machine
from benchmarks.machine import median, ratio

if TYPE_CHECKING:
    from benchmarks.sample_images import BenchmarkImage

ORIGINAL_ROUNDS = 3
"""Of the original pipeline, which takes seconds."""

ORIGINAL_IMAGE = "5 Mpx JPEG"


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="of each image (default: %(default)s)")
    parser.add_argument("--only", metavar="TEXT", default="", help="only images whose name contains TEXT")
    parser.add_argument("--no-original", action="store_true", help="skip the original pipeline, which needs PyTorch")
    parser.add_argument("--docs", action="store_true", help="rewrite docs/PERFORMANCE.md and its picture")
    arguments = parser.parse_args()
    machine.pin_to_core()
    # Imported after pinning, so that their threads stay on the core, too.
    from benchmarks import docs, tables, threads
    from benchmarks.sample_images import sample_images

    result: dict[str, Any] = {
        "machine": machine.describe_machine(),
        "rounds": arguments.rounds,
        "images": {},
        "original": None,
    }
    chosen = [image for image in sample_images() if arguments.only in image.name]
    for image in chosen:
        result["images"][image.name] = time_image(image, arguments.rounds)
    for image in chosen:
        if image.name == ORIGINAL_IMAGE and not arguments.no_original:
            result["original"] = time_original(image, min(ORIGINAL_ROUNDS, arguments.rounds))
    result["network_by_threads"] = threads.time_by_threads()
    machine.save_result("image", result)
    print(tables.image(result))
    if arguments.docs:
        docs.write()


def time_image(image: BenchmarkImage, rounds: int) -> dict[str, Any]:
    """Run all measurements of one image."""
    from benchmarks import entry_points, events, lower_bound
    from lungseg.pipeline.segment import segment

    pipeline, event = entry_points.Pipeline(), events.make_event(image.data)
    mask = pipeline(image.data)
    with entry_points.App() as app:
        tasks = {"pipeline": lambda: pipeline(image.data), "app": lambda: app(image.data)}
        assert app(image.data) == mask, "the app gives another mask"
        if events.fits_event(event):
            tasks |= {"handler": lambda: entry_points.handler(event)}
            tasks |= {"base64": lambda: entry_points.base64_round_trip(event["body"], mask)}
            assert base64.b64decode(entry_points.handler(event)) == mask, "the handler gives another mask"
        tasks |= lower_bound.lower_bound_tasks(image, segment(image.data).mask)
        pipeline.stages.clear()
        times = machine.time_rounds(tasks, rounds, image.name)
    stages = pipeline.stages[1:]  # without the warm-up round
    parts = {name: each for name, each in times.items() if name.partition(":")[0] in ("decode", "network", "write")}
    bound = lower_bound.lower_bound_times(parts)
    return {
        "bytes": len(image.data),
        "pixels": image.height * image.width,
        "mask_bytes": len(mask),
        "milliseconds": {name: median(each) for name, each in times.items()},
        "lower_bound": {"milliseconds": median(bound)}
        | {
            part: {"by": name, "milliseconds": median(times[name])}
            for part, name in lower_bound.fastest_parts(parts).items()
        },
        "handler_overhead": median([a - b for a, b in zip(times["handler"], times["pipeline"], strict=True)])
        if "handler" in times
        else None,
        "to_lower_bound": {name: ratio(times[name], bound) for name in ("pipeline", "app", "handler") if name in times},
        "stages": {name: median([each[name] for each in stages]) for name in stages[0]},
        "times": {name: [round(each, 3) for each in all_of_it] for name, all_of_it in times.items()},
    }


def time_original(image: BenchmarkImage, rounds: int) -> dict[str, Any]:
    """Time the original pipeline beside this one."""
    import numpy as np

    from benchmarks import entry_points, original
    from lungseg.pipeline.segment import segment

    pipeline = entry_points.Pipeline()
    with tempfile.TemporaryDirectory() as folder:
        originals = original.original_pipelines(image.data, np.ascontiguousarray(segment(image.data).raw), Path(folder))
        ours = {"this service": lambda: pipeline(image.data)}
        times = machine.time_rounds(ours | originals, rounds, "original pipeline")
    return {
        "image": image.name,
        "rounds": rounds,
        "milliseconds": {name: median(each) for name, each in times.items()},
        "ratio": {name: ratio(each, times["this service"]) for name, each in times.items()},
        "peers": original.PEERS,
    }


if __name__ == "__main__":
    main()
