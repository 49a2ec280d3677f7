"""An image's job: an upload of its own, the wait for its end, and the results, which lie in a bucket meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from lungseg.encode.formats import Format
from lungseg.errors import TooLarge
from lungseg.pipeline.options import Options
from lungseg.remote import error_responses, errors
from lungseg.remote.image_source import ImageSource, progress_bar
from lungseg.remote.service import ServiceClient

MIN_JOB_POLL_SECONDS, MAX_JOB_POLL_SECONDS, JOB_POLL_GROWTH = 0.5, 10.0, 1.5
"""Seconds between two looks at a job: a warm function takes about one, a cold one ten, and a queue as long as it is."""

JobResults = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class RemoteJob:
    """A job that a service has taken on.

    Attributes:
        service: which.
        id: 32 hexadecimal digits.
        ticket: where its image goes, as POST /v1/jobs has told.
    """

    service: ServiceClient
    id: str
    ticket: Mapping[str, Any]

    @classmethod
    def create(
        cls, service: ServiceClient, output_format: Format, options: Options
    ) -> tuple[RemoteJob | None, httpx2.Response]:
        """A new job, and the answer that it comes from; None if that is a refusal.

        Raises:
            Unreachable, BadAnswer.
        """
        wanted: dict[str, Any] = {"formats": [output_format.name], "clean": options.clean, "upright": options.upright}
        if options.threshold is not None:
            wanted["threshold"] = options.threshold
        answer = service.send_request("POST", "/v1/jobs", document=wanted)
        if answer.status_code != 201:
            return None, answer
        document = _read_json(answer)
        identity, ticket = document.get("id"), document.get("upload")
        whole = (
            isinstance(ticket, dict) and isinstance(ticket.get("url"), str) and isinstance(ticket.get("fields"), dict)
        )
        if not (isinstance(identity, str) and identity.isalnum() and whole):
            raise errors.BadAnswer("The service answered POST /v1/jobs with something else than a job.")
        return cls(service, identity, ticket or {}), answer

    def upload(self, image: ImageSource) -> None:
        """Send the image to its bucket.

        Raises:
            TooLarge, Unreachable, StorageRefused.
        """
        most = self.ticket.get("max_bytes")
        if isinstance(most, int) and image.size > most:
            raise TooLarge(f"The image has {image.size:,} bytes, and the service takes {most:,}.")
        self.service.upload_image(self.ticket["url"], self.ticket["fields"], image)

    def wait(self, seconds: float, pause: Callable[[float], None] = time.sleep) -> JobResults:
        """The addresses of its results, once it is done.

        Raises:
            JobUnfinished: it is not within so many seconds, or was given up.
            RemoteError: it has failed, with the problem that the image has.
        """
        end, rest = time.monotonic() + seconds, MIN_JOB_POLL_SECONDS
        with progress_bar("waiting", None, "look") as looks:
            while True:
                document = self._get_status()
                looks.set_description(str(document.get("status")))
                looks.update()
                match document.get("status"):
                    case "done":
                        results = document.get("results")
                        return results if isinstance(results, dict) else {}
                    case "failed":
                        problem = document.get("problem")
                        raise error_responses.error_from_problem(problem if isinstance(problem, dict) else {})
                    case "expired":
                        raise errors.JobUnfinished("Its time has passed before an image had come.")
                if time.monotonic() + rest > end:
                    raise errors.JobUnfinished(f"It is not done {seconds:.0f} s after its image was sent.")
                pause(rest)
                rest = min(MAX_JOB_POLL_SECONDS, rest * JOB_POLL_GROWTH)

    def download_output(self, results: JobResults, name: str) -> bytes:
        """One result.

        Raises:
            NotMade: there is none of that name.
            Unreachable, StorageRefused.
        """
        found = results.get(name)
        if not isinstance(found, dict) or not isinstance(found.get("url"), str):
            raise errors.NotMade(f"The job is done, and of this image it gives no {name}.")
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
        raise errors.BadAnswer("The service's answer is no JSON document.")
    return document
