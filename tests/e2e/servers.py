"""Servers that replace AWS, each in its own process on free ports, during a ``with`` block.

``moto(folder)`` has S3 and SQS; ``seaweed(folder)`` is an S3 server that checks every signature. Both yield a
``Server``, whose ``client("s3")`` returns a boto3 client.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from ports import free_ports
from processes import wait_for

KEY_ID, SECRET, REGION = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "eu-central-1"
"""Example credentials of AWS's documentation."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: its endpoint.
        process: its process.
        log: file of its output.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self, service: str, **options: Any) -> Any:
        """Return a boto3 client of a service ("s3", "sqs") at this server."""
        return client(service, self.url, **options)

    def environment(self) -> dict[str, str]:
        """Return environment variables that point boto3 to this server."""
        return environment(self.url)


def client(service: str, url: str, **options: Any) -> Any:
    """Return a boto3 client of a service at an endpoint."""
    # A new session: the default one is built lazily, which is not thread-safe.
    session = boto3.Session(aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name=REGION)
    # s3v4: in some regions presigned URLs default to version 2.
    config = Config(signature_version="s3v4" if service == "s3" else None, max_pool_connections=20, **options)
    return session.client(service, endpoint_url=url, config=config)


def environment(url: str) -> dict[str, str]:
    """Return environment variables that point boto3 to an endpoint."""
    return {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[Server]:
    """Run moto's S3 and SQS: notifications, visibility timeouts, redrive; presigned signatures are not checked."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, folder / "moto.log") as process:
        server = Server(f"http://127.0.0.1:{port}", process, folder / "moto.log")
        _wait_until_it_answers(server)
        yield server


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[Server]:
    """Run SeaweedFS: S3 that checks signatures and expiry, but sends no notifications."""
    data = folder / "seaweed"
    data.mkdir(parents=True)
    keys = {"accessKey": KEY_ID, "secretKey": SECRET}
    config = folder / "seaweed.json"
    config.write_text(
        json.dumps(
            {"identities": [{"name": "test", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List"]}]}
        )
    )
    parts = ["master", "volume", "filer", "s3"]
    ports = free_ports(2 * len(parts))
    flags = [f"-{part}.port={port}" for part, port in zip(parts, ports, strict=False)]
    # By default a gRPC port is the other port plus 10,000, which may be taken or above 65,535.
    flags += [f"-{part}.port.grpc={port}" for part, port in zip(parts, ports[len(parts) :], strict=True)]
    command = [
        *(str(Path(sysconfig.get_path("scripts")) / "weed"), "server", "-filer", "-s3", "-ip=127.0.0.1"),
        *(f"-dir={data}", f"-s3.config={config}", *flags, "-s3.port.iceberg=0", "-s3.port.lance=0"),
        f"-filer.localSocket={data / 'filer.sock'}",
        f"-s3.localSocket={data / 's3.sock'}",
        # Every bucket has its own volumes, which soon exceed the default of eight.
        *("-volume.max=100", "-master.volumeSizeLimitMB=64", "-volume.preStopSeconds=0"),
        # Telemetry is on by default.
        "-master.telemetry=false",
    ]
    with running(command, folder / "seaweed.log") as process:
        server = Server(f"http://127.0.0.1:{ports[parts.index('s3')]}", process, folder / "seaweed.log")
        _wait_until_it_answers(server)
        yield server


def listening(port: int) -> bool:
    """Return whether something listens on a port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process during the ``with`` block.

    Args:
        command: program and arguments.
        log: file for its output.
        environment: its environment; None for this process's.
        folder: its working folder.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=folder
        ) as process,
    ):
        try:
            yield process
        finally:
            # Their data is discarded, so kill them: SeaweedFS takes 10 s to shut down.
            process.kill()


def _wait_until_it_answers(server: Server) -> None:
    s3 = server.client("s3", retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5)

    def answers() -> bool:
        assert server.process.poll() is None, server.log.read_text(errors="replace")[-2000:]
        try:
            s3.list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    wait_for(answers, 60)
