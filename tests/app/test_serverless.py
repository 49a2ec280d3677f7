"""The Lambda handler with complete HTTP events."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from buckets import Context
from films import encode, read_mask
from numpy.typing import NDArray
from PIL import Image

import serverless
from app.invocation import UnsupportedEvent
from lungseg.encode.png import mask_png
from lungseg.model.models import load_models
from lungseg.pipeline.segment import segment

EVENTS = Path(__file__).parents[2] / "events"


def event(name: str, film: bytes, **changes: Any) -> dict[str, Any]:
    """Return an event of events/ with an image as its body."""
    whole = json.loads((EVENTS / f"{name}.json").read_text())
    return whole | {"body": base64.b64encode(film).decode()} | changes


def content_type(answer: dict[str, Any]) -> str:
    headers = answer.get("multiValueHeaders") or {}
    return headers["content-type"][0] if headers.get("content-type") else answer["headers"]["content-type"]


@pytest.mark.parametrize("name", ["api_gateway_v1", "api_gateway_v2", "load_balancer"])
def test_base64_image_gives_base64_png(name: str, rg1: bytes) -> None:
    answer = serverless.handler(event(name, rg1), Context())
    assert answer["statusCode"] == 200
    assert content_type(answer) == "image/png"
    assert answer["isBase64Encoded"] is True
    mask = base64.b64decode(answer["body"], validate=True)
    assert read_mask(mask).shape == (1955, 1841)
    assert mask == mask_png(segment(rg1).mask)


def test_warm_calls_reuse_both_models(rg1_png: bytes) -> None:
    """Count the sessions that onnxruntime creates, in a separate process."""
    program = """
import json, sys, onnxruntime
made, original = [], onnxruntime.InferenceSession
class Counted(original):
    def __init__(self, *args, **kwargs):
        made.append(1)
        super().__init__(*args, **kwargs)
onnxruntime.InferenceSession = Counted
import serverless
at_import = len(made)
event = json.load(sys.stdin)
statuses = [serverless.handler(event, None)["statusCode"] for _ in range(10)]
print(json.dumps([at_import, len(made), statuses]))
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(event("api_gateway_v2", rg1_png)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == [2, 2, [200] * 10]


def test_model_is_loaded_at_import() -> None:
    assert load_models() is load_models()
    assert isinstance(load_models().lung._session, onnxruntime.InferenceSession)


@pytest.mark.parametrize("name", ["api_gateway_v1", "api_gateway_v2"])
@pytest.mark.parametrize("film", [b"", b"plain text"])
def test_problem_is_plain_text(name: str, film: bytes) -> None:
    answer = serverless.handler(event(name, film), Context())
    assert answer["statusCode"] in (400, 415)
    assert content_type(answer) == "application/problem+json"
    assert answer["isBase64Encoded"] is False
    assert json.loads(answer["body"])["status"] == answer["statusCode"]


@pytest.mark.parametrize("body", ["QUJ", "QUJD=", "QUJD====", "QUJ*D===", "not base64 at all!", "\udce4"])
def test_invalid_base64_is_rejected(body: object) -> None:
    answer = serverless.handler(event("api_gateway_v2", b"", body=body), Context())
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["code"] == "bad-base64"


def test_line_wrapped_base64_is_accepted(rg1_png: bytes) -> None:
    answer = serverless.handler(event("api_gateway_v1", b"", body=base64.encodebytes(rg1_png).decode()), Context())
    assert answer["statusCode"] == 200


@pytest.mark.parametrize("name", ["api_gateway_v1", "api_gateway_v2", "load_balancer"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"body": 7}, "malformed-upload"),
        ({"body": {"a": 1}, "isBase64Encoded": False}, "malformed-upload"),
        ({"body": "\udce4", "isBase64Encoded": False}, "mangled-body"),
        ({"body": None}, "empty-body"),
        ({"body": "", "headers": None}, "empty-body"),
    ],
)
def test_odd_event_is_rejected_in_its_own_format(name: str, changes: dict[str, Any], code: str) -> None:
    answer = serverless.handler(event(name, b"", **changes), Context())
    assert answer["statusCode"] == 400
    assert content_type(answer) == "application/problem+json"
    assert ("multiValueHeaders" in answer) == (name != "api_gateway_v2")
    assert json.loads(answer["body"])["code"] == code


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("api_gateway_v1", {"multiValueHeaders": {"accept": [None]}}),
        ("api_gateway_v1", {"multiValueHeaders": {"x-forwarded-port": [""]}}),
        ("api_gateway_v1", {"httpMethod": 7}),
        ("api_gateway_v1", {"path": ["/"]}),
        ("api_gateway_v1", {"requestContext": {"identity": None}}),
        ("api_gateway_v2", {"headers": 7}),
        ("api_gateway_v2", {"requestContext": {}}),
        ("load_balancer", {"multiValueHeaders": None}),
        ("load_balancer", {"multiValueHeaders": {"host": ["\ud800"]}}),
        ("load_balancer", {"path": 7}),
    ],
)
def test_malformed_event_is_rejected(name: str, changes: dict[str, Any]) -> None:
    answer = serverless.handler(event(name, b"no image", **changes), Context())
    assert answer["statusCode"] == 400
    assert content_type(answer) == "application/problem+json"
    assert json.loads(answer["body"])["code"] == "malformed-upload"


