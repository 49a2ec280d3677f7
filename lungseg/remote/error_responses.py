"""Turn the error responses of a service, a gateway or a bucket into exceptions with a one-line text."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2

from lungseg.errors import ProblemError, TooLarge
from lungseg.remote import errors
from lungseg.remote.retry import retry_after_seconds
from lungseg.terminal import escape_name

MAX_TEXT_LENGTH = 400
"""Characters of a member that are shown. Another program wrote it, and the error must stay one line."""

NO_SUCH_PATH = "Missing Authentication Token"
"""API Gateway's message for a path that it does not have, in a 403."""


def error_from_problem(document: dict[str, Any]) -> errors.RemoteError:
    """Return the error that a problem document (RFC 9457) describes."""
    detail = _read_text(document, "detail")
    # A gateway's own texts have no full stop.
    error = errors.RemoteError(detail if detail.endswith((".", "!", "?")) else f"{detail}.")
    error.code = _read_text(document, "code") or "problem"
    error.title = _read_text(document, "title")
    error.remedy = _read_text(document, "remedy")
    status = document.get("status")
    error.status = status if isinstance(status, int) else 500
    return error


def problem_code(answer: httpx2.Response) -> str:
    """Return the code of a problem document; empty if the response is not one, as with a gateway's own errors."""
    document = _read_document(answer)
    return _read_text(document, "code") if answer.status_code >= 400 and "detail" in document else ""


def service_error(answer: httpx2.Response) -> errors.RemoteError | ProblemError:
    """Return the error for an unexpected response of the service, or of a gateway in front of it."""
    status, document = answer.status_code, _read_document(answer)
    if problem_code(answer):
        return error_from_problem(document | {"status": status})
    message = _read_text(document, "message", 100)
    text = f"The service returned {status}" + (f" ({message})." if message else ".")
    if (seconds := retry_after_seconds(answer)) is not None:
        text += f" Its Retry-After is {seconds:.0f} s."
    if answer.is_redirect:
        return errors.BadAnswer(f"The service returned {status}, a redirect; redirects are not followed.")
    if status in (401, 403) and message != NO_SUCH_PATH:
        return errors.NotAuthorised(text)
    if status == 413:
        return TooLarge("A gateway in front of the service rejects requests of this size.")
    if status == 429 or status >= 500:
        return errors.Busy(text)
    return errors.BadAnswer(text)


def storage_error(answer: httpx2.Response) -> errors.RemoteError | ProblemError:
    """Return the error for a bucket's response to a presigned request.

    Only the code is quoted: the rest of S3's XML holds keys and signatures.
    """
    found = re.search(r"<Code>([A-Za-z]{1,60})</Code>", answer.text[:4000])
    code = found[1] if found else ""
    if code == "EntityTooLarge":
        return TooLarge("The image is larger than the bucket accepts.")
    return errors.BucketError(f"It returned {answer.status_code}" + (f" ({code})." if code else "."))


def _read_document(answer: httpx2.Response) -> dict[str, Any]:
    try:
        document = json.loads(answer.content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _read_text(document: dict[str, Any], member: str, max_length: int = MAX_TEXT_LENGTH) -> str:
    value = document.get(member)
    return escape_name(value[:max_length]) if isinstance(value, str) else ""
