"""The HTTP API on AWS: that of lungseg, and the routes of jobs, for images that are too large for one request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Response

from lungseg import errors
from lungseg.pipeline.options import Options
from lungseg.server import openapi
from lungseg.server.api import create_app
from lungseg.server.schemas import JobIn, JobOut

if TYPE_CHECKING:
    from app.buckets.s3 import Store
    from app.buckets.settings import Settings

JOB_ERRORS = openapi.refusals(
    errors.BadParameter,
    errors.BodyTooLarge,
    errors.RequestTimeout,
    errors.UnsupportedEncoding,
    errors.InternalError,
    errors.JobsUnavailable,
    errors.StorageUnavailable,
)

JOB_STATE_ERRORS = JOB_ERRORS | openapi.refusals(errors.NoSuchJob)

router = APIRouter(prefix="/v1/jobs")

JobId = Annotated[str, Path(description="As POST gave it.", examples=["0" * 32])]


@router.post("", status_code=201, summary="Begin a job: an upload for one image of any size", responses=JOB_ERRORS)
def post_job(response: Response, job: JobIn | None = None) -> JobOut:
    """Send the image to `upload.url` as multipart/form-data: all `upload.fields` first, then the part `file`.

    Then ask `GET /v1/jobs/{id}` until it is done.
    """
    wanted = job or JobIn()
    with _buckets() as (store, settings):
        from app.buckets import jobs

        options = Options(wanted.threshold, wanted.clean, wanted.upright)
        made = jobs.create(tuple(wanted.formats), options, store, settings)
    response.headers["Location"] = f"/v1/jobs/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return JobOut.model_validate(made)


@router.get("/{job_id}", summary="How far a job is, and its results", responses=JOB_STATE_ERRORS)
def get_job(job_id: JobId, response: Response) -> JobOut:
    """The results' addresses hold for some minutes; ask again for new ones."""
    with _buckets() as (store, settings):
        from app.buckets import jobs

        found = jobs.look(job_id, store, settings)
    response.headers["Cache-Control"] = "no-store"
    return JobOut.model_validate(found)


@contextmanager
def _buckets() -> Iterator[tuple[Store, Settings]]:
    """The buckets, if there are any; boto3 is not imported before.

    Raises:
        JobsUnavailable, StorageUnavailable.
    """
    from app.buckets.settings import Misconfigured, configured, settings

    if not configured():
        raise errors.JobsUnavailable("No buckets are configured here.")
    from app.buckets.s3 import StoreError, store

    try:
        yield store(), settings()
    except Misconfigured:
        raise errors.JobsUnavailable("The buckets are not configured as they must be.") from None
    except StoreError:
        raise errors.StorageUnavailable("The buckets did not answer as they should.") from None


app = create_app()
app.include_router(router)
