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
from lungseg.remote import errors, refusals
from lungseg.remote.film import Film, bar
from lungseg.remote.service import Service

FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.5, 10.0, 1.5
"""Seconds between two looks at a job: a warm function takes about one, a cold one ten, and a queue as long as it is."""

Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Job:
    """A job that a service has taken on.

    Attributes:
        service: which.
        id: 32 hexadecimal digits.
        ticket: where its image goes, as POST /v1/jobs has told.
    """

    service: Service
    id: str
    ticket: Mapping[str, Any]

    @classmethod
    def create(cls, service: Service, form: Format, options: Options) -> tuple[Job | None, httpx2.Response]:
        """A new job, and the answer that it comes from; None if that is a refusal.

        Raises:
            Unreachable, BadAnswer.
        """
        wanted: dict[str, Any] = {"formats": [form.name], "clean": options.clean, "upright": options.upright}
        if options.threshold is not None:
            wanted["threshold"] = options.threshold
        answer = service.ask("POST", "/v1/jobs", document=wanted)
        if answer.status_code != 201:
            return None, answer
        document = _document(answer)
        identity, ticket = document.get("id"), document.get("upload")
        whole = (
            isinstance(ticket, dict) and isinstance(ticket.get("url"), str) and isinstance(ticket.get("fields"), dict)
        )
        if not (isinstance(identity, str) and identity.isalnum() and whole):
            raise errors.BadAnswer("The service answered POST /v1/jobs with something else than a job.")
        return cls(service, identity, ticket or {}), answer

    def upload(self, film: Film) -> None:
        """Send the image to its bucket.

        Raises:
            TooLarge, Unreachable, StorageRefused.
        """
        most = self.ticket.get("max_bytes")
        if isinstance(most, int) and film.size > most:
            raise TooLarge(f"The image has {film.size:,} bytes, and the service takes {most:,}.")
        self.service.upload(self.ticket["url"], self.ticket["fields"], film)

    def wait(self, seconds: float, pause: Callable[[float], None] = time.sleep) -> Results:
        """The addresses of its results, once it is done.

        Raises:
            JobUnfinished: it is not within so many seconds, or was given up.
            RemoteError: it has failed, with the problem that the image has.
        """
        end, rest = time.monotonic() + seconds, FIRST_PAUSE
        with bar("waiting", None, "look") as looks:
            while True:
                document = self._look()
                looks.set_description(str(document.get("status")))
                looks.update()
                match document.get("status"):
                    case "done":
                        results = document.get("results")
                        return results if isinstance(results, dict) else {}
                    case "failed":
                        problem = document.get("problem")
                        raise refusals.problem(problem if isinstance(problem, dict) else {})
                    case "expired":
                        raise errors.JobUnfinished("Its time has passed before an image had come.")
                if time.monotonic() + rest > end:
                    raise errors.JobUnfinished(f"It is not done {seconds:.0f} s after its image was sent.")
                pause(rest)
                rest = min(LONGEST_PAUSE, rest * GROWTH)

    def result(self, results: Results, name: str) -> bytes:
        """One result.

        Raises:
            NotMade: there is none of that name.
            Unreachable, StorageRefused.
        """
        found = results.get(name)
        if not isinstance(found, dict) or not isinstance(found.get("url"), str):
            raise errors.NotMade(f"The job is done, and of this image it gives no {name}.")
        return self.service.download(found["url"])

    def _look(self) -> dict[str, Any]:
        answer = self.service.ask("GET", f"/v1/jobs/{self.id}")
        if answer.status_code != 200:
            raise refusals.of_service(answer)
        return _document(answer)


def _document(answer: httpx2.Response) -> dict[str, Any]:
    try:
        document = json.loads(answer.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise errors.BadAnswer("The service's answer is no JSON document.")
    return document
