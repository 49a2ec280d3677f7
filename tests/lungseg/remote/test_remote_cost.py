"""The estimate of a backfill: totals, and the assumptions that the template, S3 and docs/OPERATIONS.md must match."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from buckets import Buckets, Context, map_event

from app.buckets.s3 import get_store
from app.dispatch import handle
from lungseg.remote.cost import GETS, PUTS, BackfillSettings, PrefixListing, estimate_backfill, estimate_lines


def test_cost_estimate_totals() -> None:
    found = estimate_backfill(PrefixListing(1_000_000, 10**13, 1000), BackfillSettings(1769, 100, 10))
    assert found.image_ms == 460 + 150 + 15 * 10
    assert found.minutes == pytest.approx(1_000_000 * 0.76 / 100 / 60)
    assert found.dollars == pytest.approx(
        {
            "Lambda time, x86_64": 760_000 * 1769 / 1024 * 0.0000166667,
            "Lambda requests": 0.02,
            "S3 PUT": 10.0,
            "S3 GET": 1.6,
            "S3 LIST": 0.005,
            "Step Functions": 100_000 * 4 * 0.000025,
        }
    )


def test_memory_scales_time_up_to_one_core() -> None:
    images = PrefixListing(1000, 10**9, 1)
    times = [estimate_backfill(images, BackfillSettings(memory)).image_ms for memory in (885, 1769, 3538)]
    assert times[0] == pytest.approx(times[1] + 460, abs=1)
    assert times[1] == times[2]


def test_express_workflows_cost_less() -> None:
    images = PrefixListing(1000, 10**9, 1)
    standard, express = (estimate_backfill(images, BackfillSettings(is_express=each)) for each in (False, True))
    assert sum(express.dollars.values()) < sum(standard.dollars.values())
    assert any("Express" in line for line in estimate_lines(express))


def test_arm64_costs_a_fifth_less_per_second() -> None:
    images = PrefixListing(1000, 10**9, 1)
    x86, arm = (
        estimate_backfill(images, BackfillSettings(architecture=name)).dollars[f"Lambda time, {name}"]
        for name in ("x86_64", "arm64")
    )
    assert arm / x86 == pytest.approx(0.8, abs=0.001)


def test_default_settings_equal_the_templates() -> None:
    template = (Path(__file__).parents[3] / "template.yaml").read_text()
    for name, value in (
        ("BatchMemory", BackfillSettings().memory),
        ("BackfillParallel", BackfillSettings().concurrency),
        ("BackfillBatch", BackfillSettings().batch),
    ):
        found = re.search(rf"\n  {name}:\n(?:    .*\n)*?    Default: (\d+)\n", template)
        assert found
        assert int(found[1]) == value


@pytest.mark.parametrize("done", [False, True])
def test_request_counts_equal_the_estimates(done: bool, buckets: Buckets, small: bytes) -> None:
    buckets.drop("in/a.png", small)
    if done:
        buckets.do("in/a.png")
    requests: Counter[str] = Counter()
    events = get_store()._client.meta.events
    events.register("before-call.s3.*", lambda model, **_: requests.update([model.name]))
    handle(map_event(buckets.films, "in/a.png"), Context())
    # An image that is done costs one more HEAD, and no PUT, which costs 12 times as much.
    assert requests["HeadObject"] + requests["GetObject"] <= GETS + done
    assert requests["PutObject"] == (0 if done else PUTS)


def test_operations_page_table_equals_the_estimate() -> None:
    page = (Path(__file__).parents[3] / "docs" / "OPERATIONS.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.,]+) \|.* ([\d.,]+) \|$", page, re.MULTILINE)
    assert len(rows) == 3
    for images, minutes, dollars in rows:
        count = int(images.replace(",", ""))
        found = estimate_backfill(PrefixListing(count, 2_000_000 * count, -(-count // 1000)), BackfillSettings())
        assert minutes == f"{found.minutes:,.1f}"
        assert dollars == f"{sum(found.dollars.values()):,.2f}"
