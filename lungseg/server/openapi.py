"""What the HTTP door says of itself: texts, examples and the answers that each route may give."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from lungseg import errors
from lungseg.decode.formats import IMAGE_FORMATS
from lungseg.encode.formats import FORMATS
from lungseg.server import problems
from lungseg.server.schemas import RunLengths, Segmentation, SegmentParameters

API_DESCRIPTION = """\
Send a frontal chest radiograph, get its lung mask.

    curl --data-binary @film.dcm 'https://HOST/v1/segment' -o mask.png
    curl --data-binary @film.dcm 'https://HOST/v1/segment?format=json'

With every mask goes a verdict, `accept`, `review` or `reject`, in the JSON and in the header `X-Lung-Decision`. A
refusal is an RFC 9457 problem document with a stable `code` and a `remedy`.

It reports lungs, makes no diagnosis, and is not a medical device.
"""

BINARY_CONTENT = {"schema": {"type": "string", "format": "binary"}}


def _form_field(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter as a field of a form, which can be left out but not be null."""
    value = schema.get("anyOf", [schema])[0]
    kept = ("type", "enum", "exclusiveMinimum", "exclusiveMaximum", "description")
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
        "X-Lung-Reasons": "The codes of its reasons, the gravest first, separated by commas.",
        "X-Lung-Expected-Dice": "The Dice that the mask may be expected to reach, 0 to 1; absent without an estimate.",
        "X-Lung-Model": "The first 16 digits of the model's SHA-256.",
        "Server-Timing": "Milliseconds of each stage.",
        "ETag": "Changes with the image, the options and the models.",
    }.items()
}


ELSEWHERE = (errors.FileError, errors.StorageError, errors.BrowserError)
"""Errors that POST /v1/segment of a deployed service never returns."""


def problem_responses(*kinds: type[errors.ProblemError]) -> dict[int | str, dict[str, Any]]:
    """The answers that refuse, by status; the refusals' codes stand in their descriptions."""
    return {
        status: problems.problem_schema(", ".join(kind.code for kind in kinds if kind.status == status))
        for status in sorted({kind.status for kind in kinds})
    }


def _segment_responses() -> dict[int | str, dict[str, Any]]:
    """Every answer of the route that segments, by status."""
    media_types = dict.fromkeys(each.media_type for each in FORMATS.values())
    content: dict[str, Any] = {media: BINARY_CONTENT for media in media_types if media != "application/json"}
    content["application/geo+json"] = {"schema": {"type": "object"}}
    answers: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "The answer, in the form asked for.",
            "model": Segmentation | RunLengths,
            "content": content,
            "headers": SEGMENT_HEADERS,
        },
        304: {"description": "The sender's copy, named by If-None-Match, is what would be sent."},
    }
    return answers | problem_responses(*(kind for kind in errors.every_problem() if not issubclass(kind, ELSEWHERE)))


SEGMENT_ROUTE: dict[str, Any] = {
    "summary": "Segment the lungs of one image",
    "responses": _segment_responses(),
    "openapi_extra": {"requestBody": SEGMENT_BODY},
}

MODEL_ERRORS = problem_responses(errors.ModelUnavailable)

READY_ERRORS = problem_responses(errors.ModelUnavailable, errors.Shortage)


def drop_validation_responses(app: FastAPI) -> None:
    """Leave out of ``app``'s description the 422 that FastAPI adds for parameters: `problems` answers 400 instead."""
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