def test_event_resembling_http_is_unsupported() -> None:
    with pytest.raises(UnsupportedEvent):
        serverless.handler({"requestContext": {}, "Records": 7}, Context())


def test_paths_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A job's path gives access to its results, and Mangum would log it."""
    caplog.set_level("INFO")
    serverless.handler(event("api_gateway_v2", b"", rawPath="/CANARY"), Context())
    whole = event("api_gateway_v1", b"", path="/v1/jobs/CANARY", httpMethod="GET")
    assert serverless.handler(whole, Context())["statusCode"] == 501
    assert "CANARY" not in caplog.text


def test_named_stage_is_removed_from_the_path(rg1_png: bytes) -> None:
    whole = event("api_gateway_v2", rg1_png, rawPath="/prod/v1/segment")
    whole["requestContext"]["stage"] = "prod"
    whole["requestContext"]["http"]["path"] = "/prod/v1/segment"
    assert serverless.handler(whole, Context())["statusCode"] == 200


@pytest.mark.parametrize("base", ["/lungs", "/a/b"])
@pytest.mark.parametrize(("resource", "proxy"), [("/health", None), ("/{proxy+}", "health"), ("/{proxy+}", "ready")])
def test_rest_api_base_path_is_removed(resource: str, proxy: str | None, base: str) -> None:
    path = f"{base}/{proxy or 'health'}"
    parameters = {"proxy": proxy} if proxy else None
    changes = {"resource": resource, "path": path, "httpMethod": "GET", "pathParameters": parameters}
    assert serverless.handler(event("api_gateway_v1", b"", **changes), Context())["statusCode"] == 200


def test_root_of_base_path_is_the_page() -> None:
    changes = {"resource": "/", "path": "/lungs", "httpMethod": "GET", "pathParameters": None}
    answer = serverless.handler(event("api_gateway_v1", b"", **changes), Context())
    assert answer["statusCode"] == 200
    assert content_type(answer).startswith("text/html")


def test_http_api_base_path_is_removed(rg1_png: bytes) -> None:
    changes = {"routeKey": "ANY /{proxy+}", "rawPath": "/lungs/v1/segment", "pathParameters": {"proxy": "v1/segment"}}
    whole = event("api_gateway_v2", rg1_png, **changes)
    whole["requestContext"]["http"]["path"] = "/lungs/v1/segment"
    assert serverless.handler(whole, Context())["statusCode"] == 200


@pytest.mark.parametrize("changes", [{"pathParameters": 7}, {"resource": 7}, {"pathParameters": {"proxy": None}}])
def test_odd_route_keeps_the_path(changes: dict[str, Any]) -> None:
    whole = event("api_gateway_v1", b"", path="/health", httpMethod="GET", **changes)
    assert serverless.handler(whole, Context())["statusCode"] == 200


