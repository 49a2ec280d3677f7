"""Every way a request can be refused: one class each, with its HTTP status, stable code and remedy.

The text of a refusal is written here and by the code that raises it. It never quotes the upload: no file name, no
DICOM or EXIF value, no pixel.
"""

from __future__ import annotations

from typing import Any

MEDIA_TYPE = "application/problem+json"
"""Of a problem document (RFC 9457)."""


class ProblemError(Exception):
    """An image, or the request that carried it, cannot be segmented.

    Attributes:
        status: HTTP status of the answer.
        code: stable, machine-readable name of the refusal.
        title: the refusal in a few words, the same for every occurrence.
        remedy: what the sender can do about it.
        detail: what was found this time.
    """

    status = 422
    code = "film-error"
    title = "The image cannot be segmented"
    remedy = "Send one frontal chest radiograph as PNG, JPEG, TIFF, BMP, WebP or DICOM."

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def problem(self) -> dict[str, Any]:
        """The refusal as an RFC 9457 problem document (``application/problem+json``)."""
        return problem(self.status, self.code, self.title, self.detail, self.remedy)

    def line(self) -> str:
        """The refusal as one line of text, for a terminal."""
        return f"{self.code}: {self.detail} {self.remedy}"


def problem(status: int, code: str, title: str, detail: str, remedy: str) -> dict[str, Any]:
    """An RFC 9457 problem document; ``code`` and ``remedy`` are its extension members."""
    return {
        "type": f"urn:lung-segmentation:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "remedy": remedy,
    }


class EmptyBody(ProblemError):
    status = 400
    code = "empty-body"
    title = "No image was sent"


class MangledBody(ProblemError):
    status = 400
    code = "mangled-body"
    title = "The image's bytes were turned into text on the way"
    remedy = "Send the image unchanged; behind an API gateway, switch on binary media types ('*/*')."


class BadBase64(ProblemError):
    status = 400
    code = "bad-base64"
    title = "The event's body is not valid base64"
    remedy = "Encode the whole image with standard base64, padding included."


class MalformedUpload(ProblemError):
    status = 400
    code = "malformed-upload"
    title = "The upload cannot be read"
    remedy = "Send the image as the raw body, or as the one part named 'file' of multipart/form-data."


class TooLarge(ProblemError):
    status = 413
    code = "too-large"
    title = "The image is too large"
    remedy = "Send fewer bytes: a lossless PNG of the image, or a copy with fewer pixels."


class BodyTooLarge(ProblemError):
    status = 413
    code = "body-too-large"
    title = "The request's body is too large"
    remedy = "Only POST /v1/segment takes an image; other requests have small JSON bodies or none."


class UnsupportedEncoding(ProblemError):
    status = 415
    code = "unsupported-encoding"
    title = "The body's Content-Encoding is not supported"
    remedy = "Send the image as it is, or with Content-Encoding: gzip."


class RequestTimeout(ProblemError):
    status = 408
    code = "request-timeout"
    title = "The request's body arrived too slowly"
    remedy = "Send the request again over a faster connection."


class UnknownHost(ProblemError):
    status = 421
    code = "unknown-host"
    title = "The request's Host is not a name of this server"
    remedy = "Use the server's IP address or localhost, or have its operator add the name to LUNG_HOSTS."


class CrossSite(ProblemError):
    status = 403
    code = "cross-site"
    title = "A web page of another site sent the request"
    remedy = "Use the server's own page, or have its operator add the page's origin to LUNG_CORS_ORIGINS."


class BadParameter(ProblemError):
    status = 400
    code = "bad-parameter"
    title = "A parameter of the request is not one that is known"
    remedy = "See /docs for the parameters and their values."


class NotAcceptable(ProblemError):
    status = 406
    code = "not-acceptable"
    title = "None of the forms that the request accepts can be given"
    remedy = "Name a form with ?format=, or leave out the Accept header for a PNG of the mask."


class UnsupportedFormat(ProblemError):
    status = 415
    code = "unsupported-format"
    title = "Not an image format this service reads"


class UnsupportedDicom(ProblemError):
    status = 415
    code = "unsupported-dicom"
    title = "A DICOM object this service does not read"
    remedy = "Send one single-frame radiograph (CR, DX, SC), grey or RGB, uncompressed, RLE or of the JPEG family."


