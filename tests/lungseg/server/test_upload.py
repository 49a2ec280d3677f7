"""Form fields, gzip, and bodies that a client changed on the way."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from fastapi.testclient import TestClient

from app.main import app
from lungseg import limits
from lungseg.encode.png import mask_png
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment

client = TestClient(app)

URLENCODED = {"content-type": "application/x-www-form-urlencoded"}


def refusal(**request: object) -> tuple[int, str]:
    answer = client.post("/v1/segment", **request)  # type: ignore[arg-type]
    return answer.status_code, answer.json()["code"]


def test_form_fields_are_parameters(small: bytes) -> None:
    file = {"file": ("a.png", small)}
    low = client.post("/v1/segment", files=file, data={"threshold": "0.1", "clean": "false"})
    assert low.content == mask_png(segment(small, Options(0.1, False, True)).mask)
    document = client.post("/v1/segment?threshold=0.1", files=file, data={"format": "json"}).json()
    assert document["threshold"] == 0.1


@pytest.mark.parametrize(
    ("fields", "query", "named"),
    [
        ({"format": "CANARY"}, "", "format"),
        ({"threshold": "2"}, "", "threshold"),
        ({"tresh_CANARY": "0.4"}, "", "threshold"),
        ({"threshold": "0.4"}, "?threshold=0.4", "threshold"),
        ({"threshold": ["0.4", "0.5"]}, "", "twice"),
    ],
)
def test_invalid_form_fields_are_rejected(fields: dict[str, str], query: str, named: str, small: bytes) -> None:
    answer = client.post(f"/v1/segment{query}", files={"file": ("a.png", small)}, data=fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-parameter")
    assert named in answer.json()["detail"]
    assert "CANARY" not in answer.text


def test_gzip_body_is_decompressed(small: bytes) -> None:
    expected = mask_png(segment(small).mask)
    half = len(small) // 2
    for body in (gzip.compress(small), gzip.compress(small[:half]) + gzip.compress(small[half:])):
        answer = client.post("/v1/segment", content=body, headers={"content-encoding": "gzip"})
        assert answer.content == expected
    form = client.build_request("POST", "/v1/segment", files={"file": ("a", small)})
    headers = {"content-encoding": "GZIP", "content-type": form.headers["content-type"]}
    assert client.post("/v1/segment", content=gzip.compress(form.read()), headers=headers).content == expected


def test_broken_or_large_gzip_is_rejected(small: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BYTES", 10**6)
    bodies = {
        "malformed-upload": (small, gzip.compress(small)[:-9], zlib.compress(small), gzip.compress(small) + b"x"),
        "too-large": (gzip.compress(bytes(10**6 + 1)),),
        "empty-body": (gzip.compress(b""), b""),
    }
    for code, several in bodies.items():
        for body in several:
            assert refusal(content=body, headers={"content-encoding": "gzip"})[1] == code


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd", "CANARY"])
def test_other_encodings_are_rejected(encoding: str, small: bytes) -> None:
    answer = client.post("/v1/segment", content=small, headers={"content-encoding": encoding})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-encoding")
    assert answer.headers["accept-encoding"] == "gzip"


def test_curl_data_body_is_recognised(rg1: bytes, small: bytes) -> None:
    for image in (rg1, small):
        stripped = image.translate(None, b"\r\n\0")
        assert refusal(content=stripped, headers=URLENCODED) == (400, "mangled-body")
        # `curl --data-binary` says the same of its body.
        assert client.post("/v1/segment", content=image, headers=URLENCODED).status_code == 200


@pytest.mark.parametrize("kind", ["related; type=application/dicom", "mixed", "x"])
def test_other_multipart_types_are_rejected(kind: str, small: bytes) -> None:
    answer = client.post("/v1/segment", content=small, headers={"content-type": f"multipart/{kind}; boundary=x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-upload")
    assert "multipart/form-data" in answer.json()["detail"]


@pytest.mark.parametrize("formats", [["mask"] * 2, ["x"] * 20, ["mask"] * 100, ["mask", "json", "mask"]])
def test_job_names_each_format_once(formats: list[str]) -> None:
    answer = client.post("/v1/jobs", json={"formats": formats})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-parameter")
    assert len(answer.content) < 2000


def test_unknown_members_of_a_job_are_named_once() -> None:
    answer = client.post("/v1/jobs", json={f"m{number}": 1 for number in range(50)} | {"threshold": 2})
    assert answer.json()["detail"].count("unknown member") == 1
    assert "threshold" in answer.json()["detail"]


def test_only_first_five_errors_are_listed() -> None:
    answer = client.post("/v1/jobs", json={"formats": list(range(11))})
    assert answer.json()["detail"].count("Input should be a valid string") == 5
    assert "and 6 more" in answer.json()["detail"]


def test_large_json_is_rejected() -> None:
    body = json.dumps({"formats": ["x"] * 10_000})
    answer = client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


def test_responses_forbid_sniffing_and_caching() -> None:
    for path in ("/", "/docs", "/health", "/nowhere", "/v1/segment", "/docs/files/swagger-ui.css"):
        assert client.get(path).headers["x-content-type-options"] == "nosniff"
    assert client.get("/nowhere").headers["cache-control"] == "no-store"
    assert client.get("/v1/segment").headers["cache-control"] == "no-store"
    for path in ("/", "/docs"):
        scripts = client.get(path).headers["content-security-policy"].partition("script-src")[2].partition(";")[0]
        assert "sha256-" in scripts
        assert "unsafe" not in scripts
