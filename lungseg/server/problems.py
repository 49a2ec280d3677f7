"""Turn every error into an RFC 9457 problem document. Nothing of the request is logged."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lungseg import errors
from lungseg.server.schemas import Problem, SegmentParameters

log = logging.getLogger(__name__)

SHORTAGE_RETRY_SECONDS = "10"
"""Retry-After of a response to a shortage."""

MAX_NAMED_ERRORS = 5
"""Errors that the detail of a BadParameter lists."""


def problem_schema(meaning: str) -> dict[str, Any]:
    """Return the OpenAPI entry of a status whose body is a problem document."""
    return {"description": meaning, "content": {errors.PROBLEM_MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}


def install_handlers(app: FastAPI) -> None:
    """Make ``app`` answer every error with a problem document."""

    @app.exception_handler(errors.ProblemError)
    async def problem_error(_: Request, error: errors.ProblemError) -> Response:
        return problem_response(error.problem())

    @app.exception_handler(errors.ModelError)
    async def model_error(_: Request, error: errors.ModelError) -> Response:
        log.error("the model cannot be served: %s", error)
        return problem_response(errors.ModelUnavailable("The model is missing, damaged or of another kind.").problem())

    @app.exception_handler(RequestValidationError)
    async def bad_parameter(_: Request, error: RequestValidationError) -> Response:
        # Pydantic's errors quote the input, and an unknown name is input, too: keep the places and rules only.
        return problem_response(errors.BadParameter(describe_errors(error.errors())).problem())

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # raised by FastAPI for a JSON body that is not valid UTF-8
            return problem_response(errors.BadParameter("The request's body cannot be read.").problem())
        document = errors.problem_document(
            error.status_code,
            {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error"),
            str(error.detail),
            "This path or method is not served.",
            "POST an image to /v1/segment; /docs describes the service.",
        )
        return problem_response(document, error.headers)


def describe_errors(found: Sequence[Any]) -> str:
    """Return the places and rules of the first MAX_NAMED_ERRORS errors; nothing of the input."""
    wrong = list(dict.fromkeys(map(_describe_error, found)))
    rest = len(wrong) - MAX_NAMED_ERRORS
    return "; ".join(wrong[:MAX_NAMED_ERRORS] + ([f"and {rest} more"] if rest > 0 else [])) + "."


def _describe_error(error: Any) -> str:
    if error["type"] != "extra_forbidden":
        return f"{error['loc'][-1]}: {error['msg']}"
    # The unknown name is not quoted: it is the client's text.
    if error["loc"][0] == "body":
        return "unknown member"
    return f"unknown parameter (known: {', '.join(sorted(SegmentParameters.model_fields))})"


class LastResort:
    """Answer unexpected exceptions with 500; log where they were raised, not their text.

    Starlette's ServerErrorMiddleware re-raises the exception, and the server would log its text. A decoder's exception
    may quote the image.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_and_note_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_and_note_start)
        except asyncio.CancelledError:  # the server is shutting down, and its grace period is over
            if started:
                raise
            closing = errors.Overloaded("The server is shutting down.").problem()
            await problem_response(closing, {"Retry-After": "5", "Connection": "close"})(scope, receive, send)
        except Exception as error:
            log.error("internal error: %s in %s", type(error).__name__, errors.raised_at(error))
            is_shortage = _is_shortage(error)
            if not started:
                failure: errors.ProblemError = errors.InternalError("An unexpected error stopped the request.")
                if is_shortage:
                    failure = errors.Shortage(f"The request ended with an {type(error).__name__}.")
                retry = {"Retry-After": SHORTAGE_RETRY_SECONDS} if is_shortage else None
                await problem_response(failure.problem(), retry)(scope, receive, send)


def _is_shortage(error: Exception) -> bool:
    """Return whether memory or descriptors ran out. An ImportError counts: every module was there at the start."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
    return isinstance(error, MemoryError | ImportError)


def problem_response(document: dict[str, Any], headers: Any = None) -> Response:
    """Return a problem document as a response (which is also an ASGI app) that no cache stores."""
    fixed = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return JSONResponse(
        document, document["status"], {**(headers or {}), **fixed}, media_type=errors.PROBLEM_MEDIA_TYPE
    )
