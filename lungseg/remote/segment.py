"""Segment one image with a deployed service: in one request if it fits, else as a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from lungseg.encode.formats import Format
from lungseg.pipeline.options import DEFAULT_OPACITY, Options
from lungseg.remote import error_responses
from lungseg.remote.image_source import ImageSource
from lungseg.remote.jobs import RemoteJob
from lungseg.remote.service import ServiceClient

MAX_DIRECT_BYTES = 4_500_000
"""The largest image that is sent in the request itself.

Lambda's limit for an invocation is 6 MiB (6,291,456 bytes). Base64 makes the image a third larger (6,000,000 bytes),
and the rest is for the request's headers, which the event holds twice.
"""

JOB_NEEDED_CODES = frozenset({"answer-too-large"})
"""Errors that a job avoids: the output exceeds Lambda's response limit."""

NO_JOBS_CODES = frozenset({"jobs-unavailable", "not-found", "method-not-allowed"})
"""Errors of a service without jobs, such as a local one. It has no gateway and no gateway limit either."""


@dataclass(frozen=True)
class RemoteResult:
    """The output of one image, with its verdict.

    Attributes:
        content: in the requested format.
        decision: of the verdict: accept, review or reject.
        reasons: codes of the verdict, the most serious first.
        job: the job's id; None if the image was sent directly.
    """

    content: bytes
    decision: str
    reasons: tuple[str, ...]
    job: str | None = None


def segment_remotely(
    service: ServiceClient,
    image: ImageSource,
    output_format: Format,
    options: Options,
    wait: float,
    notify: Callable[[str], None],
) -> RemoteResult:
    """Return the image's output in one format.

    Args:
        wait: seconds that a job may take after its upload.
        notify: called with a line if the image is sent again as a job.

    Raises:
        RemoteError, ProblemError: the service rejects the image, or cannot be used.
    """
    if image.size <= MAX_DIRECT_BYTES:
        answer = _send_directly(service, image, output_format, options)
        if error_responses.problem_code(answer) not in JOB_NEEDED_CODES:
            return _read_result(answer)
        notify(f"the {output_format.name} is too large for one response; sending the image again as a job")
    job, refusal = RemoteJob.create(service, output_format, options)
    if job is None:
        if error_responses.problem_code(refusal) not in NO_JOBS_CODES:
            raise error_responses.service_error(refusal)
        return _read_result(_send_directly(service, image, output_format, options))
    job.upload(image)
    results = job.wait(wait)
    content = job.download_output(results, output_format.name)
    verdict = json.loads(content if output_format.name == "json" else job.download_output(results, "json"))["verdict"]
    return RemoteResult(content, verdict["decision"], tuple(reason["code"] for reason in verdict["reasons"]), job.id)


def _send_directly(
    service: ServiceClient, image: ImageSource, output_format: Format, options: Options
) -> httpx2.Response:
    parameters = {
        "format": output_format.name,
        "clean": _query_flag(options.clean),
        "upright": _query_flag(options.upright),
    }
    if options.threshold is not None:
        parameters["threshold"] = repr(options.threshold)
    if options.opacity != DEFAULT_OPACITY:  # a service of an older version would refuse it
        parameters["opacity"] = repr(options.opacity)
    # API Gateway decides by the Accept header whether the response is binary.
    headers = {"Accept": f"{output_format.media_type}, */*;q=0.5"}
    return service.send_request("POST", "/v1/segment", parameters=parameters, headers=headers, image=image)


def _read_result(answer: httpx2.Response) -> RemoteResult:
    if answer.status_code != 200:
        raise error_responses.service_error(answer)
    decision = answer.headers.get("X-Lung-Decision", "")
    if not decision:
        raise error_responses.service_error(answer)
    reasons = answer.headers.get("X-Lung-Reasons", "").split(",")
    return RemoteResult(answer.content, decision, tuple(filter(None, map(str.strip, reasons))))


def _query_flag(value: bool) -> str:
    return "true" if value else "false"
