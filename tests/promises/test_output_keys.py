"""No output key triggers the function, and no two images share one."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import redirect_stdout

import pytest
from buckets import Buckets, Context, forget, make, s3_event
from failing_s3 import FailingS3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ledger import Ledger, cases
from moto import mock_aws
from template_triggers import fires, triggers
from turns import Turns

import serverless
from app.buckets import s3
from app.buckets.keys import ImageLocation, OutputKeys
from app.buckets.settings import read_bucket_settings as read_settings
from lungseg.encode.formats import FORMATS
from lungseg.encode.naming import ERROR_SUFFIX


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Buckets]:
    """Yield both buckets, in this process."""
    with mock_aws():
        yield make(None, monkeypatch, versioned=True)
    forget()


TAILS = ["", *sorted({each.suffix for each in FORMATS.values()} | {ERROR_SUFFIX}), ".mask", ".rle", ".error", ".json"]
"""Key endings that look like those of outputs, or become one with another suffix."""

PIECES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(
        [
            "/",
            "//",
            "..",
            "jobs/",
            "bucket=",
            "key=",
            "begun/",
            "backfill-reports/",
            "~",
            "~0123456789abcdef",
            "%2F",
            "+",
            " ",
            "\0",
            "e\u0301",
            "\N{LUNGS}",
            "in/",
        ]
    ),
    st.sampled_from(TAILS),
    st.integers(0, 300).map(lambda count: "\N{X-RAY}" * count),
    st.integers(0, 1100).map(lambda count: "k" * count),
)


def relatives(pieces: list[str]) -> list[str]:
    """Return an S3 key, and keys so similar that their outputs might collide."""
    key = "".join(pieces).encode()[:1024].decode(errors="ignore")
    stem = key.encode()[:1000].decode(errors="ignore")
    found = [key, *(f"{stem}{tail}" for tail in TAILS), key.upper(), key[:-1], f"{key[:-1]}\N{LUNGS}"]
    return sorted({each for each in found if 0 < len(each.encode()) <= 1024})


def test_output_key_triggers_nothing_and_collides_with_none(
    buckets: Buckets, caplog: pytest.LogCaptureFixture, ledger: Ledger
) -> None:
    """For any key and trigger; and if someone lets the output bucket trigger the function, it does nothing."""
    for package in ("app", "lungseg"):
        caplog.set_level("CRITICAL", package)
    names = read_settings()
    rules = [triggers(buckets, **each) for each in ({}, {"FilmPrefix": "in/"}, {"FilmPrefix": "in/a.mask"})]
    owners: dict[str, str] = {}
    faulty_s3 = FailingS3(Turns(random.Random(1)), random.Random(1), 0, buckets.films, buckets.outputs)
    faulty_s3.reach(s3.get_store()._client)

    @settings(
        max_examples=cases(15, 700),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @example(list("/.."))
    @given(st.lists(PIECES, min_size=1, max_size=5))
    def holds(pieces: list[str]) -> None:
        for key in relatives(pieces):
            outputs = OutputKeys.of(ImageLocation(buckets.films, key), names)
            every = {outputs.error, *(outputs.key(name) for name in FORMATS)}
            assert len(every) == 1 + len(FORMATS)
            for output in every:
                assert owners.setdefault(output, key) == key
                assert len(output.encode()) <= 1024
                assert not any(fires(rule, names.outputs, output) for rule in rules)
            with redirect_stdout(io.StringIO()):
                done = serverless.handler(s3_event(names.outputs, *sorted(every)), Context())
            assert done == {"gone": len(every)}

    holds()
    keys = len(set(owners.values()))
    ledger.enter(
        7,
        "No output key triggers the function or is another image's",
        f"{keys:,} keys of images, {len(owners):,} of outputs, {len(rules)} triggers of the template",
        f"{faulty_s3.requests} requests sent for them",
    )
    assert faulty_s3.requests == 0
    assert keys >= cases(150, 10_000)
