"""What images cost on AWS: `python -m benchmarks.cost`, from runs/bench/film.json and public prices.

Run `make bench` before. Every assumption is printed with the tables; prices are those of lungseg/remote/cost.py.
"""

from __future__ import annotations

import math
from typing import Any

from benchmarks.machine import kept
from benchmarks.tables import table
from lungseg.remote import cost as price

MEMORY = (512, 884, price.CORE_MB, 2 * price.CORE_MB)
"""MB of a function."""

COUNTS = (1, 1_000, 1_000_000, 1_000_000_000)

STACK, QUOTA, MAP = price.DEFAULT_CONCURRENCY, 1_000, 10_000
"""Functions at a time: the stack's default, an AWS account's default, and the most children of one Distributed Map."""

PUTS_A_SECOND = 3_500
"""Of one prefix (Amazon S3 user guide, "Best practices design patterns")."""

KEPT, JSON_BYTES = 0.023, 1_500
"""Dollars for a GB and month of S3 Standard (first 50 TB), and the bytes of an image's JSON (assumed)."""

FILM = "5 Mpx JPEG"
"""The image of the table by number."""


def main() -> None:
    """Print."""
    result = kept("film")
    if result is None:
        raise SystemExit("error: nothing has been measured yet; run: make bench")
    print(tables(result))


def tables(result: dict[str, Any]) -> str:
    """Dollars by image and memory, and by number of images, with all that they rest on."""
    return "\n\n".join((_by_memory(result), _by_number(result), *_assumptions(result)))


def seconds_billed(film: dict[str, Any], memory: int, threads: dict[str, float] | None) -> float:
    """Of one image in a warm function: its processor time, in whole milliseconds.

    Args:
        image: of film.json; the handler's time, or the pipeline's of an image that no event carries.
        memory: MB.
        threads: the network's milliseconds by number of threads; None if they are not known.
    """
    took = film["milliseconds"].get("handler", film["milliseconds"]["pipeline"])
    if memory >= 2 * price.CORE_MB and threads:
        took -= film["stages"]["network"] * (1 - threads["2"] / threads["1"])
    return math.ceil(took * max(1.0, price.CORE_MB / memory)) / 1000


def dollars(seconds: float, memory: int) -> float:
    """Of so much of a function's time."""
    return seconds * memory / 1024 * price.LAMBDA_GB_SECOND["x86_64"]


def _by_memory(result: dict[str, Any]) -> str:
    threads = result.get("network_by_threads")
    rows = []
    for name, film in result["films"].items():
        billed = {memory: seconds_billed(film, memory, threads) for memory in MEMORY}
        million = {memory: 1e6 * dollars(seconds, memory) for memory, seconds in billed.items()}
        # Rounding up to milliseconds makes differences that mean nothing: among equals the fastest is the cheapest.
        cheapest = max(memory for memory in MEMORY if million[memory] <= 1.02 * min(million.values()))
        fastest = min(billed, key=lambda memory: billed[memory])
        cells = [f"{million[memory]:.2f} ({1000 * billed[memory]:.0f} ms)" for memory in MEMORY]
        rows.append([name, *cells, f"{cheapest:,} MB", f"{fastest:,} MB"])
    head = ["dollars a million images", *(f"{memory:,} MB" for memory in MEMORY), "cheapest", "fastest"]
    return table(head, rows)