def test_missing_binary_mode_is_reported(rg1_png: bytes) -> None:
    mangled = rg1_png.decode("utf-8", "replace")
    answer = serverless.handler(event("api_gateway_v1", b"", body=mangled, isBase64Encoded=False), Context())
    assert json.loads(answer["body"])["code"] == "mangled-body"


def test_health() -> None:
    whole = event("api_gateway_v1", b"", path="/health", httpMethod="GET", body=None, isBase64Encoded=False)
    answer = serverless.handler(whole, Context())
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["status"] == "ok"


@pytest.mark.parametrize("form", ["json", "contours"])
def test_json_is_text_with_the_verdict(form: str, rg1_png: bytes) -> None:
    query = {"queryStringParameters": {"format": form}, "multiValueQueryStringParameters": {"format": [form]}}
    answer = serverless.handler(event("api_gateway_v1", rg1_png, **query), Context())
    assert answer["isBase64Encoded"] is False
    assert json.loads(answer["body"])
    assert answer["headers"]["x-lung-decision"] == "accept"


@pytest.mark.parametrize(
    "other", [None, [], "text", {}, {"Records": [{"s3": {}}]}, {"requestContext": None}, {"requestContext": {}}]
)
def test_unknown_event_raises_an_error(other: object) -> None:
    with pytest.raises(UnsupportedEvent):
        serverless.handler(other, Context())


@pytest.mark.parametrize(
    ("door", "unwanted"),
    [("http", {"boto3", "botocore", "aws_lambda_powertools"}), ("records", {"fastapi", "mangum", "starlette"})],
)
def test_import_loads_only_what_a_png_needs(door: str, unwanted: set[str]) -> None:
    heavy = {"torch", "monai", "scipy", "matplotlib", "pydicom", "uvicorn", "tqdm", "model_export"} | unwanted
    program = f"import sys, serverless; print(sorted({heavy!r} & set(sys.modules)))"
    environment = os.environ | {"LUNG_DOOR": door}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("asked", "side"),
    [
        ({"queryStringParameters": {"format": "all"}}, 1900),
        ({"queryStringParameters": {"format": "npz"}}, 2300),
        ({"queryStringParameters": {"format": "probability"}}, 4100),
        ({"headers": {"accept": "application/zip"}}, 1900),
    ],
)
def test_predictably_large_response_is_rejected_early(
    asked: dict[str, Any], side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object) -> None:
        raise AssertionError("the image was worked on")

    monkeypatch.setattr("lungseg.pipeline.segment.preprocess", work)
    film = encode(Image.effect_noise((side, side), 20), "JPEG")
    answer = serverless.handler(event("api_gateway_v2", film, **_query(asked)), Context())
    assert answer["statusCode"] == 422
    assert json.loads(answer["body"])["code"] == "answer-too-large"


def _query(asked: dict[str, Any]) -> dict[str, Any]:
    """Add the raw query string, the only one that is read of an HTTP API's event."""
    query = asked.get("queryStringParameters", {})
    return asked | {"rawQueryString": "&".join(f"{name}={value}" for name, value in query.items())}


def test_response_that_may_fit_is_made(rg1_png: bytes) -> None:
    changes = _query({"queryStringParameters": {"format": "probability"}})
    assert serverless.handler(event("api_gateway_v2", rg1_png, **changes), Context())["statusCode"] == 200


def test_response_above_lambda_limit_is_rejected(rg1_pixels: NDArray[np.uint16]) -> None:
    noisy = np.random.default_rng(1).integers(0, 2**12, rg1_pixels.shape, np.uint16) // 64 + (rg1_pixels >> 4)
    film = encode(Image.fromarray((noisy >> 4).astype(np.uint8)), "JPEG", quality=90)
    query = {"queryStringParameters": {"format": "all"}, "multiValueQueryStringParameters": {"format": ["all"]}}
    answer = serverless.handler(event("api_gateway_v1", film, **query), Context())
    assert answer["statusCode"] == 422
    assert json.loads(answer["body"])["code"] == "answer-too-large"
