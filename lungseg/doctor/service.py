"""Check a service over HTTP: authorisation, model, binary mode, payload limit and jobs. No image is needed."""

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
"""The Accept headers of programs, of curl and of browsers; each must get the PNG."""

OVERSIZED_BYTES = 4_800_000
"""As base64 more than Lambda's limit of 6 MiB per invocation, and less than API Gateway's own limit of 10 MB."""

MAX_JOB_SECONDS = 120
"""Ten times what the test pattern's job takes on a cold function."""

BINARY_REMEDY = "Set the API's binary media types to */* as in template.yaml, and deploy its stage again."


def check_service(service: ServiceClient, deployed: bool, job: bool) -> Iterator[CheckResult]:
    """Run all checks; stop if the service is down or rejects the credentials.

    Args:
        deployed: whether it is a stack's service; a local server may lack authorisation and jobs.
        job: whether to send the test pattern through a job, too. It stays in the buckets until they expire it.
    """
    health = _check_health(service)
    yield health
    if health.state == "failed":
        return
    yield _check_authorisation(service, deployed)
    credentials = _check_credentials(service)
    if credentials is not None:
        yield credentials
        if credentials.state == "failed":
            return
    checks: list[tuple[str, Callable[[], CheckResult]]] = [
        ("model", lambda: _check_model(service)),
        ("binary mode", lambda: _check_binary_mode(service)),
        ("payload limit", lambda: _check_payload_limit(service, deployed)),
        ("jobs", lambda: _check_jobs(service, deployed)),
    ]
    if job:
        checks.append(("test job", lambda: _check_test_job(service)))
    for name, check in checks:
        try:
            yield check()
        except (RemoteError, ProblemError) as error:
            yield CheckResult(name, "failed", error.detail.rstrip("."), error.remedy)


def _check_health(service: ServiceClient) -> CheckResult:
    try:
        answer = service.send_request("GET", "/health", authenticated=False)
        document = json.loads(answer.content) if answer.status_code == 200 else {}
    except RemoteError as error:
        return CheckResult("service", "failed", error.detail.rstrip("."), error.remedy)
    except ValueError:
        document = {}
    if not isinstance(document, dict) or document.get("status") != "ok":
        text = f"GET /health without a key returned {answer.status_code}"
        return CheckResult("service", "failed", text, "Check the address, and that /health needs no key.")
    if document.get("version") != __version__:
        text = "running, but its version differs from this program's"
        return CheckResult("service", "warning", text, "Deploy this version.")
    return CheckResult("service", "ok", f"running, version {__version__}")


def _check_authorisation(service: ServiceClient, deployed: bool) -> CheckResult:
    status = service.send_request("GET", "/v1/model", authenticated=False).status_code
    if status in (401, 403):
        return CheckResult("authorisation", "ok", f"requests without credentials are rejected ({status})")
    if service.is_local and not deployed:
        return CheckResult("authorisation", "ok", "none, on this machine")
    text = f"requests without credentials are not rejected ({status})"
    remedy = "Deploy with the template's own authorisation, or put an authenticating proxy in front."
    return CheckResult("authorisation", "failed" if deployed else "warning", text, remedy)


def _check_credentials(service: ServiceClient) -> CheckResult | None:
    answer = service.send_request("GET", "/v1/model")
    if answer.status_code != 200:
        error = error_responses.service_error(answer)
        return CheckResult("credentials", "failed", error.detail.rstrip("."), error.remedy)
    return CheckResult("credentials", "ok", "accepted") if service.credentials else None


def _check_model(service: ServiceClient) -> CheckResult:
    try:
        card = json.loads(service.send_request("GET", "/v1/model").content)["segmentation"]
        digest, model = str(card["sha256"]), load_models().lung
    except (ValueError, KeyError, TypeError):
        return CheckResult("model", "failed", "GET /v1/model returned no digest", "Check the address and the version.")
    except ModelError as error:
        return CheckResult("model", "warning", f"it cannot be compared: {error}", "Run: python -m lungseg doctor")
    if digest == model.sha256:
        return CheckResult("model", "ok", f"the same as here, {digest[:16]}")
    if (card.get("quantised_from") or digest) == (model.card.quantised_from or model.sha256):
        text = f"the same as here, but in {card.get('precision')} instead of {model.card.precision}"
        return CheckResult("model", "ok", f"{text}: mask edges may differ by a pixel")
    text = f"it serves {digest[:16]!r}, this installation {model.sha256[:16]!r}: masks will differ"
    return CheckResult("model", "warning", text, "Deploy again, or set LUNG_MODEL to the same model.")


