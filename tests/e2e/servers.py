"""Servers that stand in for AWS, each in a process of its own on free ports, and gone when its ``with`` ends.

``moto(folder)`` has S3 that notifies SQS; ``seaweed(folder)`` is a real S3 server that checks every signature. Both
give a ``Server``, whose ``client("s3")`` is boto3's.
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
from processes import wait_for

KEY_ID, SECRET, REGION = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "eu-central-1"
"""Credentials that open nothing: the example of AWS's own documentation."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: its endpoint.
        process: its process.
        log: what it wrote.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self, service: str, **options: Any) -> Any:
        """boto3's client of a service ("s3", "sqs") at this server."""
        return client(service, self.url, **options)

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment so that its boto3 comes here."""
        return environment(self.url)


def client(service: str, url: str, **options: Any) -> Any:
    """boto3's client of a service at an endpoint."""
    # A session of one's own: the default one is built lazily and not safe to build from two threads.
    session = boto3.Session(aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name=REGION)
    # s3v4: presigned URLs are still of version 2 by default where a region allows it.
    config = Config(signature_version="s3v4" if service == "s3" else None, max_pool_connections=20, **options)
    return session.client(service, endpoint_url=url, config=config)


def environment(url: str) -> dict[str, str]:
    """What a process needs in its environment so that its boto3 goes to an endpoint."""
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
    """S3 and SQS of moto: notifications, visibility timeouts, redrive; presigned signatures are not checked."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, folder / "moto.log") as process:
        server = Server(f"http://127.0.0.1:{port}", process, folder / "moto.log")
        _wait_until_it_answers(server)
        yield server


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[Server]:
    """S3 of SeaweedFS: signatures and expiry are checked; it sends no notifications."""
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
    # Named too: by default the gRPC port is the other one plus 10,000, which may be taken or above 65,535.
    flags += [f"-{part}.port.grpc={port}" for part, port in zip(parts, ports[len(parts) :], strict=True)]
    command = [
        *(str(Path(sysconfig.get_path("scripts")) / "weed"), "server", "-filer", "-s3", "-ip=127.0.0.1"),
        *(f"-dir={data}", f"-s3.config={config}", *flags, "-s3.port.iceberg=0", "-s3.port.lance=0"),
        f"-filer.localSocket={data / 'filer.sock'}",
        f"-s3.localSocket={data / 's3.sock'}",
        # A bucket is a collection with volumes of its own: the default of eight is soon used up.
        *("-volume.max=100", "-master.volumeSizeLimitMB=64", "-volume.preStopSeconds=0"),
        # On by default: it reports to its makers.
        "-master.telemetry=false",
    ]
    with running(command, folder / "seaweed.log") as process:
        server = Server(f"http://127.0.0.1:{ports[parts.index('s3')]}", process, folder / "seaweed.log")
        _wait_until_it_answers(server)
        yield server


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, no two the same."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def listening(port: int) -> bool:
    """Whether somebody takes connections at a port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, ended by its own id with the ``with``.

    Args:
        command: program and arguments.
        log: file for what it writes.
        environment: all of it; None is this process's own.
        folder: that it runs in.
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
            # What they hold is thrown away: no need to let them end well, which takes SeaweedFS ten seconds.
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
