"""Jobs, for images too large for one request: upload by a presigned form, results by presigned URLs.

The bucket is SeaweedFS, which checks signatures, policies and expiry. Both functions run behind Lambda's runtime
interface.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import boto3
import pytest
from batch_functions import INPUTS, OUTPUTS, make_buckets, s3_message
from processes import run, wait_for
from runtime import Runtime, runtime
from servers import KEY_ID, REGION, SECRET, seaweed

from app.buckets import s3

EVENT = Path(__file__).parents[2] / "events" / "api_gateway_v1.json"
HASTE = 2
"""Seconds for which the presigned URLs of the hasty function are valid."""


@dataclass(frozen=True)
class Service:
    """The deployed service.

    Attributes:
        function: as in template.yaml, for any event.
        hasty: the same with URLs that are valid for HASTE seconds.
        s3: a boto3 client.
    """

    function: Runtime
    hasty: Runtime
    s3: Any


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with seaweed(folder) as server:
        s3 = server.client("s3")
        make_buckets(s3)
        settings = server.environment() | {"LUNG_INPUT_BUCKET": INPUTS, "LUNG_OUTPUT_BUCKET": OUTPUTS}
        with (
            runtime(folder / "function.log", settings) as function,
            runtime(folder / "hasty.log", settings | {"LUNG_UPLOAD_SECONDS": str(HASTE)}) as hasty,
        ):
            yield Service(function, hasty, s3)


def ask(function: Runtime, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    """Send a request as API Gateway does; return status and JSON of the response."""
    event = json.loads(EVENT.read_text()) | {"path": path, "httpMethod": method}
    event["headers"]["Accept"] = event["headers"]["Content-Type"] = "application/json"
    event["multiValueHeaders"] = {name: [value] for name, value in event["headers"].items()}
    event["body"] = "" if body is None else base64.b64encode(json.dumps(body).encode()).decode()
    answer = function.invoke(event)
    content = answer["body"]
    return answer["statusCode"], json.loads(base64.b64decode(content) if answer["isBase64Encoded"] else content)


def new_job(function: Runtime, body: object = None) -> dict[str, Any]:
    status, job = ask(function, "POST", "/v1/jobs", body)
    assert (status, job["status"]) == (201, "waiting")
    return job


def state(function: Runtime, job: dict[str, Any]) -> dict[str, Any]:
    status, found = ask(function, "GET", f"/v1/jobs/{job['id']}")
    assert (status, found["id"]) == (200, job["id"])
    return found


def trigger(service: Service, job: dict[str, Any]) -> None:
    """Send the notification of an upload, as AWS does."""
    body = s3_message(f"jobs/{job['id']}/film")
    message = {"messageId": "1", "body": body, "eventSource": "aws:sqs", "eventSourceARN": f"arn:aws:sqs:{REGION}:1:q"}
    assert service.function.invoke({"Records": [message]}) == {"batchItemFailures": []}


def send(job: dict[str, Any], image: bytes, **changes: str | None) -> int:
    """Upload an image with a job's form; return the status of the response.

    Args:
        changes: other values of form fields, "_" for "-"; None removes one.
    """
    fields = dict(job["upload"]["fields"]) | {name.replace("_", "-"): value for name, value in changes.items()}
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
        if value is not None
    ]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="film"\r\n\r\n')
    body = "".join(parts).encode() + image + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return fetch(urllib.request.Request(job["upload"]["url"], body, headers, method="POST"))[0]


def fetch(request: urllib.request.Request | str) -> tuple[int, str, bytes]:
    """Return status, media type and body of a response."""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def other(digit: str) -> str:
    return "1" if digit == "0" else "0"


def test_large_image_completes_a_job(service: Service, rg1: bytes, tmp_path: Path) -> None:
    assert len(rg1) > 6_291_456  # more than Lambda takes in one request
    job = new_job(service.function)
    assert state(service.function, job)["status"] == "waiting"
    assert job["upload"]["max_bytes"] >= len(rg1)
    assert send(job, rg1) == 204
    assert state(service.function, job)["status"] == "running"
    trigger(service, job)
    done = state(service.function, job)
    assert (done["status"], set(done["results"]), done["problem"]) == ("done", {"mask", "json"}, None)

    (tmp_path / "film.dcm").write_bytes(rg1)
    command_line = run("segment", tmp_path / "film.dcm", "--output", "-")
    status, media_type, mask = fetch(done["results"]["mask"]["url"])
    assert (status, media_type) == (200, "image/png")
    assert mask == command_line.stdout
    status, media_type, document = fetch(done["results"]["json"]["url"])
    assert (status, media_type) == (200, "application/json")
    assert json.loads(document)["verdict"]["decision"] == "accept"


def test_job_gives_the_requested_formats(service: Service, rg1_png: bytes, tmp_path: Path) -> None:
    job = new_job(service.function, {"formats": ["labels", "contours"], "threshold": 0.7})
    assert send(job, rg1_png) == 204
    trigger(service, job)
    results = state(service.function, job)["results"]
    assert set(results) == {"labels", "contours", "json"}
    (tmp_path / "film.png").write_bytes(rg1_png)
    command_line = run("segment", tmp_path / "film.png", "--format", "labels", "--threshold", "0.7", "--output", "-")
    assert fetch(results["labels"]["url"])[2] == command_line.stdout
    assert fetch(results["contours"]["url"])[1] == "application/geo+json"


def test_rejected_image_fails_its_job(service: Service) -> None:
    job = new_job(service.function)
    assert send(job, b"Dear colleague, " * 100) == 204
    trigger(service, job)
    failed = state(service.function, job)
    assert (failed["status"], failed["results"]) == ("failed", None)
    assert failed["problem"]["code"] == "unsupported-format"


def test_changed_form_is_rejected(service: Service) -> None:
    job, another = new_job(service.function), new_job(service.function)
    fields = job["upload"]["fields"]
    policy = json.loads(base64.b64decode(fields["policy"]))
    policy["conditions"] = [each for each in policy["conditions"] if "content-length-range" not in each]
    forged = base64.b64encode(json.dumps(policy).encode()).decode()
    signature = fields["x-amz-signature"]
    image = b"film" * 100
    changes: dict[str, dict[str, str | None]] = {
        "signature": {"x_amz_signature": other(signature[0]) + signature[1:]},
        "policy": {"policy": forged},
        "key": {"key": another["upload"]["fields"]["key"]},
        "type": {"Content_Type": "text/html"},
        "no type": {"Content_Type": None},
        "no signature": {"x_amz_signature": None},
        "more": {"x_amz_meta_film": "of somebody"},
    }
    refused = {name: send(job, image, **each) for name, each in changes.items()}
    # Without a signature, the form is not signed at all.
    assert refused == dict.fromkeys(changes, 403) | {"no signature": refused["no signature"]}
    assert refused["no signature"] in (400, 403)
    assert "Contents" not in service.s3.list_objects_v2(Bucket=INPUTS, Prefix=f"jobs/{job['id']}/")
    assert "Contents" not in service.s3.list_objects_v2(Bucket=INPUTS, Prefix=f"jobs/{another['id']}/")
    assert send(job, image) == 204


def test_upload_size_is_limited(service: Service) -> None:
    job = new_job(service.function)
    most = job["upload"]["max_bytes"]
    assert send(job, b"") == 400
    assert send(job, bytes(most + 1)) == 400
    assert state(service.function, job)["status"] == "waiting"
    assert send(job, bytes(most)) == 204


def test_form_and_job_expire(service: Service) -> None:
    job = new_job(service.hasty)
    wait_for(lambda: state(service.hasty, job)["status"] == "expired", 10 * HASTE)
    assert send(job, b"film" * 100) == 403


def test_result_url_is_for_one_result_and_expires(service: Service, rg1_png: bytes) -> None:
    job = new_job(service.function)
    send(job, rg1_png)
    trigger(service, job)
    address = state(service.function, job)["results"]["mask"]["url"]
    parts = urlsplit(address)
    assert fetch(address)[0] == 200
    assert fetch(address[:-1] + other(address[-1]))[0] == 403
    assert fetch(address.replace("film.mask.png", "film.json"))[0] == 403
    assert fetch(urlunsplit(parts._replace(query="")))[0] == 403
    assert fetch(urllib.request.Request(address, method="DELETE"))[0] == 403

    short = state(service.hasty, job)["results"]["mask"]["url"]
    wait_for(lambda: fetch(short)[0] == 403, 10 * HASTE)
    assert fetch(state(service.hasty, job)["results"]["mask"]["url"])[0] == 200


def test_unknown_job_is_not_found(service: Service) -> None:
    status, problem = ask(service.function, "GET", f"/v1/jobs/{'0' * 32}")
    assert (status, problem["code"]) == (404, "no-such-job")


def test_urls_name_the_region_of_the_bucket() -> None:
    # For hours, the global endpoint redirects requests for a new bucket, which breaks form uploads.
    session = boto3.Session(aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name=REGION)
    here = s3.ObjectStore(session.client("s3", config=s3.CLIENT_CONFIG))
    host = f"films.s3.{REGION}.amazonaws.com"
    assert urlsplit(here.presign_download("films", "key", 60)).netloc == host
    assert urlsplit(here.presign_upload("films", "key", "image/png", 100, 60)["url"]).netloc == host
