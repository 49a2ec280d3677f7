"""Write checksums of all outputs, and compare two such records.

    make record ARGS="write before.json --checkout ../old"
    make record ARGS="write after.json"
    make record ARGS="compare before.json after.json"

Record outputs before and after a change that must not affect them. The images of ``../shared``, every row of the
truth table and a set of broken files go through the CLI (`segment`, `batch`), the HTTP API (`serve`) and the Lambda
handler (HTTP events, and S3 events over a local S3 server), in every output format. Durations and dates are left out.
Only the checkout's entry points are called, so the layout of its packages does not matter.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import hashlib
import http.client
import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
from moto.server import ThreadedMotoServer
from record_inputs import CELLS, inputs

Record = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = ("lungseg", "app")
"""Packages for `python -m`: the first that has a __main__.py is used."""

DRIVER = Path(__file__).with_name("lambda_driver.py")

OPTIONS = ({}, {"threshold": "0.3"}, {"clean": "false"}, {"upright": "false"})
"""Every image is sent with the first; the others are used in turn, for one format of each image."""

TIMINGS = re.compile(rb'"milliseconds":\s*\{[^}]*\}')
PROGRESS = re.compile(r"(?m)^.*%\|.*\n")
DURATION = re.compile(r"\(\d+\.\d\d s\)|\d+(\.\d+)? (s|images/s|films/s)\b|, [\d.]+ s\b")

CHANGING = {"date", "server-timing", "content-length"}
"""Response headers that differ between two runs; the body's checksum says more than its length."""

MAX_TEXT = 2000
"""Characters up to which a text is recorded as it is, so that `compare` can show what changed."""

BUCKETS = {"LUNG_INPUT_BUCKET": "images", "LUNG_OUTPUT_BUCKET": "outputs"}

REQUESTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("GET", "/health", {}),
    ("GET", "/ready", {}),
    ("GET", "/v1/model", {}),
    ("GET", "/", {}),
    ("GET", "/docs", {}),
    ("GET", "/openapi.json", {}),
    ("HEAD", "/health", {}),
    ("GET", "/nowhere", {}),
    ("GET", "/v1/segment", {}),
    ("GET", f"/v1/jobs/{'0' * 32}", {}),
    ("POST", "/v1/segment?format=gif", {}),
    ("POST", "/v1/segment?threshold=2", {}),
    ("POST", "/v1/segment?treshold=0.5", {}),
    ("POST", "/v1/segment", {"accept": "text/html"}),
    ("POST", "/v1/segment", {"content-encoding": "br"}),
    ("POST", "/v1/segment", {"content-type": "multipart/form-data"}),
)
"""Requests without an image, or that are rejected before one is read."""

COMMANDS = (
    ["--version"],
    ["info", "--json"],
    ["segment", "missing.png"],
    ["segment", "in/bad-tiny", "--format", "gif"],
    ["segment", "in/bad-tiny", "--threshold", "2"],
    ["segment", "in/bad-tiny", "--output", "missing/mask.png"],
    ["batch", "missing", "out"],
    ["batch", "in", "in/out"],
    ["remote", "segment", "in/bad-tiny"],
    ["nothing"],
)
"""Commands that need no image."""


