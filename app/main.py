"""The HTTP API on AWS: the routes of lungseg, and jobs for images that are too large for one request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lungseg import errors
from lungseg.encode.formats import FORMATS, find_format
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


def _format_name(name: str) -> str:
    return find_format(name).name


def _check_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("must name no format twice")
    return names


FormatName = Annotated[
    str, AfterValidator(lambda name: find_format(name).name), Field(json_schema_extra={"enum": list(FORMATS)})
]


class JobIn(OptionsIn):
    """The outputs that a job makes."""

    model_config = ConfigDict(strict=True)

    formats: Annotated[list[FormatName], AfterValidator(_check_unique)] = Field(
        default=["mask"],
        max_length=len(FORMATS),
        description="Output formats; the JSON is always added.",
        json_schema_extra={"uniqueItems": True},
    )


class UploadOut(BaseModel):
    """A presigned form to upload one image."""

    method: Literal["POST"]
    url: str
    fields: dict[str, str] = Field(description="Form fields to send unchanged, before the part `file`.")
    max_bytes: int


class ResultOut(BaseModel):
    """One output of a job."""

    url: str = Field(description="Presigned URL; GET it without credentials.")
    media_type: str


class JobOut(BaseModel):
    """The state of a job."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Keep it secret: it gives access to the results.")
    status: Literal["waiting", "running", "done", "failed", "expired"]
    expires: datetime = Field(description="When the upload form expires.")
    upload: UploadOut | None = Field(description="New jobs only.")
    results: dict[str, ResultOut] | None = Field(description="Outputs by format; finished jobs only.")
    problem: Problem | None = Field(description="Failed jobs only.")


router = APIRouter(prefix="/v1/jobs")

JobId = Annotated[str, Path(description="The id that POST /v1/jobs returned.", examples=["0" * 32])]


@router.post("", status_code=201, summary="Create a job to upload one image of any size", responses=JOB_ERRORS)
def post_job(response: Response, job: JobIn | None = None) -> JobOut:
    """Send the image to `upload.url` as multipart/form-data: all `upload.fields` first, then the part `file`.

    Then poll `GET /v1/jobs/{id}` until the job is done.
    """
    wanted = job or JobIn()
    with _open_buckets() as (store, settings):
        from app.buckets import jobs

        made = jobs.create_job(tuple(wanted.formats), wanted.options(), store, settings)
    response.headers["Location"] = f"/v1/jobs/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return JobOut.model_validate(made)


@router.get("/{job_id}", summary="Return the state of a job and its results", responses=JOB_STATE_ERRORS)
def get_job(job_id: JobId, response: Response) -> JobOut:
    """The URLs of the results expire after some minutes; ask again for new ones."""
    with _open_buckets() as (store, settings):
        from app.buckets import jobs

        found = jobs.find_job(job_id, store, settings)
    response.headers["Cache-Control"] = "no-store"
    return JobOut.model_validate(found)


@contextmanager
def _open_buckets() -> Iterator[tuple[ObjectStore, BucketSettings]]:
    """Yield the object store and the buckets' settings. boto3 is imported only if there are buckets.

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
        raise errors.JobsUnavailable("The buckets are not configured correctly.") from None
    except StoreError:
        raise errors.StorageUnavailable("The buckets did not respond as expected.") from None


app = create_app()
app.include_router(router)
