"""One image after the other, on one core: every door, the floor below them, and the author's way.

    make bench                                  30 rounds, all images
    python -m benchmarks.film --rounds 3        to try it
    python -m benchmarks.film --docs            also rewrites the tables of docs/PERFORMANCE.md, and its picture

All of an image's measurements take turns in one process that is pinned to one core; medians are printed, and medians of
ratios. What was measured goes to runs/bench/film.json.
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
    from benchmarks.kinds import Film

AUTHORS_ROUNDS = 3
"""Of the author's way: it takes seconds."""

AUTHORS_FILM = "5 Mpx JPEG"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="of each image (default: %(default)s)")
    parser.add_argument("--only", metavar="TEXT", default="", help="images whose name holds it")
    parser.add_argument("--no-author", action="store_true", help="leave out the author's way, which needs PyTorch")
    parser.add_argument("--docs", action="store_true", help="rewrite docs/PERFORMANCE.md and its picture")
    arguments = parser.parse_args()
    machine.pin()
    # Behind the pin: their threads stay on that core as well.
    from benchmarks import docs, tables, threads
    from benchmarks.kinds import films

    result: dict[str, Any] = {"machine": machine.describe(), "rounds": arguments.rounds, "films": {}, "author": None}
    chosen = [film for film in films() if arguments.only in film.name]
    for film in chosen:
        result["films"][film.name] = measured(film, arguments.rounds)
    for film in chosen:
        if film.name == AUTHORS_FILM and not arguments.no_author:
            result["author"] = authors(film, min(AUTHORS_ROUNDS, arguments.rounds))
    result["network_by_threads"] = threads.measured()
    machine.keep("film", result)
    print(tables.film(result))
    if arguments.docs:
        docs.write()


def measured(film: Film, rounds: int) -> dict[str, Any]:
    """All measurements of one image."""
    from benchmarks import doors, events, floor
    from lungseg.pipeline.segment import segment

    pipeline, event = doors.Pipeline(), events.event_of(film.data)
    mask = pipeline(film.data)
    with doors.App() as app:
        tasks = {"pipeline": lambda: pipeline(film.data), "app": lambda: app(film.data)}
        assert app(film.data) == mask, "the app gives another mask"
        if events.fits(event):
            tasks |= {"handler": lambda: doors.handler(event)}
            tasks |= {"base64": lambda: doors.both_ways(event["body"], mask)}
            assert base64.b64decode(doors.handler(event)) == mask, "the handler gives another mask"
        tasks |= floor.tasks(film, segment(film.data).mask)
        pipeline.stages.clear()
        times = machine.rounds_of(tasks, rounds, film.name)
    stages = pipeline.stages[1:]  # the first round only warms up
    below = {name: each for name, each in times.items() if name.partition(":")[0] in ("decode", "network", "write")}
    least = floor.total(below)
    return {
        "bytes": len(film.data),
        "pixels": film.height * film.width,
        "mask_bytes": len(mask),
        "milliseconds": {name: median(each) for name, each in times.items()},
        "floor": {"milliseconds": median(least)}
        | {part: {"by": name, "milliseconds": median(times[name])} for part, name in floor.best(below).items()},
        "handler_beyond": median([a - b for a, b in zip(times["handler"], times["pipeline"], strict=True)])
        if "handler" in times
        else None,
        "to_floor": {name: ratio(times[name], least) for name in ("pipeline", "app", "handler") if name in times},
        "stages": {name: median([each[name] for each in stages]) for name in stages[0]},
        "times": {name: [round(each, 3) for each in all_of_it] for name, all_of_it in times.items()},
    }


def authors(film: Film, rounds: int) -> dict[str, Any]:
    """The author's way beside this one."""
    import numpy as np

    from benchmarks import author, doors
    from lungseg.pipeline.segment import segment

    pipeline = doors.Pipeline()
    with tempfile.TemporaryDirectory() as folder:
        ways = author.ways(film.data, np.ascontiguousarray(segment(film.data).raw), Path(folder))
        ours = {"this service": lambda: pipeline(film.data)}
        times = machine.rounds_of(ours | ways, rounds, "the author's way")
    return {
        "film": film.name,
        "rounds": rounds,
        "milliseconds": {name: median(each) for name, each in times.items()},
        "times_ours": {name: ratio(each, times["this service"]) for name, each in times.items()},
        "peers": author.PEERS,
    }


if __name__ == "__main__":
    main()
