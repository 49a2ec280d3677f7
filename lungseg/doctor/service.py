"""Is a service set up as it should be, as far as HTTP tells? Each check sends what it speaks of; no image is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx2

from lungseg import __version__, limits
from lungseg.doctor.installation import Check
from lungseg.doctor.phantom import picture_film
from lungseg.encode.formats import FORMATS
from lungseg.encode.png import SIGNATURE, chunk
from lungseg.errors import ModelError, ProblemError
from lungseg.model.lung import load_lung
from lungseg.pipeline.options import Options
from lungseg.remote import refusals
from lungseg.remote.errors import JobUnfinished, RemoteError
from lungseg.remote.film import Film
from lungseg.remote.jobs import Job
from lungseg.remote.segment import DIRECT_BYTES, WITHOUT_JOBS
from lungseg.remote.service import Service

ACCEPTS = ("image/png", "*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
"""What programs, curl and browsers say that they take; each must get the picture."""

OVER_BYTES = 4_800_000
"""In base64 more than the 6 MiB that Lambda takes for an invocation, and less than the gateway's own 10 MB."""

JOB_SECONDS = 120
"""For the drawing's job: ten times what a cold function takes."""

BINARY = "Set the API's binary media types to */* (template.yaml does), and deploy its stage again."


def http_checks(service: Service, deployed: bool, job: bool) -> Iterator[Check]:
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
    rest: list[tuple[str, Callable[[Service], Iterator[Check]]]] = [
        ("model", _model),
        ("binary mode", _binary),
        ("payload limit", lambda each: _payload(each, deployed)),
        ("jobs", lambda each: _jobs(each, deployed)),
    ]
    for name, check in [*rest, ("a job", _job)] if job else rest:
        try:
            yield from check(service)
        except (RemoteError, ProblemError) as error:
            yield Check(name, "failed", error.detail.rstrip("."), error.remedy)


def _health(service: Service) -> Iterator[Check]:
    try:
        answer = service.ask("GET", "/health", known=False)
        document = json.loads(answer.content) if answer.status_code == 200 else {}
    except RemoteError as error:
        yield Check("service", "failed", error.detail.rstrip("."), error.remedy)
        return
    except ValueError:
        document = {}
    if not isinstance(document, dict) or document.get("status") != "ok":
        text = f"GET /health without a key answered {answer.status_code}"
        yield Check("service", "failed", text, "Check the address, and that /health asks for no key.")
    elif document.get("version") != __version__:
        yield Check("service", "warning", "it is up, and of another version than this program", "Deploy this version.")
    else:
        yield Check("service", "ok", f"it is up, version {__version__}")


def _access(service: Service, deployed: bool) -> Iterator[Check]:
    status = service.ask("GET", "/v1/model", known=False).status_code
    if status in (401, 403):
        yield Check("authorisation", "ok", f"who gives no credentials is refused ({status})")
    elif service.local and not deployed:
        yield Check("authorisation", "ok", "nobody is asked for credentials, on this machine")
    else:
        remedy = "Deploy with the template's own authorisation, or put something in front that asks."
        text = f"who gives no credentials gets {status}, and no refusal"
        yield Check("authorisation", "failed" if deployed else "warning", text, remedy)
    answer = service.ask("GET", "/v1/model")
    if answer.status_code != 200:
        refusal = refusals.of_service(answer)
        yield Check("credentials", "failed", refusal.detail.rstrip("."), refusal.remedy)
    elif service.access:
        yield Check("credentials", "ok", "these are let in")


def _model(service: Service) -> Iterator[Check]:
    try:
        card = json.loads(service.ask("GET", "/v1/model").content)["segmentation"]
        digest, model = str(card["sha256"]), load_lung()
    except (ValueError, KeyError, TypeError):
        yield Check("model", "failed", "GET /v1/model tells no digest", "Check the address and the version.")
        return
    except ModelError as error:
        yield Check("model", "warning", f"it cannot be compared: {error}", "Run: python -m lungseg doctor")
        return
    own = model.card.quantised_from or model.sha256
    if digest == model.sha256:
        yield Check("model", "ok", f"the same as this installation's, {digest[:16]}")
    elif (card.get("quantised_from") or digest) == own:
        text = f"the same as this installation's, in {card.get('precision')} where this processor serves"
        yield Check("model", "ok", f"{text} {model.card.precision}: edges of masks may differ by a pixel")
    else:
        text = f"it serves {digest[:16]!r}, and this installation has {model.sha256[:16]!r}: masks will differ"
        yield Check("model", "warning", text, "Deploy again, or set LUNG_MODEL alike.")


