"""Errors of `dicomweb`: one class each, with its stable code and remedy.

docs/ERRORS.md lists them; `make docs` writes the table. No text quotes a UID, a URL or a value of an element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungseg.remote.errors import RemoteError

if TYPE_CHECKING:
    from requests import Response


class DicomwebError(RemoteError):
    """The DICOMweb server cannot be used, or it returned an error.

    Attributes:
        stops_run: whether every other request would fail as well.
        is_outage: whether the next requests may fail as well: several in a row end a run.
    """

    code = "dicomweb-error"
    title = "The DICOMweb server cannot be used"
    remedy = "Try again. If it keeps failing, give the time to the server's administrator."
    stops_run = False
    is_outage = True


class BadServerUrl(DicomwebError):
    """The URL is not the base URL of a DICOMweb service."""

    status = 400
    code = "bad-server-url"
    title = "The URL is not the base URL of a DICOMweb service"
    remedy = "Use the URL that /studies is appended to, such as http://127.0.0.1:8042/dicom-web for Orthanc."
    stops_run = True


class InsecureLogin(DicomwebError):
    """Credentials are only sent over TLS or to this machine."""

    status = 400
    code = "insecure-login"
    title = "Credentials would be sent unencrypted"
    remedy = "Use the server's https:// URL, or --allow-http in a network that you trust."
    stops_run = True


class BadLogin(DicomwebError):
    """Credentials are incomplete, or not valid in an HTTP header."""

    status = 400
    code = "bad-login"
    title = "The credentials cannot be used"
    remedy = "See `lungseg dicomweb --help` for the variables and files that they are read from."
    stops_run = True


class AccessDenied(DicomwebError):
    """The server returned 401 or 403."""

    status = 403
    code = "access-denied"
    title = "The server rejected the credentials"
    remedy = "Check the user or the token, whether it has expired, and its right to search, to retrieve and to store."

    def __init__(self, detail: str, stops_run: bool = True) -> None:
        super().__init__(detail)
        self.stops_run = stops_run


class ServerUnreachable(DicomwebError):
    """No connection, a timeout, or an answer that ended early, after all attempts."""

    status = 503
    code = "server-unreachable"
    title = "The DICOMweb server cannot be reached"
    remedy = "Check the URL, the network and --timeout, then run the same command again: it continues."


class UntrustedServer(DicomwebError):
    """The TLS handshake failed: certificate, host name, or the client's certificate."""

    status = 502
    code = "tls-failed"
    title = "The TLS connection failed"
    remedy = "Name the certificate authority with --ca-file, and your own certificate with --client-cert."
    stops_run = True


class NotDicomweb(DicomwebError):
    """The answer is not one of a DICOMweb server."""

    status = 502
    code = "not-dicomweb"
    title = "The answer does not come from a DICOMweb server"
    remedy = "Check the URL: it must be the one that /studies is appended to."


class ServerBusy(DicomwebError):
    """The server still returned 429 or 5xx after all attempts."""

    status = 503
    code = "server-busy"
    title = "The DICOMweb server is busy or out of order"
    remedy = "Use fewer --workers or --rate, and run the same command again later: it continues."


class ServerRefused(DicomwebError):
    """The server returned another error, or a redirect.

    Attributes:
        answer: the response, if it may say more of each object that was sent; else None.
    """

    status = 502
    code = "server-refused"
    title = "The DICOMweb server refused the request"
    remedy = "Its log has the reason. docs/PACS.md lists what is known of several servers."

    def __init__(self, detail: str, answer: Response | None = None) -> None:
        super().__init__(detail)
        self.answer = answer


class OversizedAnswer(DicomwebError):
    """The answer is longer than any image or document may be."""

    status = 502
    code = "oversized-answer"
    title = "The DICOMweb server's answer is too long"
    remedy = "The image is larger than 80 MB, or the server does not limit its search results."
    is_outage = False


class WrongInstance(DicomwebError):
    """The server returned another object than the requested one."""

    status = 502
    code = "wrong-instance"
    title = "The server returned another object than the requested one"
    remedy = "Nothing was stored for it. Report it to the server's administrator."
    is_outage = False


class StoreFailed(DicomwebError):
    """The server did not store an object."""

    status = 502
    code = "store-failed"
    title = "The server did not store a result"
    remedy = "Its log has the reason. Run the same command again to store what is missing."
    is_outage = False
