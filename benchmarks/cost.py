"""Cost of images on AWS, from the measured times in runs/bench/image.json and the prices in lungseg/remote/cost.py.

    python -m benchmarks.cost           after make bench

Every assumption is printed with the tables.
"""

from __future__ import annotations

import math
from typing import Any

from benchmarks.machine import load_result
from benchmarks.tables import table
from lungseg.remote import cost as price

MEMORY_SIZES = (512, 884, price.MB_PER_CORE, 2 * price.MB_PER_CORE)
"""Memory of a function, in MB."""

COUNTS = (1, 1_000, 1_000_000, 1_000_000_000)

CONCURRENCIES = (price.DEFAULT_CONCURRENCY, 1_000, 10_000)
"""Parallel functions: the stack's default, an AWS account's default, and the maximum of a Distributed Map."""

MAX_PUTS_PER_SECOND = 3_500
"""Per prefix (Amazon S3 user guide, "Best practices design patterns")."""

DOLLARS_PER_GB_MONTH, JSON_BYTES = 0.023, 1_500
"""Price of S3 Standard (first 50 TB), and the assumed size of an image's JSON."""

EXAMPLE = "5 Mpx JPEG"
"""The image in the table by count."""


def main() -> None:
    """Print the tables."""
    result = load_result("image")
    if result is None:
        raise SystemExit("error: nothing has been measured yet; run: make bench")
    print(cost_tables(result))


def cost_tables(result: dict[str, Any]) -> str:
    """Return the cost by image and memory, and by number of images, with the assumptions."""
    return "\n\n".join((_by_memory(result), _by_count(result), *_assumptions(result)))


def billed_seconds(image: dict[str, Any], memory: int, threads: dict[str, float] | None) -> float:
    """Return the billed time of one image in a warm function: processor time, in whole milliseconds.

    Args:
        image: from image.json; the handler's time, or the pipeline's if the image is too large for an event.
        memory: in MB.
        threads: the network's milliseconds by number of threads; None if they were not measured.
    """
    milliseconds = image["milliseconds"].get("handler", image["milliseconds"]["pipeline"])
    if memory >= 2 * price.MB_PER_CORE and threads:
        milliseconds -= image["stages"]["network"] * (1 - threads["2"] / threads["1"])
    return math.ceil(milliseconds * max(1.0, price.MB_PER_CORE / memory)) / 1000


def lambda_dollars(seconds: float, memory: int) -> float:
    """Return the price of a function's time."""
    return seconds * memory / 1024 * price.PRICES["Lambda time, x86_64"].dollars


def _by_memory(result: dict[str, Any]) -> str:
    threads = result.get("network_by_threads")
    rows = []
    for name, image in result["images"].items():
        billed = {memory: billed_seconds(image, memory, threads) for memory in MEMORY_SIZES}
        million = {memory: 1e6 * lambda_dollars(seconds, memory) for memory, seconds in billed.items()}
        # Rounding up to milliseconds causes meaningless differences: within 2 %, take the fastest as the cheapest.
        cheapest = max(memory for memory in MEMORY_SIZES if million[memory] <= 1.02 * min(million.values()))
        fastest = min(billed, key=lambda memory: billed[memory])
        cells = [f"{million[memory]:.2f} ({1000 * billed[memory]:.0f} ms)" for memory in MEMORY_SIZES]
        rows.append([name, *cells, f"{cheapest:,} MB", f"{fastest:,} MB"])
    head = ["dollars per million images", *(f"{memory:,} MB" for memory in MEMORY_SIZES), "cheapest", "fastest"]
    return table(head, rows)


