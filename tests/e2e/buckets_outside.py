"""Two buckets of a local S3 that only containers reach: it listens on the bridge's address."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from engine import gateway
from ports import free_ports
from processes import wait_for
from servers import REGION, client, environment, running


@dataclass(frozen=True)
class Outside:
    """S3, and the environment of functions that use it.

    Attributes:
        s3: a boto3 client.
        films, masks: the buckets.
        environment: for functions.
    """

    s3: Any
    films: str
    masks: str
    environment: dict[str, str]

    def mask(self, key: str) -> bytes:
        """Return an object of the output bucket."""
        content: bytes = self.s3.get_object(Bucket=self.masks, Key=key)["Body"].read()
        return content


@contextlib.contextmanager
def outside(folder: Path, films: str = "films", masks: str = "masks") -> Iterator[Outside]:
    """Run moto's S3 with both buckets during the ``with`` block."""
    host, (port,) = gateway(), free_ports(1)
    url = f"http://{host}:{port}"
    with running([sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)], folder / "moto.log"):
        s3 = client("s3", url)
        wait_for(lambda: _answers(s3), 60)
        for bucket in (films, masks):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        told = {"LUNG_INPUT_BUCKET": films, "LUNG_OUTPUT_BUCKET": masks}
        yield Outside(s3, films, masks, environment(url) | told)


def _answers(s3: Any) -> bool:
    with contextlib.suppress(BotoCoreError, ClientError):
        s3.list_buckets()
        return True
    return False
