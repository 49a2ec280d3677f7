"""Canaries: strings that exist nowhere else, and the search for them in every encoding."""

from __future__ import annotations

import base64
import io
import re
import secrets
import string
import zipfile
from collections.abc import Iterable

from PIL import Image

LETTERS = "".join(secrets.choice(string.ascii_letters) for _ in range(6))
DIGITS = "".join(secrets.choice("123456789") for _ in range(12))
"""The prefix of every canary of this run: letters, or digits where the format allows nothing else."""


def canary(place: str) -> str:
    """Return the canary for one place; letters only, which no escaping changes."""
    return f"{LETTERS}{re.sub('[^a-zA-Z]', '', place)}"


def _forms(text: str) -> set[bytes]:
    """Return every lower-case encoding of a text: plain, base64 at each offset, hexadecimal, percent-encoded, each also
    of UTF-16."""
    found = set()
    for variant in {text, text.lower(), text.upper()}:
        for data in (variant.encode(), variant.encode("utf-16-le"), variant.encode("utf-16-be")):
            found |= {
                data,
                data.hex().encode(),
                data.hex(" ").encode(),
                "".join(f"%{each:02x}" for each in data).encode(),
            }
            for offset in range(3):
                # The first and last letters depend on the neighbouring bytes in their groups of three.
                coded = base64.b64encode(bytes(offset) + data)
                found.add(coded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6])
    return {form.lower() for form in found}


_NEEDLES = sorted(_forms(LETTERS) | _forms(DIGITS))
_NAMES = re.compile(f"{LETTERS}([a-zA-Z]*)|{DIGITS}".encode(), re.IGNORECASE)


def caught(*contents: bytes | str) -> set[str]:
    """Return the places whose canaries appear in some text or file; "?" for a canary in another encoding.

    Searches ZIP archives and the compressed texts of PNGs as well.
    """
    found: set[str] = set()
    for content in contents:
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        for part in (data, *_inner(data)):
            small = part.lower()
            if any(needle in small for needle in _NEEDLES):
                found |= {(match[1] or b"digits").decode() for match in _NAMES.finditer(part)} or {"?"}
    return found


def _inner(data: bytes) -> Iterable[bytes]:
    if zipfile.is_zipfile(io.BytesIO(data)) and data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode()
                member = archive.read(name)
                yield member
                yield from _inner(member)
    if data.startswith(b"\x89PNG"):
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                for name, value in image.info.items():
                    yield str(name).encode()
                    yield value if isinstance(value, bytes) else str(value).encode()
        except Exception:  # a damaged PNG
            return
