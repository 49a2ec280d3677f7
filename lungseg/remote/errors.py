"""Errors of `remote` and `doctor` that are not about the image: one class each, with its stable code and remedy.

docs/ERRORS.md lists them; `make docs` writes the table. No text quotes an object key or a presigned URL.
"""

from __future__ import annotations

from lungseg.errors import CodedError


class RemoteError(CodedError):
    """The service cannot be used from here, or it returned an error."""

    status = 500
    code = "remote-error"
    title = "The service cannot be used"
    remedy = "Try again. If it keeps failing, report the time to the service's operator."


class BadAddress(RemoteError):
    """The URL, or a proxy of the environment, is not usable."""

    status = 400
    code = "bad-address"
    title = "The address is not the base URL of a service"
    remedy = "Use the stack's output ApiUrl, or http://127.0.0.1:8000 for a local server."


class InsecureAddress(RemoteError):
    """Credentials are only sent over TLS or to this machine."""

    status = 400
    code = "insecure-address"
    title = "Credentials would be sent unencrypted"
    remedy = "Use the service's https:// address."


class NotAuthorised(RemoteError):
    """The service, or the gateway in front of it, returned 401 or 403."""

    status = 403
    code = "not-authorised"
    title = "The service rejected the credentials"
    remedy = "Set the API key in LUNG_API_KEY or a token in LUNG_TOKEN, or use --sign with AWS credentials."


class AwsError(RemoteError):
    """An AWS API call failed, or could not be made.

    Attributes:
        aws_code: AWS's own error code, such as "AccessDenied"; empty if no request was sent.
    """

    status = 400
    code = "aws-refused"
    title = "The AWS request failed"
    remedy = "Check the name, --region, and the permissions of your AWS credentials."

    def __init__(self, detail: str, aws_code: str = "") -> None:
        super().__init__(detail)
        self.aws_code = aws_code


class Unreachable(RemoteError):
    """No connection, a timeout, or a certificate that is not trusted."""

    status = 503
    code = "unreachable"
    title = "The service cannot be reached"
    remedy = "Check the address and the network, then try again."


class Busy(RemoteError):
    """The service still returned 429 or 5xx after all attempts."""

    status = 503
    code = "busy"
    title = "The service is busy or out of order"
    remedy = "Try again in a few minutes. Its operator finds the cause with `python -m lungseg doctor --stack NAME`."


class BadAnswer(RemoteError):
    """The response is not one that this service sends."""

    status = 502
    code = "bad-answer"
    title = "The response does not come from this service"
    remedy = "Check the address. A stack's ends with its stage, as in its output ApiUrl."


class BucketError(RemoteError):
    """S3 rejected a presigned request."""

    status = 502
    code = "storage-refused"
    title = "The bucket rejected the upload or the download"
    remedy = "Try again: presigned URLs expire within minutes. If it keeps failing, check this machine's clock."


class OutputMissing(RemoteError):
    """The job is done, but its results lack the requested format."""

    status = 422
    code = "not-made"
    title = "This format cannot be produced for this image"
    remedy = "Choose another format: the DICOM ones need a DICOM image, and they, cutout and isolated need lungs."


class JobUnfinished(RemoteError):
    """The job did not finish in time, or expired before its image was uploaded."""

    status = 504
    code = "job-unfinished"
    title = "The job has not finished"
    remedy = "Send the image again, or raise --wait. The operator should check the queue and its dead letters."
