"""Is a service set up as it should be, as far as HTTP tells? Each check sends what it speaks of; no image is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx2

from lungseg import __version__, limits
from lungseg.decode.bounds.png import PNG_SIGNATURE, png_chunk
from lungseg.decode.selftest import picture_file
from lungseg.doctor.installation import CheckResult
from lungseg.encode.formats import FORMATS
from lungseg.errors import ModelError, ProblemError
from lungseg.model.models import load_models
from lungseg.model.selfcheck import draw_phantom
from lungseg.pipeline.options import Options
from lungseg.remote import error_responses
from lungseg.remote.errors import JobUnfinished, RemoteError
from lungseg.remote.image_source import ImageSource
from lungseg.remote.jobs import RemoteJob
from lungseg.remote.segment import MAX_DIRECT_BYTES, NO_JOBS_CODES
from lungseg.remote.service import ServiceClient

ACCEPT_HEADERS = ("image/png", "*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
"""What programs, curl and browsers say that they take; each must get the picture."""

OVERSIZED_BYTES = 4_800_000
"""In base64 more than the 6 MiB that Lambda takes for an invocation, and less than the gateway's own 10 MB."""

MAX_JOB_SECONDS = 120
"""For the drawing's job: ten times what a cold function takes."""

BINARY_REMEDY = "Set the API's binary media types to */* (template.yaml does), and deploy its stage again."


def check_service(service: ServiceClient, deployed: bool, job: bool) -> Iterator[CheckResult]:
    """All of them, until one leaves no sense in the rest.

    Args:
        deployed: whether it is a stack's; of a service on a local machine less is asked.
        job: whether to send a drawing through a job as well, which leaves objects in the buckets for some days.
    """
    for check in (_health, lambda each: _access(each, deployed)):
        found = list(check(service))
        yield from found
        if any(each.state == "failed" and each.name in ("service", "credentials") for each in found):
            return
    rest: list[tuple[str, Callable[[ServiceClient], Iterator[CheckResult]]]] = [
        ("model", _model),
        ("binary mode", _binary),
        ("payload limit", lambda each: _payload(each, deployed)),
        ("jobs", lambda each: _jobs(each, deployed)),
    ]
    for name, check in [*rest, ("a job", _job)] if job else rest:
        try:
            yield from check(service)
        except (RemoteError, ProblemError) as error:
            yield CheckResult(name, "failed", error.detail.rstrip("."), error.remedy)


def _health(service: ServiceClient) -> Iterator[CheckResult]:
    try:
        answer = service.send_request("GET", "/health", authenticated=False)
        document = json.loads(answer.content) if answer.status_code == 200 else {}
    except RemoteError as error:
        yield CheckResult("service", "failed", error.detail.rstrip("."), error.remedy)
        return
    except ValueError:
        document = {}
    if not isinstance(document, dict) or document.get("status") != "ok":
        text = f"GET /health without a key answered {answer.status_code}"
        yield CheckResult("service", "failed", text, "Check the address, and that /health asks for no key.")
    elif document.get("version") != __version__:
        yield CheckResult(
            "service", "warning", "it is up, and of another version than this program", "Deploy this version."
        )
    else:
        yield CheckResult("service", "ok", f"it is up, version {__version__}")


def _access(service: ServiceClient, deployed: bool) -> Iterator[CheckResult]:
    status = service.send_request("GET", "/v1/model", authenticated=False).status_code
    if status in (401, 403):
        yield CheckResult("authorisation", "ok", f"who gives no credentials is refused ({status})")
    elif service.is_local and not deployed:
        yield CheckResult("authorisation", "ok", "nobody is asked for credentials, on this machine")
    else:
        remedy = "Deploy with the template's own authorisation, or put something in front that asks."
        text = f"who gives no credentials gets {status}, and no refusal"
        yield CheckResult("authorisation", "failed" if deployed else "warning", text, remedy)
    answer = service.send_request("GET", "/v1/model")
    if answer.status_code != 200:
        refusal = error_responses.service_error(answer)
        yield CheckResult("credentials", "failed", refusal.detail.rstrip("."), refusal.remedy)
    elif service.credentials:
        yield CheckResult("credentials", "ok", "these are let in")


def _model(service: ServiceClient) -> Iterator[CheckResult]:
    try:
        card = json.loads(service.send_request("GET", "/v1/model").content)["segmentation"]
        digest, model = str(card["sha256"]), load_models().lung
    except (ValueError, KeyError, TypeError):
        yield CheckResult("model", "failed", "GET /v1/model tells no digest", "Check the address and the version.")
        return
    except ModelError as error:
        yield CheckResult("model", "warning", f"it cannot be compared: {error}", "Run: python -m lungseg doctor")
        return
    own = model.card.quantised_from or model.sha256
    if digest == model.sha256:
        yield CheckResult("model", "ok", f"the same as this installation's, {digest[:16]}")
    elif (card.get("quantised_from") or digest) == own:
        text = f"the same as this installation's, in {card.get('precision')} where this processor serves"
        yield CheckResult("model", "ok", f"{text} {model.card.precision}: edges of masks may differ by a pixel")
    else:
        text = f"it serves {digest[:16]!r}, and this installation has {model.sha256[:16]!r}: masks will differ"
        yield CheckResult("model", "warning", text, "Deploy again, or set LUNG_MODEL alike.")


