"""AWS Lambda's entry point: HTTP events go to the FastAPI app, all other events to `app.dispatch`.

Both functions of template.yaml run this handler. Importing this module loads what a function needs, once, in Lambda's
INIT phase: the models, and the module that LUNG_DOOR names ("http", the default, or "records"). The other module is
imported by the first event that needs it.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
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
    from app.model_store import fetch_model  # imports boto3, which a packaged model does not need

    return fetch_model(uri, sha256)


FETCHERS["s3"] = _fetch_model
load_models()
for entry_point, module in ENTRY_POINTS.items():
    if settings.ENTRY_POINT.read(HTTP) == entry_point:
        import_module(module)


def handler(event: Any, context: Any) -> Any:
    """Handle one invocation.

    Args:
        event: HTTP (API Gateway REST or HTTP API, function URL, application load balancer); an S3 notification, direct,
            in SQS messages or from EventBridge; a batch of a Distributed Map; tasks of S3 Batch Operations; or
            ``{"image_key": ...}``.
        context: Lambda's context object.

    Returns:
        The response that the event source expects; see `app.http` and `app.events`.

    Raises:
        UnsupportedEvent: the event is none of these. Lambda reports a failed invocation.
        StoreError, Misconfigured, ModelError, UnfinishedBatch: images could not be processed; the exception is the only
            way to tell the event source.
    """
    if isinstance(event, dict) and isinstance(event.get("requestContext"), dict):
        from app import http

        response = http.accept(event, context)
        if response is not None:
            return response
    from app import dispatch

    return dispatch.handle(event, context)
