"""The S3 operations that the service needs. Their exceptions name no bucket and no object."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.exceptions
import urllib3.exceptions
from botocore.config import Config

CLIENT_CONFIG = Config(
    signature_version="s3v4",
    # Else presigned URLs use the global endpoint, which redirects requests for new buckets for hours.
    s3={"addressing_style": "virtual"},
    connect_timeout=3,
    read_timeout=20,
    # Five attempts with backoff take less time than the event source's own retry.
    retries={"mode": "standard", "total_max_attempts": 5},
)

MISSING_CODES = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
CONFLICT_CODES = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
ARCHIVED_CODES = {"InvalidObjectState"}

VERSION_KEY, RECIPE_KEY, FORMATS_KEY, STARTS_KEY = "film-version", "recipe", "forms", "starts"
"""Metadata keys of every output."""


class StoreError(Exception):
    """An S3 request failed: throttling, timeout, missing permission. A retry may succeed."""


class ObjectMissing(Exception):
    """The object does not exist."""


class ObjectArchived(Exception):
    """The object is in an archive tier and must be restored first."""


@dataclass(frozen=True)
class Stamp:
    """The origin of an output, stored as its metadata.

    Attributes:
        version: of the image (its version ID, else its ETag).
        recipe: digest of everything besides the image that determines the bytes.
        formats: names of all formats requested together, sorted, separated by spaces.
        starts: how often the image killed its process ("" for never); see `app.buckets.crashes`.
    """

    version: str
    recipe: str
    formats: str
    starts: str = ""

    def metadata(self) -> dict[str, str]:
        """Return the stamp as object metadata."""
        whole = {VERSION_KEY: self.version, RECIPE_KEY: self.recipe, FORMATS_KEY: self.formats, STARTS_KEY: self.starts}
        return {name: value for name, value in whole.items() if value}


@dataclass(frozen=True)
class ExistingOutput:
    """ETag and stamp of an existing output."""

    etag: str
    stamp: Stamp


@dataclass(frozen=True)
class ImageObject:
    """An opened image object; its bytes are not read yet.

    Attributes:
        version: its version ID, else its ETag.
        size: in bytes.
    """

    version: str
    size: int
    body: Any

    def read(self) -> bytes:
        """Return all bytes.

        Raises:
            StoreError: also if there are fewer than announced.
        """
        with _translate_errors():
            data: bytes = self.body.read()
        if len(data) != self.size:
            raise StoreError("S3 sent fewer bytes than the image has.")
        return data


class ObjectStore:
    """Objects in buckets. Every method raises StoreError; ObjectMissing and ObjectArchived only where documented."""

    def __init__(self, client: Any) -> None:
        """Args: client, boto3's S3 client."""
        self._client = client

    def get_version(self, bucket: str, key: str) -> str:
        """Return the current version of an object.

        Raises:
            ObjectMissing.
        """
        with _translate_errors():
            return _object_version(self._client.head_object(Bucket=bucket, Key=key))

    def open_object(self, bucket: str, key: str) -> ImageObject:
        """Open the current version of an object.

        Raises:
            ObjectMissing, Archived.
        """
        with _translate_errors():
            found = self._client.get_object(Bucket=bucket, Key=key)
        return ImageObject(_object_version(found), found["ContentLength"], found["Body"])

    def read_object(self, bucket: str, key: str) -> bytes:
        """Return the bytes of a small object.

        Raises:
            ObjectMissing.
        """
        return self.open_object(bucket, key).read()

    def find_output(self, bucket: str, key: str) -> ExistingOutput | None:
        """Return the output at a key; None if there is none."""
        try:
            with _translate_errors():
                head = self._client.head_object(Bucket=bucket, Key=key)
        except ObjectMissing:
            return None
        metadata = head.get("Metadata", {})
        return ExistingOutput(
            head["ETag"],
            Stamp(*(metadata.get(name, "") for name in (VERSION_KEY, RECIPE_KEY, FORMATS_KEY, STARTS_KEY))),
        )

    def put_object(
        self, bucket: str, key: str, content: bytes, media_type: str, stamp: Stamp, over: str | None = None
    ) -> bool:
        """Write an object if none exists, or replace the one whose ETag is ``over``.

        S3 checks If-None-Match and If-Match of PutObject:
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html

        Returns:
            Whether it was written; False if another object exists.
        """
        condition = {"IfMatch": over} if over else {"IfNoneMatch": "*"}
        try:
            with _translate_errors():
                self._client.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=content,
                    ContentType=media_type,
                    Metadata=stamp.metadata(),
                    **condition,
                )
        except (_WriteConflict, ObjectMissing):  # ObjectMissing: the object to replace was deleted
            return False
        return True

    def delete_objects(self, bucket: str, keys: list[str]) -> None:
        """Delete objects; missing ones are ignored."""
        with _translate_errors():
            answer = self._client.delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        if answer.get("Errors"):
            raise StoreError("S3 did not delete an outdated output.")

    def list_keys(self, bucket: str, prefix: str) -> set[str]:
        """Return the keys under a prefix, at most 1000."""
        with _translate_errors():
            found = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return {each["Key"] for each in found.get("Contents", [])}

    def presign_upload(self, bucket: str, key: str, media_type: str, max_bytes: int, seconds: int) -> dict[str, Any]:
        """Return URL and fields of a form that uploads up to ``max_bytes``; it expires after ``seconds``.

        A second upload with the form adds another version: S3 checks If-None-Match of PutObject only, not of forms (S3
        user guide, "Add preconditions to S3 operations with conditional requests").
        """
        with _translate_errors():
            form: dict[str, Any] = self._client.generate_presigned_post(
                bucket,
                key,
                Fields={"Content-Type": media_type},
                Conditions=[{"Content-Type": media_type}, ["content-length-range", 1, max_bytes]],
                ExpiresIn=seconds,
            )
        return form

    def presign_download(self, bucket: str, key: str, seconds: int) -> str:
        """Return a presigned URL of an object; it expires after ``seconds``."""
        with _translate_errors():
            url: str = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
            )
        return url


@functools.cache
def get_store() -> ObjectStore:
    """Return the object store. boto3 reads AWS_ENDPOINT_URL_S3 and similar variables itself."""
    with _translate_errors():
        return ObjectStore(boto3.client("s3", config=CLIENT_CONFIG))


class _WriteConflict(Exception):
    """A conditional write lost against another writer."""


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Replace boto3's exceptions by ours. Their texts, which may name the object, are dropped."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in CONFLICT_CODES:
            raise _WriteConflict from None
        if code in MISSING_CODES:
            raise ObjectMissing from None
        if code in ARCHIVED_CODES:
            raise ObjectArchived from None
        raise StoreError(f"S3 answered {code or 'an error without a code'} to {error.operation_name}.") from None
    except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreError(f"S3 could not be reached, or the connection broke ({type(error).__name__}).") from None


def _object_version(head: dict[str, Any]) -> str:
    # A bucket that was never versioned returns no VersionId; one with versioning suspended returns "null".
    version = head.get("VersionId")
    return head["ETag"].strip('"') if version in (None, "null") else str(version)
