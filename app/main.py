"""The HTTP API on AWS: that of lungseg, and the routes of jobs, for images that are too large for one request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lungseg import errors
from lungseg.encode.formats import FORMATS
from lungseg.server import openapi
from lungseg.server.api import create_app
from lungseg.server.schemas import OptionsIn, Problem

if TYPE_CHECKING:
    from app.buckets.s3 import ObjectStore
    from app.buckets.settings import BucketSettings

JOB_ERRORS = openapi.problem_responses(
    errors.BadParameter,
    errors.BodyTooLarge,
    errors.RequestTimeout,
    errors.UnsupportedEncoding,
    errors.InternalError,
    errors.JobsUnavailable,
    errors.StorageUnavailable,
)

JOB_STATE_ERRORS = JOB_ERRORS | openapi.problem_responses(errors.NoSuchJob)


def _check_format(name: str) -> str:
    if name not in FORMATS:
        raise ValueError(f"must be one of {', '.join(FORMATS)}")
    return name


def _check_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("must name no format twice")
    return names


FormatName = Annotated[str, AfterValidator(_check_format), Field(json_schema_extra={"enum": list(FORMATS)})]


class JobIn(OptionsIn):
    """What a job is to make."""

    model_config = ConfigDict(strict=True)

    formats: Annotated[list[FormatName], AfterValidator(_check_unique)] = Field(
        default=["mask"],
        max_length=len(FORMATS),
        description="The JSON is made besides.",
        json_schema_extra={"uniqueItems": True},
    )


class UploadOut(BaseModel):
    """A form by which one image may be uploaded."""

    method: Literal["POST"]
    url: str
    fields: dict[str, str] = Field(description="Send them before the part `file`, as they are.")
    max_bytes: int


class ResultOut(BaseModel):
    """One output."""

    url: str = Field(description="Presigned; GET it without credentials.")
    media_type: str


class JobOut(BaseModel):
    """How far a job is."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Whoever knows it may have the results.")
    status: Literal["waiting", "running", "done", "failed", "expired"]
    expires: datetime = Field(description="Until when the image may be uploaded.")
    upload: UploadOut | None = Field(description="Of a new job.")
    results: dict[str, ResultOut] | None = Field(description="Of a job that is done, by form.")
    problem: Problem | None = Field(description="Of a job that failed.")


router = APIRouter(prefix="/v1/jobs")

JobId = Annotated[str, Path(description="As POST gave it.", examples=["0" * 32])]


@router.post("", status_code=201, summary="Begin a job: an upload for one image of any size", responses=JOB_ERRORS)
def post_job(response: Response, job: JobIn | None = None) -> JobOut:
    """Send the image to `upload.url` as multipart/form-data: all `upload.fields` first, then the part `file`.

    Then ask `GET /v1/jobs/{id}` until it is done.
    """
    wanted = job or JobIn()
    with _open_buckets() as (store, settings):
        from app.buckets import jobs

        made = jobs.create_job(tuple(wanted.formats), wanted.options(), store, settings)
    response.headers["Location"] = f"/v1/jobs/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return JobOut.model_validate(made)


@router.get("/{job_id}", summary="How far a job is, and its results", responses=JOB_STATE_ERRORS)
def get_job(job_id: JobId, response: Response) -> JobOut:
    """The results' addresses hold for some minutes; ask again for new ones."""
    with _open_buckets() as (store, settings):
        from app.buckets import jobs

        found = jobs.find_job(job_id, store, settings)
    response.headers["Cache-Control"] = "no-store"
    return JobOut.model_validate(found)


@contextmanager
def _open_buckets() -> Iterator[tuple[ObjectStore, BucketSettings]]:
    """The buckets, if there are any; boto3 is not imported before.

    Raises:
        JobsUnavailable, StorageUnavailable.
    """
    from app.buckets.settings import Misconfigured, has_buckets, read_bucket_settings

    if not has_buckets():
        raise errors.JobsUnavailable("No buckets are configured here.")
    from app.buckets.s3 import StoreError, get_store

    try:
        yield get_store(), read_bucket_settings()
    except Misconfigured:
        raise errors.JobsUnavailable("The buckets are not configured as they must be.") from None
    except StoreError:
        raise errors.StorageUnavailable("The buckets did not answer as they should.") from None


app = create_app()
app.include_router(router)