def _by_count(result: dict[str, Any]) -> str:
    image = result["images"].get(EXAMPLE) or next(iter(result["images"].values()))
    processor_ms = 1000 * billed_seconds(image, price.MB_PER_CORE, None)
    settings = price.BackfillSettings()
    rows, names = [], []
    for count in COUNTS:
        listing = price.PrefixListing(count, count * image["bytes"], -(-count // 1000))
        estimate = price.estimate_backfill(listing, settings, processor_ms)
        names, dollars = list(estimate.dollars), estimate.dollars.values()
        storage = count * (image["mask_bytes"] + JSON_BYTES) / 1e9 * DOLLARS_PER_GB_MONTH
        times = [_duration(count, functions, estimate.image_ms / 1000) for functions in CONCURRENCIES]
        rows.append([f"{count:,}", *map(_money, (sum(dollars), *dollars, storage)), *times])
    times = [f"{functions:,} in parallel" for functions in CONCURRENCIES]
    return table(["images", "dollars", *names, "outputs, per month", *times], rows)


def _duration(count: int, functions: int, seconds: float) -> str:
    """Return the duration; it names S3 if that is the limit."""
    rate = min(functions, -(-count // price.DEFAULT_BATCH)) / seconds
    max_rate = MAX_PUTS_PER_SECOND / price.PUTS
    duration = count / min(rate, max_rate)
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if duration >= 2 * size:
            return f"{duration / size:.1f} {unit}{', S3' if rate > max_rate else ''}"
    return f"{duration:.1f} s"


def _money(dollars: float) -> str:
    return f"{dollars:,.2f}" if dollars >= 0.1 else f"{dollars:.7f}".rstrip("0")


def _assumptions(result: dict[str, Any]) -> list[str]:
    threads = result.get("network_by_threads")
    second_core = "is assumed to make no difference"
    if threads:
        second_core = f"speeds up the network only: {threads['1']:.1f} ms on one thread, {threads['2']:.1f} on two"
    name = EXAMPLE if EXAMPLE in result["images"] else next(iter(result["images"]))
    prices = ", ".join(
        f"{key} {each}" for key, each in price.PRICES.items() if "arm64" not in key and "Express" not in key
    )
    listed = [
        f"Prices: {price.PRICES_SOURCE}; {prices}, storage ${DOLLARS_PER_GB_MONTH:g} per GB and month.",
        f"A Lambda core is assumed to be as fast as the measured one ({result['machine']['processor']}, "
        f"{result['machine']['instructions']}), and {price.MB_PER_CORE:,} MB to be one whole core. Below that, time "
        "grows in proportion, so an image's processor time costs the same whatever the memory. Above it, a second core "
        f"{second_core}.",
        "The first table is the processor time of a warm function: the handler's, or the pipeline's for an image too "
        "large for an event. It excludes cold starts, API Gateway and S3. Billed time is rounded up to "
        "milliseconds. Costs within 2 % count as equal, and the faster memory as the cheapest.",
        f"The second table is a backfill of the image {name}: {price.MB_PER_CORE:,} MB, one image after the other in "
        f"batches of {price.DEFAULT_BATCH}, {price.PUTS} PUT and {price.GETS} GET per image, {price.TRANSITIONS} "
        f"transitions per batch, one LIST per 1,000 keys. {price.STORAGE_MS} ms and {price.STORAGE_MS_PER_MB} ms per "
        "MB of waiting for S3 are assumed, not measured; this time is billed, too.",
        f"Outputs are a mask of the measured size and {JSON_BYTES:,} bytes of JSON (assumed), in S3 Standard.",
        f"{CONCURRENCIES[0]} parallel functions are the stack's default, {CONCURRENCIES[1]:,} an account's default "
        f"quota, {CONCURRENCIES[2]:,} the maximum of a Distributed Map. S3 accepts {MAX_PUTS_PER_SECOND:,} PUT per "
        'second and prefix; with one prefix, durations that this limits are marked "S3".',
        "Not included: free tiers, discounts, logs, KMS, queues, transfer to other regions, retries.",
    ]
    cold = load_result("cold")
    if cold is not None:
        init = cold["milliseconds"]["INIT"]
        listed.append(
            f"A cold start is billed {init:.0f} ms more, ${1e6 * lambda_dollars(init / 1000, price.MB_PER_CORE):.2f} "
            f"per million. The function's peak memory was {max(cold['memory'].values()):.0f} MiB, with a 16-bit "
            "image of 20 Mpx."
        )
    return ["\n".join(f"- {line}" for line in listed)]


if __name__ == "__main__":
    main()
