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

CONFIG = Config(
    signature_version="s3v4",
    # Else presigned addresses name the global endpoint, which answers with a redirect while a bucket is new.
    s3={"addressing_style": "virtual"},
    connect_timeout=3,
    read_timeout=20,
    # Five tries with growing pauses are done before an event source's own retry would be.
    retries={"mode": "standard", "total_max_attempts": 5},
)

ABSENT = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
LOST = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
ARCHIVED = {"InvalidObjectState"}

VERSION, RECIPE, FORMS, STARTS = "film-version", "recipe", "forms", "starts"
"""Metadata of every output."""


class StoreError(Exception):
    """S3 did not do what was asked: a throttle, a timeout, a missing permission. Asked again it may."""


class Absent(Exception):
    """There is no such object."""


class Archived(Exception):
    """The object lies in an archive tier, and cannot be read before it is restored."""


@dataclass(frozen=True)
class Stamp:
    """What an output was made of.

    Attributes:
        version: of the image (its version ID, else its ETag).
        recipe: digest of what decides the output's bytes besides the image.
        forms: names of the forms that were asked for together with it, sorted, spaces between.
        starts: how often a process began the image and was killed over it ("" for never); see `app.buckets.crashes`.
    """

    version: str
    recipe: str
    forms: str
    starts: str = ""

    def metadata(self) -> dict[str, str]:
        """Return it as an object's metadata."""
        whole = {VERSION: self.version, RECIPE: self.recipe, FORMS: self.forms, STARTS: self.starts}
        return {name: value for name, value in whole.items() if value}


@dataclass(frozen=True)
class Written:
    """An output that is there."""

    etag: str
    stamp: Stamp


@dataclass(frozen=True)
class Opened:
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
        with _translated():
            data: bytes = self.body.read()
        if len(data) != self.size:
            raise StoreError("S3 sent fewer bytes of the image than it has.")
        return data


class Store:
    """Objects of buckets. Every method raises StoreError, and Absent where it says so."""

    def __init__(self, client: Any) -> None:
        """Args: client, boto3's for S3."""
        self._client = client

    def version(self, bucket: str, key: str) -> str:
        """The version that an image has now.

        Raises:
            Absent.
        """
        with _translated():
            return _version(self._client.head_object(Bucket=bucket, Key=key))

    def open(self, bucket: str, key: str) -> Opened:
        """An image as it is now.

        Raises:
            Absent, Archived.
        """
        with _translated():
            found = self._client.get_object(Bucket=bucket, Key=key)
        return Opened(_version(found), found["ContentLength"], found["Body"])

    def read(self, bucket: str, key: str) -> bytes:
        """A small object.

        Raises:
            Absent.
        """
        return self.open(bucket, key).read()

    def written(self, bucket: str, key: str) -> Written | None:
        """The output at a key, if there is one."""
        try:
            with _translated():
                head = self._client.head_object(Bucket=bucket, Key=key)
        except Absent:
            return None
        metadata = head.get("Metadata", {})
        return Written(head["ETag"], Stamp(*(metadata.get(name, "") for name in (VERSION, RECIPE, FORMS, STARTS))))

    def put(
        self, bucket: str, key: str, content: bytes, media_type: str, stamp: Stamp, over: str | None = None
    ) -> bool:
        """Write an object where none is, or in the place of the one with the ETag ``over``.

        Returns:
            Whether it was written; False if another one is there.
        """
        condition = {"IfMatch": over} if over else {"IfNoneMatch": "*"}
        try:
            with _translated():
                self._client.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=content,
                    ContentType=media_type,
                    Metadata=stamp.metadata(),
                    **condition,
                )
        except (_Lost, Absent):  # Absent: what was to be replaced has gone
            return False
        return True

    def remove(self, bucket: str, keys: list[str]) -> None:
        """Delete objects, those that are not there too."""
        with _translated():
            answer = self._client.delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        if answer.get("Errors"):
            raise StoreError("S3 did not delete an output that does not hold any more.")

    def keys(self, bucket: str, prefix: str) -> set[str]:
        """The keys below a prefix that has at most a thousand."""
        with _translated():
            found = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return {each["Key"] for each in found.get("Contents", [])}

    def upload_form(self, bucket: str, key: str, media_type: str, most_bytes: int, seconds: int) -> dict[str, Any]:
        """Address and fields of a form that may put one object of at most ``most_bytes`` there, for ``seconds``.

        Used again it puts another version: S3 checks If-None-Match of PutObject, and not of a form (S3 user guide, "Add
        preconditions to S3 operations with conditional requests").
        """
        with _translated():
            form: dict[str, Any] = self._client.generate_presigned_post(
                bucket,
                key,
                Fields={"Content-Type": media_type},
                Conditions=[{"Content-Type": media_type}, ["content-length-range", 1, most_bytes]],
                ExpiresIn=seconds,
            )
        return form

    def address(self, bucket: str, key: str, seconds: int) -> str:
        """A presigned address from which the object can be had for ``seconds``."""
        with _translated():
            url: str = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
            )
        return url


@functools.cache
def store() -> Store:
    """S3 as the environment names it; boto3 looks at AWS_ENDPOINT_URL_S3 and the like itself."""
    with _translated():
        return Store(boto3.client("s3", config=CONFIG))


class _Lost(Exception):
    """A conditional write came too late."""


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """boto3's exceptions as ours; their texts, which may name the object, are dropped."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in LOST:
            raise _Lost from None
        if code in ABSENT:
            raise Absent from None
        if code in ARCHIVED:
            raise Archived from None
        raise StoreError(f"S3 answered {code or 'an error without a code'} to {error.operation_name}.") from None
    except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreError(f"S3 could not be reached or broke off ({type(error).__name__}).") from None


def _version(head: dict[str, Any]) -> str:
    # A bucket that never had versions gives none, one that has them no more "null".
    version = head.get("VersionId")
    return head["ETag"].strip('"') if version in (None, "null") else str(version)