def _check_binary_mode(service: ServiceClient) -> CheckResult:
    png = ImageSource.of(picture_file(draw_phantom(), "PNG"))
    for accept in ACCEPT_HEADERS:
        answer = service.send_request("POST", "/v1/segment", headers={"Accept": accept}, image=png)
        if error_responses.problem_code(answer) == "mangled-body":
            text = "binary media types are off: images arrive as text"
            return CheckResult("binary mode", "failed", text, BINARY_REMEDY)
        if answer.status_code != 200:
            raise error_responses.service_error(answer)
        if not answer.content.startswith(PNG_SIGNATURE):
            text = "binary media types are off: masks are returned as text"
            if not _is_base64_png(answer):
                text = f"with Accept: {accept.partition(',')[0]}, the response is not a PNG"
            return CheckResult("binary mode", "failed", text, BINARY_REMEDY)
    return CheckResult("binary mode", "ok", "images and masks arrive unchanged, whatever the Accept header")


def _is_base64_png(answer: httpx2.Response) -> bool:
    return answer.content.lstrip(b'"').startswith(b"iVBORw0KGgo")


def _check_payload_limit(service: ServiceClient, deployed: bool) -> CheckResult:
    direct = service.send_request("POST", "/v1/segment", image=_padded_png(MAX_DIRECT_BYTES))
    if direct.status_code != 200:
        text = f"{MAX_DIRECT_BYTES:,} bytes, which `remote segment` sends in one request, return {direct.status_code}"
        return CheckResult("payload limit", "failed", text, "Check the limits of what is in front of the service.")
    over = service.send_request("POST", "/v1/segment", image=_padded_png(OVERSIZED_BYTES), retry_statuses=frozenset())
    if over.status_code == 200:
        text = f"{OVERSIZED_BYTES:,} bytes pass: there is no gateway; the service's limit is {limits.MAX_BYTES:,}"
        return CheckResult("payload limit", "warning" if deployed else "ok", text)
    if over.status_code == 413:
        text = f"{MAX_DIRECT_BYTES:,} bytes pass, {OVERSIZED_BYTES:,} are rejected (413)"
        return CheckResult("payload limit", "ok", text)
    text = f"{MAX_DIRECT_BYTES:,} bytes pass, {OVERSIZED_BYTES:,} return {over.status_code} instead of 413"
    return CheckResult("payload limit", "warning", text, "Nothing to do: `remote segment` sends such images as jobs.")


def _padded_png(count: int) -> ImageSource:
    """Return the test pattern as a PNG of so many bytes, padded by a chunk that decoders skip."""
    png = picture_file(draw_phantom(), "PNG")
    head, end = png[:-12], png[-12:]
    return ImageSource.of(head + png_chunk(b"paDd", bytes(count - len(png) - 12)) + end)


def _check_jobs(service: ServiceClient, deployed: bool) -> CheckResult:
    answer = service.send_request("GET", f"/v1/jobs/{'0' * 32}")
    code = error_responses.problem_code(answer)
    if code == "no-such-job":
        return CheckResult("jobs", "ok", "large images can be sent")
    if code in NO_JOBS_CODES and not deployed:
        return CheckResult("jobs", "ok", "none, because there are no buckets; large images go in one request")
    error = error_responses.service_error(answer)
    return CheckResult("jobs", "failed", f"large images cannot be sent: {error.detail.rstrip('.')}", error.remedy)


def _check_test_job(service: ServiceClient) -> CheckResult:
    """Send the test pattern through bucket, trigger and function."""
    mask = FORMATS["mask"]
    job, answer = RemoteJob.create(service, mask, Options())
    if job is None:
        raise error_responses.service_error(answer)
    job.upload(ImageSource.of(picture_file(draw_phantom(), "PNG")))
    try:
        results = job.wait(MAX_JOB_SECONDS)
    except JobUnfinished:
        text = f"the test pattern was uploaded, but its job is not done after {MAX_JOB_SECONDS} s"
        remedy = "Check the bucket's notification, the queue's messages, and the batch function's log."
        return CheckResult("test job", "failed", text, remedy)
    if job.download_output(results, mask.name).startswith(PNG_SIGNATURE):
        return CheckResult("test job", "ok", "the test pattern was uploaded and segmented, and its mask downloaded")
    return CheckResult("test job", "failed", "the output is not a PNG", "Check the batch function's log.")
