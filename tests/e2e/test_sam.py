"""`sam local` with the output of `sam build`: whole events, and HTTP."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets_outside import outside
from conftest import tool
from engine import ROOT, run
from films import packaged
from ports import free_ports
from processes import command, wait_for
from servers import listening, running

from events.make_event import MAX_EVENT, fill_event

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
"""The Accept header of Firefox and Chromium when a person opens a URL."""


@pytest.fixture(scope="module")
def radiograph() -> bytes:
    """Return RG1 as lossless JPEG 2000: uncompressed it has 7.2 MB, and an event of 6 MB holds an image of 4.5 MB."""
    found = packaged("RG1_J2KR.dcm").read_bytes()
    assert len(found) * 4 / 3 < MAX_EVENT < packaged("RG1_UNCR.dcm").stat().st_size * 4 / 3
    return found


@pytest.fixture(scope="module")
def mask(radiograph: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the image's mask as the command line writes it."""
    folder = tmp_path_factory.mktemp("mask")
    (folder / "film.dcm").write_bytes(radiograph)
    run(*command("segment", folder / "film.dcm", "--output", folder / "mask.png"), cwd=ROOT)
    return (folder / "mask.png").read_bytes()


def event(name: str, image: bytes, key: str = "film.dcm", bucket: str | None = None) -> dict[str, Any]:
    """Return one of events/*.json with an image."""
    return fill_event(json.loads((ROOT / "events" / f"{name}.json").read_text()), image, key, bucket)


def invoke(template: Path, function: str, event: dict[str, Any]) -> tuple[Any, str]:
    """Return the response of `sam local invoke`, and its stderr."""
    file = template.parent / "event.json"
    file.write_text(json.dumps(event))
    done = run(
        *(tool("sam"), "local", "invoke", function, "--template", template, "--event", file, "--skip-pull-image"),
        cwd=template.parent,
    )
    return json.loads(done.stdout.strip().splitlines()[-1]), done.stderr


def told(template: Path, variables: dict[str, str], folder: Path) -> Path:
    """Return the template with more environment variables: sam sets only those that a template declares."""
    anchor = "        POWERTOOLS_METRICS_NAMESPACE: LungSegmentation\n"
    text = template.read_text()
    assert text.count(anchor) == 1
    more = "".join(f"        {name}: {json.dumps(value)}\n" for name, value in variables.items())
    copy = folder / "template.yaml"
    # Of two variables with the same name, the later one wins.
    copy.write_text(text.replace(anchor, anchor + more))
    return copy


def test_one_image_serves_both_functions(built: Path) -> None:
    assert len(set(re.findall(r"ImageUri: (.*)", built.read_text()))) == 1


def test_api_function_returns_the_bytes_of_the_command_line(built: Path, radiograph: bytes, mask: bytes) -> None:
    answer, log = invoke(built, "ApiFunction", event("api_gateway_v1", radiograph))
    assert answer["statusCode"] == 200, answer
    assert answer["headers"]["content-type"] == "image/png"
    assert base64.b64decode(answer["body"], validate=True) == mask
    assert "WARN" not in log.replace("WARNING: IPv4", ""), log


@pytest.mark.parametrize("name", ["s3", "sqs", "eventbridge", "sqs_eventbridge", "distributed_map", "direct"])
def test_batch_function_writes_the_bytes_of_the_command_line(
    name: str, built: Path, radiograph: bytes, mask: bytes, tmp_path: Path
) -> None:
    key = "in/a b+c ü.dcm"
    with outside(tmp_path) as aws:
        aws.s3.put_object(Bucket=aws.films, Key=key, Body=radiograph)
        template = told(built, aws.environment, tmp_path)
        answer, log = invoke(template, "BatchFunction", event(name, radiograph, key, aws.films))
        assert aws.mask(f"{key}.mask.png") == mask
        assert json.loads(aws.mask(f"{key}.json"))["verdict"]["decision"] == "accept"
    assert "batchItemFailures" not in answer or answer["batchItemFailures"] == []
    assert "a b" not in log


@pytest.fixture(scope="module")
def api(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of `sam local start-api`."""
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("api") / "start-api.log"
    # Processes started in the background ignore SIGINT, and so would sam.
    command = ["env", "--default-signal=INT", str(tool("sam")), "local", "start-api"]
    command += ["--template", str(built), "--port", str(port)]
    command += ["--skip-pull-image", "--warm-containers", "LAZY"]
    with running(command, log, folder=built.parent) as process:
        wait_for(lambda: listening(port), 120)
        yield f"http://127.0.0.1:{port}"
        # On SIGTERM, sam would leave its warm containers running.
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.mark.parametrize("accept", ["image/png", "*/*", BROWSER])
def test_curl_gets_the_mask_through_the_api(
    accept: str, api: str, radiograph: bytes, mask: bytes, tmp_path: Path
) -> None:
    (tmp_path / "film.dcm").write_bytes(radiograph)
    sent = ["--data-binary", f"@{tmp_path / 'film.dcm'}", "-H", f"Accept: {accept}", "-o", str(tmp_path / "mask.png")]
    done = run("curl", "--silent", "--show-error", *sent, "-w", "%{http_code} %{content_type}", f"{api}/v1/segment")
    assert done.stdout == "200 image/png", (tmp_path / "mask.png").read_bytes()[:500]
    assert (tmp_path / "mask.png").read_bytes() == mask


def test_health_and_errors_through_the_api(api: str) -> None:
    with urllib.request.urlopen(f"{api}/health", timeout=60) as answer:
        assert answer.status == 200
    done = subprocess.run(
        ["curl", "--silent", "--data-binary", "no image", "-w", "\n%{http_code} %{content_type}", f"{api}/v1/segment"],
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    assert status == "415 application/problem+json"
    assert json.loads(body)["code"] == "unsupported-format"
