"""One image through a deployed service: directly while it fits into a request, else through a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from lungseg.encode.formats import Format
from lungseg.pipeline.options import Options
from lungseg.remote import refusals
from lungseg.remote.film import Film
from lungseg.remote.jobs import Job
from lungseg.remote.service import Service

DIRECT_BYTES = 4_500_000
"""The largest image that is sent in the request itself. Lambda takes 6 MiB (6,291,456 bytes) for an invocation, the image
comes in base64, which is a third more (6,000,000), and the rest is for the request's headers, which come twice."""

BEYOND = frozenset({"answer-too-large"})
"""Refusals of an answer that is too large for Lambda, while a job would lead to it."""

WITHOUT_JOBS = frozenset({"jobs-unavailable", "not-found", "method-not-allowed"})
"""What a service answers that takes no jobs, as a local one. It has no gateway's limit either."""


@dataclass(frozen=True)
class Answer:
    """What came back for an image.

    Attributes:
        content: in the form that was asked for.
        decision: the verdict's: accept, review or reject.
        reasons: its codes, the gravest first.
        job: the id of the job that it went through; None if it was sent directly.
    """

    content: bytes
    decision: str
    reasons: tuple[str, ...]
    job: str | None = None


def segment(
    service: Service, film: Film, form: Format, options: Options, wait: float, told: Callable[[str], None]
) -> Answer:
    """The image in one form.

    Args:
        wait: seconds after its upload until which a job must be done.
        told: gets a line where the image takes another way than its size had let expect.

    Raises:
        RemoteError, ProblemError: the service refuses the image, or cannot be used.
    """
    if film.size <= DIRECT_BYTES:
        answer = _direct(service, film, form, options)
        if refusals.code_of(answer) not in BEYOND:
            return _told(answer)
        told(f"the {form.name} is too large for an answer; the image goes again, through a job")
    job, refusal = Job.create(service, form, options)
    if job is None:
        if refusals.code_of(refusal) not in WITHOUT_JOBS:
            raise refusals.of_service(refusal)
        return _told(_direct(service, film, form, options))
    job.upload(film)
    results = job.wait(wait)
    content = job.result(results, form.name)
    verdict = json.loads(content if form.name == "json" else job.result(results, "json"))["verdict"]
    return Answer(content, verdict["decision"], tuple(reason["code"] for reason in verdict["reasons"]), job.id)


def _direct(service: Service, film: Film, form: Format, options: Options) -> httpx2.Response:
    chosen = {"format": form.name, "clean": _flag(options.clean), "upright": _flag(options.upright)}
    if options.threshold is not None:
        chosen["threshold"] = repr(options.threshold)
    # Named by its media type as well: a gateway decides by it whether the answer is binary.
    return service.ask(
        "POST", "/v1/segment", parameters=chosen, headers={"Accept": f"{form.media_type}, */*;q=0.5"}, film=film
    )


def _told(answer: httpx2.Response) -> Answer:
    if answer.status_code != 200:
        raise refusals.of_service(answer)
    decision = answer.headers.get("X-Lung-Decision", "")
    if not decision:
        raise refusals.of_service(answer)
    reasons = answer.headers.get("X-Lung-Reasons", "").split(",")
    return Answer(answer.content, decision, tuple(filter(None, map(str.strip, reasons))))


def _flag(value: bool) -> str:
    return "true" if value else "false"
