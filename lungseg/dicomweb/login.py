"""Credentials for a DICOMweb server: basic or bearer authentication, read from the environment or from files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase, HTTPBasicAuth

from lungseg import settings
from lungseg.dicomweb.errors import BadLogin, BadServerUrl, InsecureLogin
from lungseg.remote.loopback import is_loopback

MAX_LOGIN_BYTES = 2**16
"""Bytes of a file with credentials; a token with many claims has some thousand."""


@dataclass(frozen=True)
class Login(AuthBase):
    """Credentials that are sent with each request to the server. No credentials send nothing, not even those of .netrc.

    Attributes:
        user, password: for basic authentication; empty for none.
        token: for ``Authorization: Bearer``; empty for none.
        token_file: a file with the token, read again for every request because tokens expire; None for none.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_file: Path | None = None

    @classmethod
    def read(cls, password_file: Path | None, token_file: Path | None) -> Login:
        """Return the credentials of the two files, or else of the environment.

        Args:
            password_file: one line ``user:password``.
            token_file: one line.

        Raises:
            BadLogin.
        """
        if password_file is not None and token_file is not None:
            raise BadLogin("Both a password file and a token file are named.")
        if token_file is not None:
            _read_line(token_file)
            return cls(token_file=token_file)
        if password_file is not None:
            user, separator, password = _read_line(password_file).partition(":")
            if not separator:
                raise BadLogin("The password file is not of the form user:password.")
            return cls(user, password)
        user, password = settings.DICOMWEB_USER.read(""), settings.DICOMWEB_PASSWORD.read("")
        token = _check_text(settings.DICOMWEB_TOKEN.read(""))
        if token and user:
            raise BadLogin(f"Both {settings.DICOMWEB_TOKEN.name} and {settings.DICOMWEB_USER.name} are set.")
        if bool(user) != bool(password):
            raise BadLogin(
                f"{settings.DICOMWEB_USER.name} and {settings.DICOMWEB_PASSWORD.name} are only set together."
            )
        return cls(_check_text(user), _check_text(password), token)

    @property
    def is_given(self) -> bool:
        """Whether there are credentials. Not the object's truth: requests would replace a false one by .netrc's."""
        return bool(self.user or self.token or self.token_file)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the credentials to a request.

        Raises:
            BadLogin: the token file cannot be read any more.
        """
        if self.user:
            return HTTPBasicAuth(self.user.encode(), self.password.encode())(request)
        token = self.token if self.token_file is None else _read_line(self.token_file)
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request


def check_server_url(url: str, login: Login, is_http_allowed: bool) -> str:
    """Return the base URL of a DICOMweb service, without a slash at its end.

    Args:
        url: as the user wrote it.
        login: the credentials to send there.
        is_http_allowed: whether they may be sent unencrypted to another machine.

    Raises:
        BadServerUrl, InsecureLogin.
    """
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise BadServerUrl("The port or the host of the URL is malformed.") from None
    if not is_valid or not url.isprintable() or " " in url:
        raise BadServerUrl("The URL is not of the form https://HOST/PATH.")
    if "@" in parts.netloc:
        raise BadServerUrl("The URL contains credentials, which other users of this machine can see.")
    if parts.query or parts.fragment:
        raise BadServerUrl("The URL has a query or a fragment.")
    if login.is_given and parts.scheme == "http" and not is_http_allowed and not is_loopback(parts.hostname or ""):
        raise InsecureLogin("The URL starts with http:// and is not on this machine.")
    return url.rstrip("/").removesuffix("/studies")


def _read_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_LOGIN_BYTES)
    except OSError as error:
        raise BadLogin(f"The file with the credentials cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise BadLogin("The file with the credentials is not text.") from None
    line = text.strip()
    if not line:
        raise BadLogin("The file with the credentials is empty.")
    return _check_text(line)


def _check_text(text: str) -> str:
    if not text.isprintable():
        raise BadLogin("The credentials contain a line break or another control character.")
    return text
