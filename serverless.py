"""AWS Lambda's door: HTTP events go to the FastAPI app, all others that are known to the images they tell of.

Both functions of template.yaml run this one handler. What a function needs is loaded here, once, in Lambda's INIT
phase: the models, and of the two doors the one that LUNG_DOOR names ("http", which is the default, or "records"). The
other one still opens, but is imported by the first event that wants it.
"""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

from lungseg import settings
from lungseg.model.lung import FETCHERS
from lungseg.model.models import load_models

HTTP, RECORDS = "http", "records"

ENTRY_POINTS = {HTTP: "app.http", RECORDS: "app.dispatch"}

# Lambda's runtime leaves the root logger at WARNING.
for package in ("app", "lungseg"):
    logging.getLogger(package).setLevel(logging.INFO)


def _fetch_model(uri: str, sha256: str) -> Path:
    from app.model_store import fetch_model  # with boto3, which a model of the image does not need

    return fetch_model(uri, sha256)


FETCHERS["s3"] = _fetch_model
load_models()
for door, module in ENTRY_POINTS.items():
    if settings.ENTRY_POINT.read(HTTP) == door:
        import_module(module)


def handler(event: Any, context: Any) -> Any:
    """Answer one invocation.

    Args:
        event: HTTP (API Gateway REST or HTTP API, function URL, application load balancer), S3's notification by
            itself, inside SQS messages or from EventBridge, a batch of a Distributed Map, tasks of S3 Batch Operations,
            or ``{"image_key": ...}``.
        context: Lambda's context object.

    Returns:
        What the event's source expects; see `app.http` and `app.events`.

    Raises:
        UnsupportedEvent: the event is none of these. Lambda reports it as the invocation's error.
        StoreError, Misconfigured, ModelError, Unfinished: images could not be done, and the event's source is told by
            this alone.
    """
    if isinstance(event, dict) and isinstance(event.get("requestContext"), dict):
        from app import http

        response = http.accept(event, context)
        if response is not None:
            return response
    from app import dispatch

    return dispatch.handle(event, context)
