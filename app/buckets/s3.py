"""S3, with just what the service asks of it; whatever goes wrong is one of two exceptions, and names no object."""

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
    # Else presigned addresses name the global endpoint, which answers with a redirect while a bucket is new.
    s3={"addressing_style": "virtual"},
    connect_timeout=3,
    read_timeout=20,
    # Five tries with growing pauses are done before an event source's own retry would be.
    retries={"mode": "standard", "total_max_attempts": 5},
)

MISSING_CODES = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
CONFLICT_CODES = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
ARCHIVED_CODES = {"InvalidObjectState"}

VERSION_KEY, RECIPE_KEY, FORMATS_KEY, STARTS_KEY = "film-version", "recipe", "forms", "starts"
"""Metadata of every output."""


class StoreError(Exception):
    """S3 did not do what was asked: a throttle, a timeout, a missing permission. Asked again it may."""


class ObjectMissing(Exception):
    """There is no such object."""


class ObjectArchived(Exception):
    """The object lies in an archive tier, and cannot be read before it is restored."""


@dataclass(frozen=True)
class Stamp:
    """What an output was made of.

    Attributes:
        version: of the image (its version ID, else its ETag).
        recipe: digest of what decides the output's bytes besides the image.
        formats: names of the forms that were asked for together with it, sorted, spaces between.
        starts: how often a process began the image and was killed over it ("" for never); see `app.buckets.crashes`.
    """

    version: str
    recipe: str
    formats: str
    starts: str = ""

    def metadata(self) -> dict[str, str]:
        """Return it as an object's metadata."""
        whole = {VERSION_KEY: self.version, RECIPE_KEY: self.recipe, FORMATS_KEY: self.formats, STARTS_KEY: self.starts}
        return {name: value for name, value in whole.items() if value}


@dataclass(frozen=True)
class ExistingOutput:
    """An output that is there."""

    etag: str
    stamp: Stamp


@dataclass(frozen=True)
class ImageObject:
    """An image whose bytes have not been read.

    Attributes:
        version: its version ID, else its ETag.
        size: in bytes.
    """

    version: str
    size: int
    body: Any

    def read(self) -> bytes:
        """All its bytes.

        Raises:
            StoreError: also if there were fewer than announced.
        """
        with _translate_errors():
            data: bytes = self.body.read()
        if len(data) != self.size:
            raise StoreError("S3 sent fewer bytes of the image than it has.")
        return data


class ObjectStore:
    """Objects of buckets. Every method raises StoreError, and Absent where it says so."""

    def __init__(self, client: Any) -> None:
        """Args: client, boto3's for S3."""
        self._client = client

    def get_version(self, bucket: str, key: str) -> str:
        """The version that an image has now.

        Raises:
            Absent.
        """
        with _translate_errors():
            return _object_version(self._client.head_object(Bucket=bucket, Key=key))

    def open_object(self, bucket: str, key: str) -> ImageObject:
        """An image as it is now.

        Raises:
            Absent, Archived.
        """
        with _translate_errors():
            found = self._client.get_object(Bucket=bucket, Key=key)
        return ImageObject(_object_version(found), found["ContentLength"], found["Body"])

    def read_object(self, bucket: str, key: str) -> bytes:
        """A small object.

        Raises:
            Absent.
        """
        return self.open_object(bucket, key).read()

    def find_output(self, bucket: str, key: str) -> ExistingOutput | None:
        """The output at a key, if there is one."""
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
        """Write an object where none is, or in the place of the one with the ETag ``over``.

        Returns:
            Whether it was written; False if another one is there.
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
        except (_WriteConflict, ObjectMissing):  # Absent: what was to be replaced has gone
            return False
        return True

    def delete_objects(self, bucket: str, keys: list[str]) -> None:
        """Delete objects, those that are not there too."""
        with _translate_errors():
            answer = self._client.delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        if answer.get("Errors"):
            raise StoreError("S3 did not delete an output that does not hold any more.")

    def list_keys(self, bucket: str, prefix: str) -> set[str]:
        """The keys below a prefix that has at most a thousand."""
        with _translate_errors():
            found = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return {each["Key"] for each in found.get("Contents", [])}

    def presign_upload(self, bucket: str, key: str, media_type: str, max_bytes: int, seconds: int) -> dict[str, Any]:
        """Address and fields of a form that may put one object of at most ``max_bytes`` there, for ``seconds``.

        Used again it puts another version: S3 checks If-None-Match of PutObject, and not of a form (S3 user guide, "Add
        preconditions to S3 operations with conditional requests").
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
        """A presigned address from which the object can be had for ``seconds``."""
        with _translate_errors():
            url: str = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
            )
        return url


@functools.cache
def get_store() -> ObjectStore:
    """S3 as the environment names it; boto3 looks at AWS_ENDPOINT_URL_S3 and the like itself."""
    with _translate_errors():
        return ObjectStore(boto3.client("s3", config=CLIENT_CONFIG))


class _WriteConflict(Exception):
    """A conditional write came too late."""


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """boto3's exceptions as ours; their texts, which may name the object, are dropped."""
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
        raise StoreError(f"S3 could not be reached or broke off ({type(error).__name__}).") from None


def _object_version(head: dict[str, Any]) -> str:
    # A bucket that never had versions gives none, one that has them no more "null".
    version = head.get("VersionId")
    return head["ETag"].strip('"') if version in (None, "null") else str(version)