def _binary(service: Service) -> Iterator[Check]:
    drawing = Film.of(picture_film("PNG"))
    for accept in ACCEPTS:
        answer = service.ask("POST", "/v1/segment", headers={"Accept": accept}, film=drawing)
        code = refusals.code_of(answer)
        if code == "mangled-body":
            yield Check("binary mode", "failed", "binary media types are off: an image arrives as text", BINARY)
        elif answer.status_code != 200:
            raise refusals.of_service(answer)
        elif not answer.content.startswith(SIGNATURE):
            text = "binary media types are off: the mask comes back as text"
            if not _is_base64_png(answer):
                text = f"{accept.partition(',')[0]} gets something else than a PNG"
            yield Check("binary mode", "failed", text, BINARY)
        else:
            continue
        return
    yield Check("binary mode", "ok", "a drawing goes and its mask comes unchanged, whatever Accept says")


def _is_base64_png(answer: httpx2.Response) -> bool:
    return answer.content.lstrip(b'"').startswith(b"iVBORw0KGgo")


def _payload(service: Service, deployed: bool) -> Iterator[Check]:
    fits = service.ask("POST", "/v1/segment", film=_padded(DIRECT_BYTES))
    if fits.status_code != 200:
        text = f"an image of {DIRECT_BYTES:,} bytes is answered {fits.status_code}: remote segment sends such directly"
        yield Check("payload limit", "failed", text, "Check what stands before the service, and its own limits.")
        return
    over = service.ask("POST", "/v1/segment", film=_padded(OVER_BYTES), again=frozenset())
    if over.status_code == 200:
        text = f"{OVER_BYTES:,} bytes pass: no gateway stands before it, its own limit is {limits.MAX_BYTES:,}"
        yield Check("payload limit", "warning" if deployed else "ok", text)
    elif over.status_code == 413:
        yield Check("payload limit", "ok", f"{DIRECT_BYTES:,} bytes pass, {OVER_BYTES:,} are refused (413)")
    else:
        text = f"{DIRECT_BYTES:,} bytes pass, {OVER_BYTES:,} are answered {over.status_code} and not 413"
        yield Check("payload limit", "warning", text, "Nothing: remote segment sends images of that size as jobs.")


def _padded(count: int) -> Film:
    """The drawing as a PNG of so many bytes: a chunk that decoders pass over goes before its last one."""
    drawing = picture_film("PNG")
    head, end = drawing[:-12], drawing[-12:]
    return Film.of(head + chunk(b"paDd", bytes(count - len(drawing) - 12)) + end)


def _jobs(service: Service, deployed: bool) -> Iterator[Check]:
    answer = service.ask("GET", f"/v1/jobs/{'0' * 32}")
    code = refusals.code_of(answer)
    if code == "no-such-job":
        yield Check("jobs", "ok", "large images can be sent")
    elif code in WITHOUT_JOBS and not deployed:
        yield Check("jobs", "ok", "none are taken, for want of buckets; large images go in one request")
    else:
        error = refusals.of_service(answer)
        yield Check("jobs", "failed", f"large images cannot be sent: {error.detail.rstrip('.')}", error.remedy)


def _job(service: Service) -> Iterator[Check]:
    """The drawing through bucket, trigger, function and back."""
    form = FORMATS["mask"]
    job, refusal = Job.create(service, form, Options())
    if job is None:
        raise refusals.of_service(refusal)
    job.upload(Film.of(picture_film("PNG")))
    try:
        results = job.wait(JOB_SECONDS)
    except JobUnfinished:
        remedy = "Look at the bucket's notification, the queue's messages, and the batch function's log."
        yield Check("a job", "failed", f"a drawing was uploaded, and is not done after {JOB_SECONDS} s", remedy)
        return
    if job.result(results, form.name).startswith(SIGNATURE):
        yield Check("a job", "ok", "a drawing was uploaded and segmented, and its mask came back")
    else:
        yield Check("a job", "failed", "what came back is no PNG", "Look at the batch function's log.")
