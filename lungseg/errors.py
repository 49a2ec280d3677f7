"""Every error that a caller can meet: one class each, with its HTTP status, stable code, title and remedy.

    ProblemError
    ├── RequestError                  the HTTP request or the event is wrong
    │   ├── EmptyBody                 400 empty-body
    │   ├── MangledBody               400 mangled-body
    │   ├── BadBase64                 400 bad-base64
    │   ├── MalformedUpload           400 malformed-upload
    │   ├── BodyTooLarge              413 body-too-large
    │   ├── UnsupportedEncoding       415 unsupported-encoding
    │   ├── RequestTimeout            408 request-timeout
    │   ├── BadParameter              400 bad-parameter
    │   ├── NotAcceptable             406 not-acceptable
    │   └── BrowserError              a web page may have sent it; `serve` only
    │       ├── UnknownHost           421 unknown-host
    │       └── CrossSite             403 cross-site
    ├── ImageError                    the image is wrong
    │   ├── TooLarge                  413 too-large
    │   ├── UnsupportedFormat         415 unsupported-format
    │   ├── UnsupportedDicom          415 unsupported-dicom
    │   ├── OwnOutput                 422 own-output
    │   ├── DamagedImage              422 damaged-film
    │   ├── TooSmall                  422 too-small
    │   └── BlankImage                422 blank-film
    ├── OutputError                   this output cannot be made
    │   ├── NoLung                    422 no-lung
    │   ├── NeedsDicom                422 needs-dicom
    │   └── AnswerTooLarge            422 answer-too-large
    ├── FileError                     a file on disk is wrong; CLI only
    │   ├── Unreadable                422 unreadable
    │   └── Unwritable                422 unwritable
    ├── StorageError                  a job, or an object in a bucket, is wrong; AWS only
    │   ├── NoSuchJob                 404 no-such-job
    │   ├── NoSuchImage               404 no-such-film
    │   ├── Archived                  409 archived
    │   ├── JobsUnavailable           501 jobs-unavailable
    │   └── StorageUnavailable        503 storage-unavailable
    └── ServiceError                  the service is at fault
        ├── Overloaded                503 overloaded
        ├── Shortage                  503 short-of-resources
        ├── InternalError             500 internal-error
        └── ModelUnavailable          503 model-unavailable
    RemoteError                       `remote` cannot use the service; its classes are in lungseg/remote/errors.py
    ModelError                        the model cannot be served; never the caller's fault

Texts never quote the upload: no file name, no DICOM or EXIF value, no pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PROBLEM_MEDIA_TYPE = "application/problem+json"
"""The media type of a problem document (https://www.rfc-editor.org/rfc/rfc9457)."""


class CodedError(Exception):
    """An error with a code and a remedy: `ProblemError` here, or `lungseg.remote.errors.RemoteError`.

    Attributes:
        status: HTTP status of the response, or the one that fits; from 500 on, the caller is not at fault.
        code: stable, machine-readable name.
        title: a short summary, the same for every occurrence.
        remedy: what the caller can do; may be empty if another program wrote it.
        detail: what is wrong this time, with the value or the limit.
    """

    status: int
    code: str
    title: str
    remedy: str

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def line(self) -> str:
        """Return the error as one line for a terminal."""
        return " ".join(part for part in (f"{self.code}:", self.detail, self.remedy) if part)


class ProblemError(CodedError):
    """A request, its image or its output cannot be processed."""

    status = 422
    code = "film-error"
    title = "The image cannot be segmented"
    remedy = "Send one frontal chest X-ray."

    def problem(self) -> dict[str, Any]:
        """Return the error as a problem document (RFC 9457)."""
        return problem_document(self.status, self.code, self.title, self.detail, self.remedy)


class RequestError(ProblemError):
    """The HTTP request or the event is wrong."""

    status = 400


class ImageError(ProblemError):
    """The image is wrong."""


class OutputError(ProblemError):
    """The image is fine, but this output cannot be made of it."""


class FileError(ProblemError):
    """A file cannot be read or written. Only the CLI opens files by name."""


class StorageError(ProblemError):
    """A job, or an object in a bucket, is missing or out of reach."""


class ServiceError(ProblemError):
    """The service is at fault; the same image may succeed later."""

    status = 503


class EmptyBody(RequestError):
    """The file or the request body has 0 bytes."""

    code = "empty-body"
    title = "No image was sent"
    remedy = "Check that the file or the request body contains the image."


class MangledBody(RequestError):
    """The bytes passed through a text decoder, which replaces what is not UTF-8."""

    code = "mangled-body"
    title = "The image was converted to text in transit"
    remedy = "Send the image as binary; behind an API gateway, enable binary media types ('*/*')."


class BadBase64(RequestError):
    """The event says that its body is base64, and it is not."""

    code = "bad-base64"
    title = "The event's body is not valid base64"
    remedy = "Encode the whole image as standard base64, including the padding."


class MalformedUpload(RequestError):
    """The multipart body, its gzip or the event is malformed."""

    code = "malformed-upload"
    title = "The upload cannot be parsed"
    remedy = "Send the image as the raw body, or as the part 'file' of multipart/form-data."


class BodyTooLarge(RequestError):
    """The body of a request that takes no image is too large."""

    status = 413
    code = "body-too-large"
    title = "The request body is too large"
    remedy = "Send images to POST /v1/segment; other requests have a small JSON body or none."


class UnsupportedEncoding(RequestError):
    """The body has a Content-Encoding other than gzip."""

    status = 415
    code = "unsupported-encoding"
    title = "The Content-Encoding is not supported"
    remedy = "Send the image without Content-Encoding, or with gzip."


class RequestTimeout(RequestError):
    """The client stalled while it sent the body."""

    status = 408
    code = "request-timeout"
    title = "The request body arrived too slowly"
    remedy = "Retry over a faster connection."


class BadParameter(RequestError):
    """A query parameter, form field or JSON member is unknown or invalid."""

    code = "bad-parameter"
    title = "A parameter is unknown or invalid"
    remedy = "See /docs for the parameters and their values."


class NotAcceptable(RequestError):
    """The Accept header allows no output format."""

    status = 406
    code = "not-acceptable"
    title = "No output format matches the Accept header"
    remedy = "Choose a format with ?format=, or omit the Accept header to get the mask as PNG."


class BrowserError(RequestError):
    """A web page may have sent the request: `serve` runs on a machine that has a browser."""


class UnknownHost(BrowserError):
    """The Host header is not a name of this server, as in DNS rebinding."""

    status = 421
    code = "unknown-host"
    title = "The Host header names an unknown host"
    remedy = "Use localhost or the server's IP address, or add the name to LUNG_HOSTS."


class CrossSite(BrowserError):
    """A page of another site sent the request."""

    status = 403
    code = "cross-site"
    title = "The request comes from a page of another site"
    remedy = "Use the server's own page, or add the other page's origin to LUNG_CORS_ORIGINS."


class TooLarge(ImageError):
    """The image has too many bytes or pixels."""

    status = 413
    code = "too-large"
    title = "The image is too large"
    remedy = "Resize it to at most 6,000 x 6,000 pixels, or save it as a lossless PNG."


class UnsupportedFormat(ImageError):
    """The content is in no format, or in no variant of one, that is read."""

    status = 415
    code = "unsupported-format"
    title = "The image format is not supported"
    remedy = "Convert the image to an 8- or 16-bit greyscale PNG."


class UnsupportedDicom(ImageError):
    """The DICOM object has no pixels, several frames, or an encoding that is not read."""

    status = 415
    code = "unsupported-dicom"
    title = "The DICOM object is not supported"
    remedy = (
        "Send a single-frame CR, DX or SC image: greyscale, palette or RGB; uncompressed, RLE or of the JPEG family."
    )


class OwnOutput(ImageError):
    """The image is a mask, an overlay or another output of this program."""

    code = "own-output"
    title = "The image is an output of this program"
    remedy = "Send the chest X-ray itself, not its mask, overlay or cutout."


class DamagedImage(ImageError):
    """The file is damaged or truncated, or its header contradicts its data."""

    code = "damaged-film"
    title = "The image is damaged or truncated"
    remedy = "Export or upload the image again."


class TooSmall(ImageError):
    """A side of the image has too few pixels."""

    code = "too-small"
    title = "The image is too small"
    remedy = "Send the image at its original size, at least 64 x 64 pixels."


class BlankImage(ImageError):
    """All pixels have the same value, or are padding."""

    code = "blank-film"
    title = "The image is blank"
    remedy = "Send an image with content; this one is a single grey."


class NoLung(OutputError):
    """The mask is empty, and this output needs a lung."""

    code = "no-lung"
    title = "No lung was found"
    remedy = "Request the mask or the JSON instead, or send a frontal chest X-ray."


class NeedsDicom(OutputError):
    """The output refers to a DICOM study, and the image belongs to none."""

    code = "needs-dicom"
    title = "This output format needs a DICOM image"
    remedy = "Send the image as DICOM, or choose another format."


class AnswerTooLarge(OutputError):
    """The response, as base64, exceeds the limit of AWS Lambda."""

    code = "answer-too-large"
    title = "The response exceeds the limit of AWS Lambda"
    remedy = "Request only the mask or the JSON, or submit the image as a job (POST /v1/jobs)."


class Unreadable(FileError):
    """The operating system does not let the file be read."""

    code = "unreadable"
    title = "The file cannot be read"
    remedy = "Check that the file exists and that you may read it."


class Unwritable(FileError):
    """The operating system does not let the output be written."""

    code = "unwritable"
    title = "The output cannot be written"
    remedy = "Check that the folder exists, is writable and has free space."


class NoSuchJob(StorageError):
    """No job has this id, or it has expired."""

    status = 404
    code = "no-such-job"
    title = "The job does not exist"
    remedy = "Check the job's id. Jobs and their outputs are deleted after some days."


class NoSuchImage(StorageError):
    """The bucket has no such object."""

    status = 404
    code = "no-such-film"
    title = "The object does not exist"
    remedy = "Check the bucket and the key, and that the function may read the object."


class Archived(StorageError):
    """The object must be restored before it can be read."""

    status = 409
    code = "archived"
    title = "The image is in an archive tier"
    remedy = "Restore the object, then send its event again or run a backfill."


class JobsUnavailable(StorageError):
    """This installation has no buckets for jobs."""

    status = 501
    code = "jobs-unavailable"
    title = "Jobs are not available"
    remedy = "Send the image to /v1/segment. Jobs need the buckets that template.yaml creates."


class StorageUnavailable(StorageError):
    """S3 does not answer, or denies access."""

    status = 503
    code = "storage-unavailable"
    title = "The buckets cannot be reached"
    remedy = "Retry in a moment. If the error persists, the operator finds the cause in the function's log."


class Overloaded(ServiceError):
    """The queue is full, or the server is shutting down."""

    code = "overloaded"
    title = "The service is at capacity"
    remedy = "Retry after the number of seconds in the Retry-After header."


class Shortage(ServiceError):
    """The process is out of memory or file handles."""

    code = "short-of-resources"
    title = "The service is out of memory or file handles"
    remedy = "The image is not at fault. Retry later; the operator frees memory or restarts the service."


class InternalError(ServiceError):
    """An unexpected error stopped the request."""

    status = 500
    code = "internal-error"
    title = "Internal error"
    remedy = "Retry. If the error persists, report the time of the request to the operator."


class ModelUnavailable(ServiceError):
    """The model is missing, damaged or of another kind."""

    code = "model-unavailable"
    title = "The model cannot be loaded"
    remedy = "The image is not at fault. The operator finds the cause with `python -m lungseg doctor`."


class ModelError(Exception):
    """The ONNX model is missing, unreadable or invalid, or a setting is malformed."""


def every_problem(group: type[ProblemError] = ProblemError) -> Iterator[type[ProblemError]]:
    """Yield every error of a group that is raised, in the order of this file."""
    for each in group.__subclasses__():
        if each.__subclasses__():
            yield from every_problem(each)
        else:
            yield each


def problem_document(status: int, code: str, title: str, detail: str, remedy: str) -> dict[str, Any]:
    """Return a problem document (RFC 9457); ``code`` and ``remedy`` are its extension members."""
    return {
        "type": f"urn:lung-segmentation:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "remedy": remedy,
    }


def raised_at(error: BaseException) -> str:
    """Return where an exception was raised: all that may be logged of one whose text may quote the image."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}" if trace else "unknown place"
