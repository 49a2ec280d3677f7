"""Process one image as a job: upload it to the bucket, poll until it is done, download the outputs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from lungseg.encode.formats import Format
from lungseg.errors import TooLarge
from lungseg.pipeline.options import DEFAULT_OPACITY, Options
from lungseg.remote import error_responses, errors
from lungseg.remote.image_source import ImageSource, progress_bar
from lungseg.remote.service import ServiceClient

MIN_JOB_POLL_SECONDS, MAX_JOB_POLL_SECONDS, JOB_POLL_GROWTH = 0.5, 10.0, 1.5
"""Seconds between two polls. A warm function takes about 1 s, a cold one 10 s, and a queue has no upper bound."""

JobResults = Mapping[str, Mapping[str, Any]]
"""The presigned download of each output, by format."""


@dataclass(frozen=True)
class RemoteJob:
    """A job that a service has accepted.

    Attributes:
        service: the service.
        id: 32 hexadecimal digits.
        ticket: the presigned upload of its image, from POST /v1/jobs.
    """

    service: ServiceClient
    id: str
    ticket: Mapping[str, Any]

    @classmethod
    def create(
        cls, service: ServiceClient, output_format: Format, options: Options
    ) -> tuple[RemoteJob | None, httpx2.Response]:
        """Create a job; return it with the response, or None with an error response.

        Raises:
            Unreachable, BadAnswer.
        """
        document: dict[str, Any] = {"formats": [output_format.name], "clean": options.clean, "upright": options.upright}
        if options.threshold is not None:
            document["threshold"] = options.threshold
        if options.opacity != DEFAULT_OPACITY:  # a service of an older version would refuse it
            document["opacity"] = options.opacity
        answer = service.send_request("POST", "/v1/jobs", document=document)
        if answer.status_code != 201:
            return None, answer
        created = _read_json(answer)
        job_id, ticket = created.get("id"), created.get("upload")
        is_complete = (
            isinstance(ticket, dict) and isinstance(ticket.get("url"), str) and isinstance(ticket.get("fields"), dict)
        )
        if not (isinstance(job_id, str) and job_id.isalnum() and is_complete):
            raise errors.BadAnswer("The response to POST /v1/jobs does not describe a job.")
        return cls(service, job_id, ticket or {}), answer

    def upload(self, image: ImageSource) -> None:
        """Upload the image to the bucket.

        Raises:
            TooLarge, Unreachable, BucketError.
        """
        max_bytes = self.ticket.get("max_bytes")
        if isinstance(max_bytes, int) and image.size > max_bytes:
            raise TooLarge(f"The image has {image.size:,} bytes; the service's limit is {max_bytes:,}.")
        self.service.upload_image(self.ticket["url"], self.ticket["fields"], image)

    def wait(self, seconds: float, pause: Callable[[float], None] = time.sleep) -> JobResults:
        """Poll until the job is done; return its results.

        Raises:
            JobUnfinished: it takes longer, or expired before its image arrived.
            RemoteError: it failed; the error is the image's own.
        """
        end, interval = time.monotonic() + seconds, MIN_JOB_POLL_SECONDS
        with progress_bar("waiting", None, "poll") as bar:
            while True:
                document = self._get_status()
                bar.set_description(str(document.get("status")))
                bar.update()
                match document.get("status"):
                    case "done":
                        results = document.get("results")
                        return results if isinstance(results, dict) else {}
                    case "failed":
                        problem = document.get("problem")
                        raise error_responses.error_from_problem(problem if isinstance(problem, dict) else {})
                    case "expired":
                        raise errors.JobUnfinished("The job expired before its image was uploaded.")
                if time.monotonic() + interval > end:
                    raise errors.JobUnfinished(f"It is not done {seconds:.0f} s after the upload.")
                pause(interval)
                interval = min(MAX_JOB_POLL_SECONDS, interval * JOB_POLL_GROWTH)

    def download_output(self, results: JobResults, name: str) -> bytes:
        """Download one output.

        Raises:
            OutputMissing: the job produced none in this format.
            Unreachable, BucketError.
        """
        found = results.get(name)
        if not isinstance(found, dict) or not isinstance(found.get("url"), str):
            raise errors.OutputMissing(f"The job is done, but it produced no {name} for this image.")
        return self.service.download_output(found["url"])

    def _get_status(self) -> dict[str, Any]:
        answer = self.service.send_request("GET", f"/v1/jobs/{self.id}")
        if answer.status_code != 200:
            raise error_responses.service_error(answer)
        return _read_json(answer)


def _read_json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        document = json.loads(answer.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise errors.BadAnswer("The service's response is not a JSON document.")
    return document
