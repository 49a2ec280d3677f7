"""Jobs: images that are too large for one request."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from buckets import Buckets, forget
from fastapi.testclient import TestClient

from app.buckets import process
from app.main import app
from lungseg.encode.formats import FORMATS
from lungseg.encode.png import labels_png, mask_png
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment


@pytest.fixture
def client() -> TestClient:
    return TestClient(app)


def upload(job: dict[str, Any], film: bytes) -> None:
    form = job["upload"]
    answer = httpx2.post(form["url"], data=form["fields"], files={"file": film})
    assert answer.status_code == 204


def test_job_runs_from_upload_to_mask(buckets: Buckets, client: TestClient, small: bytes) -> None:
    answer = client.post("/v1/jobs")
    assert answer.status_code == 201
    job = answer.json()
    assert job["status"] == "waiting"
    assert job["upload"]["max_bytes"] == 81_048_576
    place = answer.headers["location"]
    assert client.get(place).json()["status"] == "waiting"
    assert client.get(place).json()["upload"] is None
    upload(job, small)
    assert client.get(place).json()["status"] == "running"
    assert buckets.do(f"jobs/{job['id']}/film") == {"done": 1}
    done = client.get(place)
    assert done.headers["cache-control"] == "no-store"
    results = done.json()["results"]
    assert done.json()["status"] == "done"
    assert results["mask"]["media_type"] == "image/png"
    assert httpx2.get(results["mask"]["url"]).content == mask_png(segment(small).mask)
    assert httpx2.get(results["json"]["url"]).json()["verdict"]["decision"] == "accept"


def test_job_options_and_formats_are_applied(buckets: Buckets, client: TestClient, small: bytes) -> None:
    choices = {"threshold": 0.9, "clean": False, "upright": False, "opacity": 0.7}
    wanted = {"formats": ["labels", "overlay", "dicom-seg"], **choices}
    job = client.post("/v1/jobs", json=wanted).json()
    upload(job, small)
    buckets.do(f"jobs/{job['id']}/film")
    results = client.get(f"/v1/jobs/{job['id']}").json()["results"]
    assert set(results) == {"labels", "overlay", "json"}  # a PNG gives no DICOM object
    result = segment(small, Options(**choices))
    assert httpx2.get(results["labels"]["url"]).content == labels_png(result.labels)
    assert httpx2.get(results["overlay"]["url"]).content == FORMATS["overlay"].encode(result)


def test_job_with_bad_image_has_the_problem(buckets: Buckets, client: TestClient) -> None:
    job = client.post("/v1/jobs", json={}).json()
    upload(job, b"no image")
    buckets.do(f"jobs/{job['id']}/film")
    found = client.get(f"/v1/jobs/{job['id']}").json()
    assert found["status"] == "failed"
    assert found["problem"]["code"] == "unsupported-format"
    assert found["results"] is None


def test_job_without_upload_expires(buckets: Buckets, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNG_UPLOAD_SECONDS", "1")
    job = client.post("/v1/jobs").json()
    key = f"jobs/{job['id']}/order"
    order = json.loads(buckets.get(key)) | {"expires": "2020-01-01T00:00:00+00:00"}
    buckets.client.put_object(Bucket=buckets.outputs, Key=key, Body=json.dumps(order).encode())
    assert client.get(f"/v1/jobs/{job['id']}").json()["status"] == "expired"


@pytest.mark.parametrize("first_is_good", [True, False])
def test_reused_upload_form_is_processed_once(
    first_is_good: bool, buckets: Buckets, client: TestClient, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    films: list[bytes] = []
    monkeypatch.setattr(process, "segment", lambda data, *args: films.append(data) or segment(data, *args))
    job = client.post("/v1/jobs").json()
    for number in range(20):
        upload(job, (b"" if number or first_is_good else b"no image") + small + bytes(number))
        counts = buckets.do(f"jobs/{job['id']}/film")
        assert counts == ({"skipped": 1} if number else {"done" if first_is_good else "failed": 1})
    assert len(films) == 1
    found = client.get(f"/v1/jobs/{job['id']}").json()
    assert found["status"] == ("done" if first_is_good else "failed")
    if first_is_good:
        assert httpx2.get(found["results"]["mask"]["url"]).content == mask_png(segment(small).mask)


@pytest.mark.parametrize(
    "order",
    [
        b"no JSON",
        b"[]",
        b"{}",
        json.dumps({"formats": ["x"] * 1000, "options": {}, "expires": "2030-01-01T00:00:00+00:00"}).encode(),
    ],
)
def test_job_with_foreign_request_fails(order: bytes, buckets: Buckets, client: TestClient, small: bytes) -> None:
    job = client.post("/v1/jobs").json()
    buckets.client.put_object(Bucket=buckets.outputs, Key=f"jobs/{job['id']}/order", Body=order)
    upload(job, small)
    assert buckets.do(f"jobs/{job['id']}/film") == {"failed": 1}
    answer = client.get(f"/v1/jobs/{job['id']}")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal-error"


def test_job_request_with_duplicate_formats_makes_each_once(buckets: Buckets, client: TestClient, small: bytes) -> None:
    job = client.post("/v1/jobs").json()
    key = f"jobs/{job['id']}/order"
    order = json.loads(buckets.get(key)) | {"formats": ["mask"] * 100_000 + ["json"]}
    buckets.client.put_object(Bucket=buckets.outputs, Key=key, Body=json.dumps(order).encode())
    upload(job, small)
    assert buckets.do(f"jobs/{job['id']}/film") == {"done": 1}


@pytest.mark.parametrize("job", ["0" * 32, "nonsense", "0" * 31 + "/film", "..%2f..%2fsecret", "*"])
def test_unknown_job_is_not_found(job: str, buckets: Buckets, client: TestClient) -> None:
    answer = client.get(f"/v1/jobs/{job}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "wrong", [{"formats": ["gif"]}, {"threshold": 0}, {"colour": "red"}, [], "text", {"formats": "mask"}]
)
def test_invalid_job_request_is_rejected(wrong: object, buckets: Buckets, client: TestClient) -> None:
    answer = client.post("/v1/jobs", json=wrong)
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad-parameter"
    assert "colour" not in answer.text
    assert buckets.written() == set()


def test_binary_job_request_is_rejected(client: TestClient) -> None:
    answer = client.post("/v1/jobs", content=b"\0\r\n\xff", headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad-parameter"


@pytest.mark.parametrize("method", ["get", "post"])
def test_jobs_need_buckets(method: str, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUNG_INPUT_BUCKET", raising=False)
    monkeypatch.delenv("LUNG_OUTPUT_BUCKET", raising=False)
    answer = client.request(method, "/v1/jobs" + ("/" + "0" * 32 if method == "get" else ""))
    assert answer.status_code == 501
    assert answer.json()["code"] == "jobs-unavailable"


def test_unreachable_bucket_is_reported(buckets: Buckets, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNG_OUTPUT_BUCKET", "nowhere")
    forget()
    answer = client.post("/v1/jobs")
    assert answer.status_code == 503
    assert answer.json()["code"] == "storage-unavailable"
    assert "nowhere" not in answer.text
