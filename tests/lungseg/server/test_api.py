"""The HTTP API, through FastAPI's test client and, once, a real server."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from films import png, read_mask

from lungseg import __version__, limits
from lungseg.encode.formats import FORMATS
from lungseg.encode.png import mask_png
from lungseg.model.lung import load_lung
from lungseg.model.models import load_models
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment
from lungseg.server import api


@pytest.fixture(scope="module")
def client() -> TestClient:
    found = TestClient(api.create_app())
    found.get("/health")  # the first request builds the middleware: its limits must not be those that a test sets
    return found


def problem(response: httpx2.Response) -> dict[str, object]:
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert set(document) == {"type", "title", "status", "detail", "code", "remedy"}
    assert document["status"] == response.status_code
    return document


def test_raw_and_multipart_give_the_pipeline_mask(client: TestClient, rg1: bytes) -> None:
    raw = client.post("/v1/segment", content=rg1)
    assert raw.status_code == 200
    assert raw.headers["content-type"] == "image/png"
    assert raw.content == mask_png(segment(rg1).mask)
    assert read_mask(raw.content).shape == (1955, 1841)
    part = client.post("/v1/segment", files={"file": ("anything.txt", rg1, "text/plain")})
    assert part.content == raw.content


REFUSED = {
    "text": (b"this is a text file", 415, "unsupported-format"),
    "empty": (b"", 400, "empty-body"),
    "truncated PNG": (None, 422, "damaged-film"),
    "1x1 PNG": (png(np.zeros((1, 1), np.uint8)), 422, "too-small"),
    "blank": (png(np.zeros((99, 99), np.uint8)), 422, "blank-film"),
    "mangled": ("\ufffdPNG\r\n".encode() + bytes(99), 400, "mangled-body"),
}


@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_invalid_file_is_rejected(client: TestClient, rg1_png: bytes, name: str, multipart: bool) -> None:
    data, status, code = REFUSED[name]
    data = rg1_png[: len(rg1_png) // 2] if data is None else data
    body = {"files": {"file": ("film.png", data)}} if multipart else {"content": data}
    answer = client.post("/v1/segment", **body)
    assert answer.status_code == status
    assert problem(answer)["code"] == code


PART = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nfilm\r\n--x--\r\n'


@pytest.mark.parametrize(
    "body",
    [
        {"files": {"film": ("a.png", b"x")}},
        {"data": {"file": "not a file part"}, "files": {"other": ("a", b"x")}},
        {"content": b"abc", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"content": b"abc", "headers": {"content-type": "multipart/form-data"}},
        # charsets that Python knows, and no text is written in; and a part without an end
        {"content": PART, "headers": {"content-type": "multipart/form-data; boundary=x; charset=undefined"}},
        {"content": PART, "headers": {"content-type": "multipart/form-data; boundary=x; charset=punycode"}},
        {"content": PART[:-8], "headers": {"content-type": "multipart/form-data; boundary=x"}},
    ],
)
def test_broken_upload_is_rejected(client: TestClient, body: dict, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.post("/v1/segment", **body)
    assert answer.status_code == 400
    assert problem(answer)["code"] == "malformed-upload"
    assert not caplog.records


@pytest.mark.parametrize("multipart", [False, True])
def test_endless_body_is_cut_off(client: TestClient, monkeypatch: pytest.MonkeyPatch, multipart: bool) -> None:
    monkeypatch.setattr(limits, "MAX_BYTES", 100_000)
    read = 0

    def endless():
        nonlocal read
        if multipart:
            yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(1000):
            read += 10_000
            yield bytes(10_000)

    headers = {"content-type": "multipart/form-data; boundary=x"} if multipart else {}
    answer = client.post("/v1/segment", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert problem(answer)["code"] == "too-large"


def test_image_is_never_spooled_to_disk(client: TestClient, rg1: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def spool(_: object) -> None:
        raise AssertionError("an image went to disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", spool)
    assert client.post("/v1/segment", files={"file": ("film", rg1)}).status_code == 200


def test_media_type_is_case_insensitive(client: TestClient, rg1_png: bytes) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + rg1_png + b"\r\n--x--\r\n"
    capitals = client.post("/v1/segment", content=body, headers={"content-type": "Multipart/Form-Data; boundary=x"})
    assert capitals.status_code == 200
    other = client.post("/v1/segment", content=body, headers={"content-type": "multipart/form-dataX; boundary=x"})
    assert problem(other)["code"] == "malformed-upload"


def test_other_paths_and_methods(client: TestClient) -> None:
    assert problem(client.get("/nothing"))["code"] == "not-found"
    answer = client.get("/v1/segment")
    assert problem(answer)["code"] == "method-not-allowed"
    assert answer.headers["allow"] == "POST"


def test_unexpected_error_does_not_leak_the_image(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CANARY^PATIENT")

    monkeypatch.setattr(api, "segment", broken)
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/v1/segment", content=b"film")
    assert answer.status_code == 500
    assert problem(answer)["code"] == "internal-error"
    assert "RuntimeError" in caplog.text
    assert "CANARY" not in answer.text + caplog.text


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok", "version": __version__}
    ready = client.get("/ready").json()
    assert ready["status"] == "ready"
    served = load_models().lung
    assert ready["model"] == {
        "name": "lung-unet",
        "precision": served.card.precision,
        "precision_reason": served.precision_reason,
        "sha256": served.sha256,
    }
    assert client.get("/v1/model").json()["segmentation"]["precision_reason"] == served.precision_reason


def test_missing_model_is_reported_and_health_responds(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, rg1: bytes
) -> None:
    monkeypatch.setenv("LUNG_MODEL", "no_such_model")
    load_lung.cache_clear()
    load_models.cache_clear()
    try:
        for answer in (client.get("/ready"), client.get("/v1/model"), client.post("/v1/segment", content=rg1)):
            assert answer.status_code == 503
            assert problem(answer)["code"] == "model-unavailable"
        assert client.get("/health").status_code == 200
    finally:
        load_lung.cache_clear()
        load_models.cache_clear()


def test_model_cards_are_served(client: TestClient) -> None:
    cards = client.get("/v1/model").json()
    assert cards["segmentation"]["sha256"] == load_models().lung.sha256
    assert cards["segmentation"]["threshold"] == 0.5
    assert cards["segmentation"]["training"]["films"]
    assert cards["view"]["sha256"] == load_models().view.sha256


def test_every_format_is_served_by_name(client: TestClient, rg1: bytes) -> None:
    for form in FORMATS.values():
        answer = client.post("/v1/segment", params={"format": form.name}, content=rg1)
        assert answer.status_code == 200, form.name
        assert answer.headers["content-type"] == form.media_type
        assert answer.headers["x-lung-decision"] == "accept"
        assert len(answer.content) > 100


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "image/png"),
        ("*/*", "image/png"),
        ("", "image/png"),
        ("nonsense", "image/png"),
        ("image/*", "image/png"),
        ("application/json", "application/json"),
        ("IMAGE/PNG", "image/png"),
        ("application/json;q=0.2, application/geo+json", "application/geo+json"),
        ("image/png;q=0, application/zip", "application/zip"),
        ("application/dicom", "application/dicom"),
    ],
)
def test_accept_header_selects_the_format(client: TestClient, rg1: bytes, accept: str, media_type: str) -> None:
    answer = client.post("/v1/segment", content=rg1, headers={"accept": accept})
    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "Accept"


def test_unavailable_format_is_rejected(client: TestClient, rg1_png: bytes) -> None:
    answer = client.post("/v1/segment", content=rg1_png, headers={"accept": "video/mp4"})
    assert (answer.status_code, problem(answer)["code"]) == (406, "not-acceptable")
    answer = client.post("/v1/segment", content=rg1_png, params={"format": "dicom-seg"})
    assert (answer.status_code, problem(answer)["code"]) == (422, "needs-dicom")


@pytest.mark.parametrize(
    "query",
    [
        "tresh_CANARY=0.4",
        "format=CANARY",
        "threshold=CANARY",
        "threshold=0",
        "threshold=1",
        "threshold=nan",
        "clean=CANARY",
        "opacity=1.1",
        "opacity=CANARY",
    ],
)
def test_invalid_parameters_are_named_but_not_quoted(client: TestClient, rg1_png: bytes, query: str) -> None:
    answer = client.post(f"/v1/segment?{query}", content=rg1_png)
    assert answer.status_code == 400
    assert problem(answer)["code"] == "bad-parameter"
    name = query.partition("=")[0]
    assert ("threshold" if "CANARY" in name else name) in answer.json()["detail"]
    assert "CANARY" not in answer.text


def test_higher_threshold_gives_smaller_mask(client: TestClient, rg1_png: bytes) -> None:
    shares = [
        client.post("/v1/segment", params={"format": "json", "threshold": threshold}, content=rg1_png).json()
        for threshold in (0.1, 0.5, 0.9)
    ]
    areas = [share["lungs"]["both"]["pixels"] for share in shares]
    assert areas[0] > areas[1] > areas[2] > 0


def test_matching_etag_gives_304(client: TestClient, rg1_png: bytes) -> None:
    first = client.post("/v1/segment", content=rg1_png)
    again = client.post("/v1/segment", content=rg1_png, headers={"if-none-match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    for params in ({"format": "labels"}, {"threshold": 0.4}, {"clean": False}):
        other = client.post(
            "/v1/segment", content=rg1_png, params=params, headers={"if-none-match": first.headers["etag"]}
        )
        assert other.status_code == 200


def test_opacity_changes_overlays_and_their_etags_alone(client: TestClient, small: bytes) -> None:
    def ask(**params: object) -> tuple[str, bytes]:
        answer = client.post("/v1/segment", content=small, params=params)
        return answer.headers["etag"], answer.content

    assert ask(format="mask", opacity=0.9) == ask(format="mask")
    tag, content = ask(format="overlay", opacity=0.9)
    assert (tag, content) == ask(format="overlay", opacity="0.90")
    plain = ask(format="overlay")
    assert plain == ask(format="overlay", opacity=0.2)
    assert tag != plain[0]
    assert content == FORMATS["overlay"].encode(segment(small, Options(opacity=0.9))) != plain[1]


def test_if_none_match_star_gives_no_304(client: TestClient) -> None:
    answer = client.post("/v1/segment", content=b"", headers={"if-none-match": "*"})
    assert problem(answer)["code"] == "empty-body"


def test_cors_headers_need_the_setting(rg1_png: bytes) -> None:
    program = (
        "from fastapi.testclient import TestClient; from lungseg.server.api import create_app;"
        "print(TestClient(create_app()).get('/health', headers={'origin': 'https://pacs.example'}).headers"
        ".get('access-control-allow-origin'))"
    )
    for setting, expected in (("", "None"), ("https://pacs.example", "https://pacs.example")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"LUNG_CORS_ORIGINS": setting},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


def test_server_timing_lists_the_stages(client: TestClient, rg1_png: bytes) -> None:
    timing = client.post("/v1/segment", content=rg1_png).headers["server-timing"]
    assert [stage.split(";")[0] for stage in timing.split(", ")] == [
        "decode",
        "preprocess",
        "view",
        "network",
        "mask",
        "encode",
    ]


def test_docs_load_nothing_from_other_hosts(client: TestClient) -> None:
    page = client.get("/docs")
    asked = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page.text)
    assert len(asked) >= 3
    for address in asked:
        assert client.get(address).status_code == 200, address
    assert "//" not in "".join(asked)


def test_openapi_describes_the_responses(client: TestClient) -> None:
    post = client.get("/openapi.json").json()["paths"]["/v1/segment"]["post"]
    assert set(post["requestBody"]["content"]) >= {"application/dicom", "image/png", "multipart/form-data"}
    assert set(post["responses"]) == {"200", "304", "400", "406", "408", "413", "415", "422", "500", "503"}
    assert set(post["responses"]["422"]["content"]) == {"application/problem+json"}
    (form,) = (each for each in post["parameters"] if each["name"] == "format")
    assert form["schema"]["enum"] == list(FORMATS)
    declared = set(re.findall(r"[a-z]+(?:-[a-z]+)+", " ".join(r["description"] for r in post["responses"].values())))
    assert {code for _, _, code in REFUSED.values()} <= declared


def test_serve_responds_over_a_socket(rg1: bytes) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "lungseg", "serve", "--port", str(port)], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(100):
                try:
                    assert httpx2.get(f"{url}/health").json()["status"] == "ok"
                    break
                except httpx2.TransportError:
                    time.sleep(0.1)
            refused = httpx2.post(f"{url}/v1/segment?secret=CANARY", content=rg1, timeout=60)
            answer = httpx2.post(f"{url}/v1/segment?threshold=0.5", content=rg1, timeout=60)
        finally:
            server.terminate()
            _, log = server.communicate(timeout=10)
    assert answer.content == mask_png(segment(rg1).mask)
    assert refused.status_code == 400
    assert "CANARY" not in log + refused.text
    assert "0.5" not in log


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/v1/model", "/nowhere", "/v1/segment"])
def test_head_is_get_without_body(path: str, client: TestClient) -> None:
    get, head = client.get(path), client.head(path)
    assert head.status_code == get.status_code
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.content == b""


def test_local_server_offers_no_jobs() -> None:
    with TestClient(api.create_app()) as local:
        assert problem(local.post("/v1/jobs"))["code"] == "not-found"
        assert not [path for path in local.get("/openapi.json").json()["paths"] if "jobs" in path]
