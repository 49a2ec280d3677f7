"""What a backfill takes: minutes and dollars, each with what it rests on.

Prices are AWS's public ones before any free tier, discount or tax; they are the same in us-east-1 and eu-west-1.
"""

from __future__ import annotations

from dataclasses import dataclass

PRICES = "AWS's public prices of us-east-1 and eu-west-1, November 2026, before free tiers and discounts"

LAMBDA_GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
"""Dollars by architecture, first tier. https://aws.amazon.com/lambda/pricing/"""

LAMBDA_REQUEST = 0.20e-6
"""Dollars. https://aws.amazon.com/lambda/pricing/"""

S3_PUT, S3_GET = 0.005e-3, 0.0004e-3
"""Dollars for one request of S3 Standard; LIST costs what PUT does. https://aws.amazon.com/s3/pricing/"""

STEP_TRANSITION = 0.025e-3
"""Dollars, Standard workflows. https://aws.amazon.com/step-functions/pricing/"""

STEP_EXPRESS, STEP_EXPRESS_GB_SECOND = 1.00e-6, 0.00001667
"""Dollars for an Express workflow and its time, in steps of 64 MB. https://aws.amazon.com/step-functions/pricing/"""

CORE_MB = 1769
"""Memory with which a function has one whole processor (AWS Lambda's developer guide, "Configure memory")."""

IMAGE_MS = 460
"""Processor time of an image on one core, in milliseconds: 300 for 20 megapixels as PNG on an x86 core with 8-bit dot
products, and 160 more for the FP32 network with AVX2 alone, which is all that an x86_64 function is promised."""

IMAGE_MS_SOURCE = {
    "x86_64": "measured for 20 megapixels as PNG with AVX2 alone; a function with AVX-512 VNNI takes 300 ms",
    "arm64": "not measured on arm64: assumed as on x86_64 with AVX2 alone",
}
"""What `IMAGE_MS` is worth on each architecture."""

DEFAULT_ARCHITECTURE = "x86_64"
"""As template.yaml has it."""

STORAGE_MS, STORAGE_MS_MB = 150, 15
"""Assumed for an image's requests to S3, and for each megabyte of it: not measured."""

PUTS, GETS = 2, 4
"""Requests to S3 for an image that was not done before, as a test counts them: mask and JSON are written; the image is
read, and before and after it is looked whether it is done or was given up, and still the same. DELETE costs nothing."""

TRANSITIONS = 4
"""Of a batch of images: its start, the function, the question whether images are left, its end."""

DEFAULT_CONCURRENCY, DEFAULT_BATCH = 20, 40
"""As template.yaml has them."""


@dataclass(frozen=True)
class PrefixListing:
    """What a prefix holds.

    Attributes:
        count, bytes: of its objects.
        lists: requests that it took to list them.
    """

    count: int
    bytes: int
    lists: int


@dataclass(frozen=True)
class BackfillSettings:
    """How a stack does them.

    Attributes:
        memory: of the batch function, MB.
        concurrency: functions at a time.
        batch: images for one invocation.
        express: whether the state machine's batches are Express workflows.
        architecture: of the batch function, "x86_64" or "arm64".
        known: whether the stack says so; it is assumed otherwise.
    """

    memory: int = CORE_MB
    concurrency: int = DEFAULT_CONCURRENCY
    batch: int = DEFAULT_BATCH
    express: bool = False
    architecture: str = DEFAULT_ARCHITECTURE
    known: bool = False


@dataclass(frozen=True)
class BackfillEstimate:
    """What it takes.

    Attributes:
        milliseconds: for an image, its share of the start left out.
        minutes: until all are done.
        dollars: by what they are for.
    """

    images: PrefixListing
    settings: BackfillSettings
    milliseconds: float
    minutes: float
    dollars: dict[str, float]


def estimate_backfill(images: PrefixListing, settings: BackfillSettings) -> BackfillEstimate:
    """Minutes and dollars for images that have not been done before."""
    mean = images.bytes / images.count / 1e6 if images.count else 0.0
    # An image is one thread's work: more than one processor does not shorten it.
    milliseconds = IMAGE_MS / min(1.0, settings.memory / CORE_MB) + STORAGE_MS + STORAGE_MS_MB * mean
    seconds = images.count * milliseconds / 1000
    batches = -(-images.count // settings.batch)
    if settings.express:
        steps = batches * STEP_EXPRESS + seconds * 64 / 1024 * STEP_EXPRESS_GB_SECOND
    else:
        steps = batches * TRANSITIONS * STEP_TRANSITION
    dollars = {
        "Lambda, time": seconds * settings.memory / 1024 * LAMBDA_GB_SECOND[settings.architecture],
        "Lambda, requests": batches * LAMBDA_REQUEST,
        "S3, PUT": images.count * PUTS * S3_PUT,
        "S3, GET": images.count * GETS * S3_GET,
        "S3, LIST": images.lists * S3_PUT,
        "Step Functions": steps,
    }
    at_a_time = min(settings.concurrency, max(1, batches))
    return BackfillEstimate(images, settings, milliseconds, seconds / at_a_time / 60, dollars)


def estimate_lines(found: BackfillEstimate) -> list[str]:
    """The same for a person, each figure with its reason."""
    images, settings = found.images, found.settings
    source = "the stack's" if settings.known else "assumed"
    batches = -(-images.count // settings.batch)
    core = min(1.0, settings.memory / CORE_MB)
    why = {
        "Lambda, time": f"{images.count:,} x {found.milliseconds:,.0f} ms x {settings.memory / 1024:.2f} GB "
        f"x ${LAMBDA_GB_SECOND[settings.architecture]:.10f} a GB-second on {settings.architecture}",
        "Lambda, requests": f"{batches:,} of {settings.batch} images x ${1e6 * LAMBDA_REQUEST:.2f} a million",
        "S3, PUT": f"{PUTS} an image (mask, JSON) x ${1000 * S3_PUT:g} a thousand",
        "S3, GET": f"{GETS} an image (is it done, the image) x ${1000 * S3_GET:g} a thousand",
        "S3, LIST": f"{images.lists:,} x ${1000 * S3_PUT:g} a thousand",
        "Step Functions": "Express workflows, $1 a million and their time"
        if settings.express
        else f"{batches:,} batches x {TRANSITIONS} transitions x ${1000 * STEP_TRANSITION:g} a thousand",
    }
    return [
        f"images: {images.count:,}",
        f"bytes: {images.bytes:,} ({images.bytes / max(1, images.count) / 1e6:.1f} MB an image)",
        f"minutes: {found.minutes:,.1f}, {settings.concurrency} functions at a time ({source})",
        f"  an image: {found.milliseconds:,.0f} ms = {IMAGE_MS} ms of one processor / {core:.2f} of one with "
        f"{settings.memory} MB, + {STORAGE_MS} ms and {STORAGE_MS_MB} ms a MB for S3 (assumed)",
        f"  {IMAGE_MS} ms: {IMAGE_MS_SOURCE[settings.architecture]}",
        f"dollars: {sum(found.dollars.values()):,.2f}",
        *(f"  {name}: {value:,.4f} = {why[name]}" for name, value in found.dollars.items()),
        f"  prices: {PRICES}",
        "  left out: keeping the outputs, logs, KMS requests, cold starts, and images that are done already, which are "
        "cheaper",
    ]
