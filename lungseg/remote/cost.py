"""Estimate the minutes and the cost of a backfill, with the assumptions behind each figure."""

from __future__ import annotations

from dataclasses import dataclass

PRICES_SOURCE = "AWS's public prices in us-east-1 and eu-west-1, November 2026, before free tiers and discounts"

MB_PER_CORE = 1769
"""Memory at which a function has one whole vCPU (AWS Lambda's developer guide, "Configure memory")."""

IMAGE_MS = 460
"""Processor time of an image on one core, in milliseconds: 300 for 20 megapixels as PNG on an x86 core with 8-bit dot
products, and 160 more for the FP32 network with AVX2 only, which is all that an x86_64 function is guaranteed."""

IMAGE_MS_SOURCE = {
    "x86_64": "measured for a PNG of 20 megapixels with AVX2 only; with AVX-512 VNNI it takes 300 ms",
    "arm64": "not measured on arm64: assumed to be the same as on x86_64 with AVX2 only",
}
"""What `IMAGE_MS` is based on, by architecture."""

STORAGE_MS, STORAGE_MS_PER_MB = 150, 15
"""Milliseconds of an image's requests to S3, and of each megabyte of it: assumed, not measured."""

PUTS, GETS = 2, 4
"""Requests to S3 for a new image, counted by a test. Mask and JSON are written. The image is read; before and after,
the function checks whether it is done or was given up, and whether it is still the same. DELETE is free."""

TRANSITIONS = 4
"""Step Functions transitions of a batch: its start, the function, the check for remaining images, its end."""

DEFAULT_ARCHITECTURE, DEFAULT_CONCURRENCY, DEFAULT_BATCH = "x86_64", 20, 40
"""The template's defaults."""


@dataclass(frozen=True)
class Price:
    """Dollars for so many units."""

    dollars: float
    units: int
    unit: str

    def __str__(self) -> str:
        dollars = f"{self.dollars:.10f}".rstrip("0").rstrip(".")
        return f"${dollars} per {f'{self.units:,} ' if self.units > 1 else ''}{self.unit}"


PRICES = {
    "Lambda time, x86_64": Price(0.0000166667, 1, "GB-second"),
    "Lambda time, arm64": Price(0.0000133334, 1, "GB-second"),
    "Lambda requests": Price(0.20, 10**6, "requests"),
    "S3 PUT": Price(0.005, 1000, "requests"),
    "S3 GET": Price(0.0004, 1000, "requests"),
    "S3 LIST": Price(0.005, 1000, "requests"),
    "Step Functions": Price(0.025, 1000, "transitions"),
    "Step Functions Express, requests": Price(1.00, 10**6, "requests"),
    "Step Functions Express, time": Price(0.00001667, 1, "GB-second"),
}
"""First tiers; S3 Standard. See https://aws.amazon.com/ at lambda/pricing, s3/pricing and step-functions/pricing."""


@dataclass(frozen=True)
class PrefixListing:
    """What a prefix of a bucket holds.

    Attributes:
        count, bytes: of its objects.
        lists: LIST requests that it took.
    """

    count: int
    bytes: int
    lists: int


@dataclass(frozen=True)
class BackfillSettings:
    """How a stack processes a backfill.

    Attributes:
        memory: of the batch function, in MB.
        concurrency: functions that run in parallel.
        batch: images per invocation.
        is_express: whether the batches are Express workflows.
        architecture: of the batch function, "x86_64" or "arm64".
        is_known: whether the stack's own settings were read; otherwise they are assumed.
    """

    memory: int = MB_PER_CORE
    concurrency: int = DEFAULT_CONCURRENCY
    batch: int = DEFAULT_BATCH
    is_express: bool = False
    architecture: str = DEFAULT_ARCHITECTURE
    is_known: bool = False


@dataclass(frozen=True)
class BackfillEstimate:
    """The estimate.

    Attributes:
        image_ms: milliseconds of an image, without its share of the cold start.
        minutes: until all images are done.
        usage: units by the names in `PRICES`.
    """

    images: PrefixListing
    settings: BackfillSettings
    image_ms: float
    minutes: float
    usage: dict[str, float]

    @property
    def dollars(self) -> dict[str, float]:
        """The cost by the names in `PRICES`."""
        return {name: used * PRICES[name].dollars / PRICES[name].units for name, used in self.usage.items()}


def estimate_backfill(
    images: PrefixListing, settings: BackfillSettings, processor_ms: float = IMAGE_MS
) -> BackfillEstimate:
    """Estimate a backfill of images that have no outputs yet.

    Args:
        processor_ms: of an image on one whole core.
    """
    mean_mb = images.bytes / images.count / 1e6 if images.count else 0.0
    # One thread processes an image: a second vCPU does not make it faster.
    image_ms = processor_ms / min(1.0, settings.memory / MB_PER_CORE) + STORAGE_MS + STORAGE_MS_PER_MB * mean_mb
    seconds = images.count * image_ms / 1000
    batches = -(-images.count // settings.batch)
    usage = {
        f"Lambda time, {settings.architecture}": seconds * settings.memory / 1024,
        "Lambda requests": batches,
        "S3 PUT": images.count * PUTS,
        "S3 GET": images.count * GETS,
        "S3 LIST": images.lists,
    }
    if settings.is_express:  # billed in steps of 64 MB
        usage |= {"Step Functions Express, requests": batches, "Step Functions Express, time": seconds * 64 / 1024}
    else:
        usage["Step Functions"] = batches * TRANSITIONS
    parallel = min(settings.concurrency, max(1, batches))
    return BackfillEstimate(images, settings, image_ms, seconds / parallel / 60, usage)


def estimate_lines(estimate: BackfillEstimate) -> list[str]:
    """Return an estimate as text, with the assumptions behind each figure."""
    images, settings, dollars = estimate.images, estimate.settings, estimate.dollars
    source = "the stack's" if settings.is_known else "assumed"
    core = min(1.0, settings.memory / MB_PER_CORE)
    return [
        f"images: {images.count:,}",
        f"bytes: {images.bytes:,} ({images.bytes / max(1, images.count) / 1e6:.1f} MB per image)",
        f"minutes: {estimate.minutes:,.1f}, with {settings.concurrency} functions in parallel ({source})",
        f"  per image: {estimate.image_ms:,.0f} ms = {IMAGE_MS} ms of one core / {core:.2f} of a core with "
        f"{settings.memory} MB, + {STORAGE_MS} ms and {STORAGE_MS_PER_MB} ms per MB for S3 (assumed)",
        f"  {IMAGE_MS} ms: {IMAGE_MS_SOURCE[settings.architecture]}",
        f"dollars: {sum(dollars.values()):,.2f}",
        *(f"  {name}: {used:,.0f} x {PRICES[name]} = ${dollars[name]:,.4f}" for name, used in estimate.usage.items()),
        f"  per image: {PUTS} PUT (mask, JSON) and {GETS} GET; per batch of {settings.batch} images: "
        f"1 Lambda request, {TRANSITIONS} transitions",
        f"  prices: {PRICES_SOURCE}",
        "  not included: storage of the outputs, logs, KMS requests, cold starts; images that are done cost less",
    ]
