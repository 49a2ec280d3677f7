"""Every way in which a remote command can fail besides the image: one class each, with its stable code and remedy.

docs/ERRORS.md lists them, and a test holds the two together. None quotes a key, a bucket or a presigned address.
"""

from __future__ import annotations


class RemoteError(Exception):
    """A service cannot be used from here, or it refused: one line on standard error.

    Attributes:
        status: of HTTP, or what it would be; from 500 on the fault is not the caller's.
        code, title, remedy, detail: as those of `lungseg.errors.ProblemError`.
    """

    status = 500
    code = "remote-error"
    title = "The service cannot be used"
    remedy = "Try again; if it stays, report the time to the service's operator."

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def line(self) -> str:
        """It as one line of text, for a terminal."""
        return " ".join(part for part in (f"{self.code}:", self.detail, self.remedy) if part)


class BadAddress(RemoteError):
    status = 400
    code = "bad-address"
    title = "The address is not one of a service"
    remedy = "Give what goes before /v1/segment: a stack's output ApiUrl, or http://127.0.0.1:8000."


class InsecureAddress(RemoteError):
    status = 400
    code = "insecure-address"
    title = "Credentials would travel where others can read them"
    remedy = "Use the service's address that begins with https://."


class NotAuthorised(RemoteError):
    status = 403
    code = "not-authorised"
    title = "The service does not let this caller in"
    remedy = "Give the API key in LUNG_API_KEY, a token in LUNG_TOKEN, or --sign with AWS credentials that may call it."


class AwsRefused(RemoteError):
    status = 400
    code = "aws-refused"
    title = "AWS does not do what was asked of it"
    remedy = "Check the name, --region, and what your AWS credentials are and may do."

    def __init__(self, detail: str, answer: str = "") -> None:
        """Args: ``answer`` is AWS's own code, as "AccessDenied"; empty if AWS was not even asked."""
        super().__init__(detail)
        self.answer = answer


class Unreachable(RemoteError):
    status = 503
    code = "unreachable"
    title = "The service cannot be reached"
    remedy = "Check the address and the network, then try again."


class Busy(RemoteError):
    status = 503
    code = "busy"
    title = "The service is busy or does not work"
    remedy = "Try again in some minutes; its operator finds the cause with `python -m lungseg doctor --stack NAME`."


class BadAnswer(RemoteError):
    status = 502
    code = "bad-answer"
    title = "What answers is not this service"
    remedy = "Check the address: a stack's ends with its stage, as its output ApiUrl has it."


class StorageRefused(RemoteError):
    status = 502
    code = "storage-refused"
    title = "The bucket refuses the upload or the download"
    remedy = "Try again: its permission lasts minutes only. If it stays, check this machine's clock."


class NotMade(RemoteError):
    status = 422
    code = "not-made"
    title = "This form cannot be made of this image"
    remedy = "Ask for another one: dicom-seg needs a DICOM image, and cutout lungs."


class JobUnfinished(RemoteError):
    status = 504
    code = "job-unfinished"
    title = "The job has not come to an end"
    remedy = "Send the image again, or wait longer with --wait; the operator looks at the queue and its dead letters."


def kinds() -> list[type[RemoteError]]:
    """Every kind, in the order of this file."""
    return RemoteError.__subclasses__()
