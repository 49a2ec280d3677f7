"""The OpenAPI description: texts, examples and the responses of each route."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from lungseg import errors
from lungseg.decode.formats import IMAGE_FORMATS, format_names
from lungseg.encode.formats import FORMATS
from lungseg.server import problems
from lungseg.server.schemas import RunLengths, Segmentation, SegmentParameters

API_DESCRIPTION = """\
Send a frontal chest radiograph, get its lung mask.

    curl --data-binary @image.dcm 'https://HOST/v1/segment' -o mask.png
    curl --data-binary @image.dcm 'https://HOST/v1/segment?format=json'

Each mask comes with a verdict: `accept`, `review` or `reject`, in the JSON and in the header `X-Lung-Decision`. Errors
are RFC 9457 problem documents with a stable `code` and a `remedy`.

This service does not diagnose and is not a medical device.
"""

BINARY_CONTENT = {"schema": {"type": "string", "format": "binary"}}


def _form_field(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's schema as a form field, which may be absent but never null."""
    value = schema.get("anyOf", [schema])[0]
    kept = ("type", "enum", "exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum", "description")
    return {key: found for key, found in (schema | value).items() if key in kept}


SEGMENT_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": BINARY_CONTENT["schema"] | {"description": "The image."}}
    | {name: _form_field(schema) for name, schema in SegmentParameters.model_json_schema()["properties"].items()},
}

SEGMENT_BODY = {
    "required": True,
    "description": "One image.",
    "content": dict.fromkeys(
        (
            "application/octet-stream",
            *(each.media_type for each in sorted(IMAGE_FORMATS, key=lambda each: each.name != "DICOM")),
        ),
        BINARY_CONTENT,
    )
    | {"multipart/form-data": {"schema": SEGMENT_FORM}},
}

SEGMENT_HEADERS = {
    name: {"description": meaning, "schema": {"type": "string"}}
    for name, meaning in {
        "X-Lung-Decision": "The verdict: accept, review or reject.",
        "X-Lung-Reasons": "Codes of its reasons, most serious first, separated by commas.",
        "X-Lung-Expected-Dice": "Estimated Dice score of the mask, 0 to 1; absent without an estimate.",
        "X-Lung-Model": "First 16 digits of the model's SHA-256.",
        "Server-Timing": "Duration of each stage in milliseconds.",
        "ETag": "Depends on the image, the options and the models.",
    }.items()
}


ELSEWHERE = (errors.FileError, errors.StorageError, errors.BrowserError)
"""Errors that POST /v1/segment of a deployed service never returns."""


def problem_responses(*kinds: type[errors.ProblemError]) -> dict[int | str, dict[str, Any]]:
    """Return the error responses by status; each description lists the error codes."""
    return {
        status: problems.problem_schema(", ".join(kind.code for kind in kinds if kind.status == status))
        for status in sorted({kind.status for kind in kinds})
    }


def _segment_responses() -> dict[int | str, dict[str, Any]]:
    """Return all responses of POST /v1/segment by status."""
    media_types = dict.fromkeys(each.media_type for each in FORMATS.values())
    content: dict[str, Any] = {media: BINARY_CONTENT for media in media_types if media != "application/json"}
    content["application/geo+json"] = {"schema": {"type": "object"}}
    answers: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "The result in the requested format.",
            "model": Segmentation | RunLengths,
            "content": content,
            "headers": SEGMENT_HEADERS,
        },
        304: {"description": "The copy that If-None-Match names is up to date."},
    }
    return answers | problem_responses(*(kind for kind in errors.every_problem() if not issubclass(kind, ELSEWHERE)))


SEGMENT_ROUTE: dict[str, Any] = {
    "summary": "Segment the lungs of one image",
    "description": "Send the image as the raw body, or as the part `file` of multipart/form-data; the body may be "
    f"gzip-compressed.\n\n{format_names('and')} are detected from content; Content-Type and file names are ignored.",
    "responses": _segment_responses(),
    "openapi_extra": {"requestBody": SEGMENT_BODY},
}

MODEL_ERRORS = problem_responses(errors.ModelUnavailable)

READY_ERRORS = problem_responses(errors.ModelUnavailable, errors.Shortage)


def drop_validation_responses(app: FastAPI) -> None:
    """Remove FastAPI's 422 for invalid parameters from the description: `problems` returns 400 instead."""
    whole = app.openapi

    def openapi() -> dict[str, Any]:
        schema = whole()
        for operations in schema["paths"].values():
            for operation in operations.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(unused, None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