class Recorder:
    """Records the outputs of one checkout for a set of files."""

    def __init__(self, checkout: Path, files: dict[str, bytes], work: Path) -> None:
        self.checkout, self.files, self.work = checkout, files, work
        self.package = next(name for name in PACKAGES if (checkout / name / "__main__.py").exists())
        self.outputs: Record = {}
        # One thread: the order of floating-point sums must not depend on load.
        fixed = {"LUNG_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout), "COLUMNS": "100"}
        self.environment = os.environ | fixed
        (work / "in").mkdir()
        for name, content in files.items():
            (work / "in" / name).write_bytes(content)

    def record(self) -> Record:
        """Return the checksums of the files and of all outputs."""
        listed = self._run("info", "--json")
        self.formats = list(json.loads(listed.stdout)["writes"])
        for part in (self.commands, self.batch, self.http, self.function):
            started = time.monotonic()
            part()
            print(f"{part.__name__}: {len(self.outputs)} answers, {time.monotonic() - started:.0f} s", file=sys.stderr)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        return {"inputs": digests, "outputs": self.outputs}

    def commands(self) -> None:
        """Run `segment` once for each file, with another format and other options for each, and what needs no file."""
        for number, name in enumerate(self.files):
            output_format = self.formats[number % len(self.formats)]
            flags = ([], ["--threshold", "0.3"], ["--no-clean"], ["--no-upright"], ["--strict"])[number % 5]
            overlay = ["--overlay", "look.png"] if number % 7 == 0 else []
            line = ["segment", f"in/{name}", "--format", output_format, "-o", "answer", *flags, *overlay]
            self._command(line, ["answer", "look.png"])
        for line in COMMANDS:
            self._command(line, [])

    def batch(self) -> None:
        """Run `batch` over all files in every format."""
        formats = [part for name in self.formats for part in ("--format", name)]
        self._command(["batch", "in", "batch", "--csv", "table.csv", *formats], [])
        self._put("cli batch | table", "\n".join(_without_last_column(self.work / "table.csv")))
        for path in sorted((self.work / "batch").rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                self._put(f"cli batch | {path.name}", path.read_bytes())

    def http(self) -> None:
        """Send every file in every format to `serve`."""
        with self._serving() as port:
            for key, method, path, headers, body in self._requests():
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                self._answer(f"http {key}", answer.status, dict(answer.getheaders()), content)
                connection.close()

    def function(self) -> None:
        """Send every file in every format to the Lambda handler, then all files through buckets."""
        base = json.loads((self.checkout / "events" / "api_gateway_v1.json").read_text())
        with self._lambda() as (ask, client):
            for key, method, path, headers, body in self._requests():
                answer = ask(_http_event(base, method, path, headers, body))
                self._function_answer(f"lambda {key}", answer)
            for number, (name, content) in enumerate(self.files.items()):
                client.put_object(Bucket=BUCKETS["LUNG_INPUT_BUCKET"], Key=f"in/{name}", Body=content)
                for source, event in _events(f"in/{name}", number):
                    self._put(f"lambda {source} | {name}", ask(event))
            for source, event in (("unknown event", {"a": 1}), ("bad key", {"image_key": ""}), ("text", "event")):
                self._put(f"lambda {source}", ask(event))
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKETS["LUNG_OUTPUT_BUCKET"])
            for each in (each for page in pages for each in page.get("Contents", [])):
                found = client.get_object(Bucket=BUCKETS["LUNG_OUTPUT_BUCKET"], Key=each["Key"])
                self._put(f"bucket | {each['Key']}", found["Body"].read())
                self._put(f"bucket | {each['Key']} | facts", [found["ContentType"], found["Metadata"]])

    def _requests(self) -> Iterator[tuple[str, str, str, dict[str, str], bytes]]:
        """Yield key, method, path, headers and body of every request."""
        for number, (name, content) in enumerate(self.files.items()):
            for place, output_format in enumerate(self.formats):
                turn = (number + place) % len(self.formats)
                chosen = OPTIONS[turn] if 0 < turn < len(OPTIONS) else {}
                query = urlencode({"format": output_format} | chosen)
                yield f"| {name} | {query}", "POST", f"/v1/segment?{query}", {}, content
        for method, path, headers in REQUESTS:
            body = self.files["bad-tiny"] if method == "POST" else b""
            yield f"| {method} {path} {headers or ''}", method, path, headers, body

    def _run(self, *line: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", self.package, *line],
            check=False,
            cwd=self.work,
            env=self.environment,
            capture_output=True,
        )

    def _command(self, line: list[str], written: list[str]) -> None:
        key = f"cli {' '.join(line)}"
        done = self._run(*line)
        said = DURATION.sub("DURATION", PROGRESS.sub("", done.stderr.decode(errors="replace").rpartition("\r")[2]))
        self._put(f"{key} | exit", [done.returncode, said])
        self._put(f"{key} | stdout", done.stdout)
        for name in written:
            path = self.work / name
            if path.exists():
                self._put(f"{key} | {name}", path.read_bytes())
                path.unlink()

    def _answer(self, key: str, status: int, headers: dict[str, Any], content: bytes) -> None:
        kept = sorted((name.lower(), value) for name, value in headers.items() if name.lower() not in CHANGING)
        self._put(f"{key} | head", [status, kept])
        self._put(f"{key} | body", content)

    def _function_answer(self, key: str, said: dict[str, Any]) -> None:
        answer = said.get("answer")
        if answer is None:
            self._put(key, said)
            return
        content = base64.b64decode(answer["body"]) if answer["isBase64Encoded"] else answer["body"].encode()
        self._answer(key, answer["statusCode"], answer["headers"] | answer["multiValueHeaders"], content)

    def _put(self, key: str, value: object) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        content = stable(content)
        try:
            text: str | None = content.decode()
        except UnicodeDecodeError:
            text = None
        self.outputs[key] = text if text is not None and len(text) <= MAX_TEXT else hashlib.sha256(content).hexdigest()

    @contextlib.contextmanager
    def _serving(self) -> Iterator[int]:
        """Run `serve` on a free port; yield the port."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        line = [sys.executable, "-m", self.package, "serve", "--port", str(port)]
        with subprocess.Popen(line, cwd=self.work, env=self.environment, stderr=subprocess.DEVNULL) as server:
            try:
                _wait_for(port)
                yield port
            finally:
                server.terminate()

    @contextlib.contextmanager
    def _lambda(self) -> Iterator[tuple[Any, Any]]:
        """Run the handler beside a local S3 server; yield a function that calls it, and a client of the server."""
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each object
        server.start()
        host, port = server.get_host_and_port()
        aws = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }
        os.environ |= aws
        client = boto3.client("s3")
        for bucket in BUCKETS.values():
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        settings = {"AWS_LAMBDA_FUNCTION_NAME": "api", "LUNG_FORMATS": " ".join(self.formats)}
        environment = self.environment | aws | BUCKETS | settings
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        with subprocess.Popen([sys.executable, DRIVER], cwd=self.work, env=environment, **pipes) as function:  # type: ignore[call-overload]

            def ask(event: object) -> Any:
                print(json.dumps(event), file=function.stdin, flush=True)
                return json.loads(function.stdout.readline())

            try:
                yield ask, client
            finally:
                function.stdin.close()
        server.stop()


def stable(content: bytes) -> bytes:
    """Return an output without its timings."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return b"".join(name.encode() + stable(archive.read(name)) for name in archive.namelist())
    if TIMINGS.search(content) and content.startswith(b"\x89PNG"):
        parts, position = [], 8
        while position < len(content):
            length = int.from_bytes(content[position : position + 4], "big")
            parts.append(content[position + 4 : position + 8 + length])  # without its checksum
            position += 12 + length
        content = b"".join(parts)
    return TIMINGS.sub(b"", content)


def compare(before: Record, after: Record) -> int:
    """Print what differs; return the number of differences."""
    count = 0
    for part in ("inputs", "outputs"):
        old, new = before[part], after[part]
        changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        for key in changed:
            print(f"{key}\n  before: {old.get(key)}\n  after:  {new.get(key)}")
        print(f"{part}: {len(old)} before, {len(new)} after, {len(changed)} differ")
        count += len(changed)
    return count


def _http_event(base: dict[str, Any], method: str, path: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Return an event of API Gateway, version 1."""
    path, _, query = path.partition("?")
    pairs = dict(each.split("=") for each in query.split("&")) if query else None
    return base | {
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": pairs,
        "multiValueQueryStringParameters": pairs and {name: [value] for name, value in pairs.items()},
        "pathParameters": {"proxy": path.removeprefix("/")},
        "body": base64.b64encode(body).decode(),
    }


def _events(key: str, number: int) -> Iterator[tuple[str, Any]]:
    """Yield an event that names an object, from another source for each number, and one that asks for its mask."""
    bucket = BUCKETS["LUNG_INPUT_BUCKET"]
    object_event = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
    object_event |= {"s3": {"bucket": {"name": bucket}, "object": {"key": key}}}  # type: ignore[dict-item]
    record = {"messageId": "0", "eventSource": "aws:sqs", "body": json.dumps({"Records": [object_event]})}
    record |= {"attributes": {"ApproximateReceiveCount": "1"}}  # type: ignore[dict-item]
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    task = {"taskId": "task", "s3Key": key, "s3VersionId": None, "s3BucketArn": f"arn:aws:s3:::{bucket}"}
    operation = {"invocationSchemaVersion": "1.0", "invocationId": "0", "job": {"id": "0"}, "tasks": [task]}
    sources = (
        ("sqs", {"Records": [record]}),
        ("s3", {"Records": [object_event]}),
        ("eventbridge", {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}),
        ("map", {"BatchInput": {"bucket": bucket, "keys": "literal"}, "Items": [{"Key": key}]}),
        ("batch operations", operation),
        ("direct", {"image_key": key}),
    )
    yield sources[number % len(sources)]
    yield "direct mask", {"image_key": key, "return": "mask"}


def _without_last_column(path: Path) -> list[str]:
    """Return the rows of a table without the last column, which holds durations."""
    with path.open(newline="") as file:
        return sorted(",".join(row[:-1]) for row in csv.reader(file))


def _wait_for(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise TimeoutError("the server did not start within a minute")


def main() -> int:
    """Read the command line; write a record or compare two."""
    parser = argparse.ArgumentParser(description="Write or compare checksums of this program's outputs.")
    commands = parser.add_subparsers(dest="command", required=True)
    writer = commands.add_parser("write", help="write a record")
    writer.add_argument("record", type=Path)
    writer.add_argument("--checkout", type=Path, default=ROOT, help="the checkout to record (default: this one)")
    writer.add_argument("--images", type=int, default=150, help="images of ../shared (default: %(default)s)")
    writer.add_argument("--cells", type=int, default=len(CELLS), help="rows of the truth table (default: all)")
    comparer = commands.add_parser("compare", help="compare two records")
    comparer.add_argument("before", type=Path)
    comparer.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.command == "compare":
        return int(compare(*(json.loads(path.read_text()) for path in (options.before, options.after))) > 0)
    with tempfile.TemporaryDirectory() as work:
        files = dict(inputs(options.images, options.cells))
        record = Recorder(options.checkout.resolve(), files, Path(work)).record()
    options.record.write_text(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