def _binary(service: ServiceClient) -> Iterator[CheckResult]:
    png = ImageSource.of(picture_file(draw_phantom(), "PNG"))
    for accept in ACCEPT_HEADERS:
        answer = service.send_request("POST", "/v1/segment", headers={"Accept": accept}, image=png)
        code = error_responses.problem_code(answer)
        if code == "mangled-body":
            yield CheckResult(
                "binary mode", "failed", "binary media types are off: an image arrives as text", BINARY_REMEDY
            )
        elif answer.status_code != 200:
            raise error_responses.service_error(answer)
        elif not answer.content.startswith(PNG_SIGNATURE):
            text = "binary media types are off: the mask comes back as text"
            if not _is_base64_png(answer):
                text = f"{accept.partition(',')[0]} gets something else than a PNG"
            yield CheckResult("binary mode", "failed", text, BINARY_REMEDY)
        else:
            continue
        return
    yield CheckResult("binary mode", "ok", "a drawing goes and its mask comes unchanged, whatever Accept says")


def _is_base64_png(answer: httpx2.Response) -> bool:
    return answer.content.lstrip(b'"').startswith(b"iVBORw0KGgo")


def _payload(service: ServiceClient, deployed: bool) -> Iterator[CheckResult]:
    fits = service.send_request("POST", "/v1/segment", image=_padded(MAX_DIRECT_BYTES))
    if fits.status_code != 200:
        text = (
            f"an image of {MAX_DIRECT_BYTES:,} bytes is answered {fits.status_code}: remote segment sends such directly"
        )
        yield CheckResult("payload limit", "failed", text, "Check what stands before the service, and its own limits.")
        return
    over = service.send_request("POST", "/v1/segment", image=_padded(OVERSIZED_BYTES), retry_statuses=frozenset())
    if over.status_code == 200:
        text = f"{OVERSIZED_BYTES:,} bytes pass: no gateway stands before it, its own limit is {limits.MAX_BYTES:,}"
        yield CheckResult("payload limit", "warning" if deployed else "ok", text)
    elif over.status_code == 413:
        yield CheckResult(
            "payload limit", "ok", f"{MAX_DIRECT_BYTES:,} bytes pass, {OVERSIZED_BYTES:,} are refused (413)"
        )
    else:
        text = f"{MAX_DIRECT_BYTES:,} bytes pass, {OVERSIZED_BYTES:,} are answered {over.status_code} and not 413"
        yield CheckResult(
            "payload limit", "warning", text, "Nothing: remote segment sends images of that size as jobs."
        )


def _padded(count: int) -> ImageSource:
    """The drawing as a PNG of so many bytes: a chunk that decoders pass over goes before its last one."""
    png = picture_file(draw_phantom(), "PNG")
    head, end = png[:-12], png[-12:]
    return ImageSource.of(head + png_chunk(b"paDd", bytes(count - len(png) - 12)) + end)


def _jobs(service: ServiceClient, deployed: bool) -> Iterator[CheckResult]:
    answer = service.send_request("GET", f"/v1/jobs/{'0' * 32}")
    code = error_responses.problem_code(answer)
    if code == "no-such-job":
        yield CheckResult("jobs", "ok", "large images can be sent")
    elif code in NO_JOBS_CODES and not deployed:
        yield CheckResult("jobs", "ok", "none are taken, for want of buckets; large images go in one request")
    else:
        error = error_responses.service_error(answer)
        yield CheckResult("jobs", "failed", f"large images cannot be sent: {error.detail.rstrip('.')}", error.remedy)


def _job(service: ServiceClient) -> Iterator[CheckResult]:
    """The drawing through bucket, trigger, function and back."""
    output_format = FORMATS["mask"]
    job, refusal = RemoteJob.create(service, output_format, Options())
    if job is None:
        raise error_responses.service_error(refusal)
    job.upload(ImageSource.of(picture_file(draw_phantom(), "PNG")))
    try:
        results = job.wait(MAX_JOB_SECONDS)
    except JobUnfinished:
        remedy = "Look at the bucket's notification, the queue's messages, and the batch function's log."
        yield CheckResult(
            "a job", "failed", f"a drawing was uploaded, and is not done after {MAX_JOB_SECONDS} s", remedy
        )
        return
    if job.download_output(results, output_format.name).startswith(PNG_SIGNATURE):
        yield CheckResult("a job", "ok", "a drawing was uploaded and segmented, and its mask came back")
    else:
        yield CheckResult("a job", "failed", "what came back is no PNG", "Look at the batch function's log.")