class OwnOutput(ProblemError):
    code = "own-output"
    title = "The image is an output of this program"
    remedy = "Send the chest X-ray itself, not a mask, an overlay or a cutout of it."


class DamagedImage(ProblemError):
    code = "damaged-film"
    title = "The image is damaged or cut short"
    remedy = "Export or upload the image again, whole."


class TooSmall(ProblemError):
    code = "too-small"
    title = "The image is too small"
    remedy = "Send the image at its own size, at least 64 pixels on each side."


class BlankImage(ProblemError):
    code = "blank-film"
    title = "The image shows nothing"
    remedy = "Send an image with a picture on it: this one is a single grey from edge to edge."


class NoLung(ProblemError):
    code = "no-lung"
    title = "No lung was found"
    remedy = "Ask for the mask or the JSON, which say so; or send a frontal chest radiograph."


class NeedsDicom(ProblemError):
    code = "needs-dicom"
    title = "This answer can be made of a DICOM image only"
    remedy = "Send the image as DICOM, or ask for another format."


class Unreadable(ProblemError):
    code = "unreadable"
    title = "The file cannot be read"
    remedy = "Check that it exists and that you may read it."


class Unwritable(ProblemError):
    code = "unwritable"
    title = "The output cannot be written"
    remedy = "Check that the output's folder exists, may be written to, and has room."


class AnswerTooLarge(ProblemError):
    code = "answer-too-large"
    title = "The answer is larger than AWS Lambda can give"
    remedy = "Ask for the mask or the JSON alone, or send the image as a job (POST /v1/jobs)."


class NoSuchJob(ProblemError):
    status = 404
    code = "no-such-job"
    title = "There is no such job"
    remedy = "Check the job's id; a job and all of its outputs are deleted after some days."


class NoSuchImage(ProblemError):
    status = 404
    code = "no-such-film"
    title = "There is no such object"
    remedy = "Check the bucket and the key, and that the function may read there."


class Archived(ProblemError):
    status = 409
    code = "archived"
    title = "The image lies in an archive tier"
    remedy = "Restore the object, then send its event again or run a backfill over it."


class JobsUnavailable(ProblemError):
    status = 501
    code = "jobs-unavailable"
    title = "This installation takes no jobs"
    remedy = "Send the image to /v1/segment; jobs need the buckets that template.yaml makes."


class StorageUnavailable(ProblemError):
    status = 503
    code = "storage-unavailable"
    title = "The buckets cannot be reached"
    remedy = "Try again in a little while; if it stays, the service's operator finds why in the function's log."


class Overloaded(ProblemError):
    status = 503
    code = "overloaded"
    title = "The service has as many images as it can take"
    remedy = "Send the image again after as many seconds as Retry-After says."


class Shortage(ProblemError):
    status = 503
    code = "short-of-resources"
    title = "The service is short of memory or of files"
    remedy = "Nothing is wrong with the image. Send it again later; the operator frees memory or restarts the service."


class InternalError(ProblemError):
    status = 500
    code = "internal-error"
    title = "The service failed"
    remedy = "Try again; if it stays, report the time of the request to the service's operator."


class ModelUnavailable(ProblemError):
    status = 503
    code = "model-unavailable"
    title = "The service cannot load its model"
    remedy = "Nothing is wrong with the image; the service's operator finds the cause with `python -m lungseg doctor`."


BROWSER = (UnknownHost, CrossSite)
"""Refusals of the local server alone, which a browser on the same machine can reach."""

LOCAL = (Unreadable, Unwritable)
"""Refusals of files, which only the command line reads and writes by name."""


CLOUD = (NoSuchJob, NoSuchImage, Archived, JobsUnavailable, StorageUnavailable)
"""Refusals of jobs and of images in buckets."""


def kinds() -> list[type[ProblemError]]:
    """Every kind of refusal, in the order of this file."""
    return ProblemError.__subclasses__()


class ModelError(Exception):
    """The ONNX model is missing, unreadable, or not one that this service can serve."""


def place(error: BaseException) -> str:
    """Where an exception was raised: what may be logged of one whose text may quote the image."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}" if trace else "unknown place"