def _by_number(result: dict[str, Any]) -> str:
    film = result["films"].get(FILM) or next(iter(result["films"].values()))
    memory = price.CORE_MB
    processor = seconds_billed(film, memory, None)
    storage = (price.STORAGE_MS + price.STORAGE_MS_MB * film["bytes"] / 1e6) / 1000
    rows = []
    for count in COUNTS:
        batches = -(-count // price.DEFAULT_BATCH)
        parts = {
            "Lambda, processor": dollars(count * processor, memory),
            "Lambda, waiting for S3": dollars(count * storage, memory),
            "Lambda, requests": batches * price.LAMBDA_REQUEST,
            "S3, PUT": count * price.PUTS * price.S3_PUT,
            "S3, GET": count * price.GETS * price.S3_GET,
            "S3, LIST": -(-count // 1000) * price.S3_PUT,
            "Step Functions": batches * price.TRANSITIONS * price.STEP_TRANSITION,
        }
        times = [_duration(count, functions, processor + storage) for functions in (STACK, QUOTA, MAP)]
        keep = count * (film["mask_bytes"] + JSON_BYTES) / 1e9 * KEPT
        rows.append([f"{count:,}", *map(_money, (sum(parts.values()), *parts.values(), keep)), *times])
    head = [
        *("films", "dollars", "Lambda, processor", "Lambda, waiting for S3", "Lambda, requests", "S3, PUT", "S3, GET"),
        *("S3, LIST", "Step Functions", "outputs a month"),
        *(f"{functions:,} at a time" for functions in (STACK, QUOTA, MAP)),
    ]
    return table(head, rows)


def _duration(count: int, functions: int, seconds: float) -> str:
    """How long it takes; S3 may be what limits it."""
    rate = min(functions, -(-count // price.DEFAULT_BATCH)) / seconds
    limited = rate > PUTS_A_SECOND / price.PUTS
    took = count / min(rate, PUTS_A_SECOND / price.PUTS)
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if took >= 2 * size:
            return f"{took / size:.1f} {unit}{', S3' if limited else ''}"
    return f"{took:.1f} s"


def _money(dollars: float) -> str:
    return f"{dollars:,.2f}" if dollars >= 0.1 else f"{dollars:.7f}".rstrip("0")


def _assumptions(result: dict[str, Any]) -> list[str]:
    found = result.get("network_by_threads")
    second = "is taken for none"
    if found:
        second = f"shortens the network alone: {found['1']:.1f} ms on one thread, {found['2']:.1f} on two"
    name = FILM if FILM in result["films"] else next(iter(result["films"]))
    listed = (
        f"Prices: {price.PRICES}; ${price.LAMBDA_GB_SECOND['x86_64']:.10f} a GB-second on x86_64, "
        f"${1e6 * price.LAMBDA_REQUEST:.2f} a million requests, S3 ${1000 * price.S3_PUT:g} a thousand PUT or LIST and "
        f"${1000 * price.S3_GET:g} a thousand GET, ${1000 * price.STEP_TRANSITION:g} a thousand transitions, ${KEPT:g} "
        "a GB and month.",
        f"A core of Lambda is as fast as the one that was measured ({result['machine']['processor']}, "
        f"{result['machine']['instructions']}), and a function "
        f"of {price.CORE_MB:,} MB has one whole core; below that, time grows as {price.CORE_MB:,} MB / memory, so that "
        f"an image's processor time costs the same whatever the memory. Above it a second core {second}.",
        "The first table is processor time alone, of a warm function: the handler's, or the pipeline's for an image that "
        "is too large for an event. Not in it: cold starts, API Gateway, S3. Billed time is rounded up to "
        "milliseconds; within 2 % of each other two memories cost the same, and the faster one is the cheapest.",
        f"The second table is the backfill of {name}s in a bucket: one image after the other in batches of "
        f"{price.DEFAULT_BATCH}, {price.CORE_MB:,} MB, {price.PUTS} PUT and {price.GETS} GET an image, "
        f"{price.TRANSITIONS} transitions a batch, a LIST for a thousand keys. {price.STORAGE_MS} ms and "
        f"{price.STORAGE_MS_MB} ms a MB of waiting for S3 are assumed, not measured; that time is billed as well.",
        f"Outputs are a mask of the size measured and {JSON_BYTES:,} bytes of JSON (assumed), in S3 Standard.",
        f"{STACK} functions at a time are the stack's default, {QUOTA:,} an account's quota before it is raised, "
        f"{MAP:,} the most of one Distributed Map. S3 takes {PUTS_A_SECOND:,} PUT a second and prefix: one prefix is "
        'assumed, and a time that this limits says "S3".',
        "Left out: free tiers, discounts, logs, KMS, queues, transfer to other regions, what is retried.",
    )
    cold = kept("cold")
    if cold is not None:
        start = dollars(cold["milliseconds"]["INIT"] / 1000, price.CORE_MB)
        most = max(cold["memory"].values())
        listed += (
            f"A cold start is billed {cold['milliseconds']['INIT']:.0f} ms more, ${1e6 * start:.2f} for a million of "
            f"them; the function held {most:.0f} MiB at most, with 20 Mpx of 16 bits.",
        )
    return ["\n".join(f"- {line}" for line in listed)]


if __name__ == "__main__":
    main()
