"""Polyglot files, and images inside archives: the first bytes decide, and nothing is unpacked."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable

from bomb_pictures import FILM_PNG, jpeg
from bombs import DAMAGED, FILM, MANGLED, ROOM, UNSUPPORTED, bomb, filled
from films import dicom, tiff
from seeds import GREY, SIXTEEN, png_of

from lungseg.decode.bounds.png import PNG_SIGNATURE


def zipped(image: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("film", image)
    return buffer.getvalue()


@bomb("an image in a gzip", UNSUPPORTED, lambda: gzip.compress(FILM_PNG))
@bomb("an image in a zip", UNSUPPORTED, lambda: zipped(FILM_PNG))
@bomb("an image in a zip in a zip", UNSUPPORTED, lambda: zipped(zipped(FILM_PNG)))
@bomb("an image in a PDF", UNSUPPORTED, lambda: b"%PDF-1.7\n" + jpeg())
@bomb("an image whose first bytes are another's", DAMAGED, lambda: jpeg()[:20] + FILM_PNG)
@bomb("text that was another text before", MANGLED, lambda: filled("\N{REPLACEMENT CHARACTER}".encode(), b"A"))
@bomb(
    "text that ends within a letter", UNSUPPORTED, lambda: filled(b"", b"A", "\N{REPLACEMENT CHARACTER}".encode()[:2])
)
@bomb("zeros", UNSUPPORTED, lambda: bytes(ROOM))
@bomb("a PNG with a DICOM image's mark", DAMAGED, lambda: PNG_SIGNATURE + bytes(120) + dicom(GREY)[128:])
@bomb("a JPEG with a DICOM image's mark", DAMAGED, lambda: b"\xff\xd8\xff" + bytes(125) + dicom(GREY)[128:])
@bomb("a DICOM image that is also a TIFF", FILM, lambda: tiff(GREY)[:8].ljust(128, b"\0") + dicom(GREY)[128:])
@bomb("a DICOM image that is also a program", FILM, lambda: b"MZ".ljust(128, b"\0") + dicom(GREY)[128:])
@bomb("a PNG behind which a zip follows", FILM, lambda: FILM_PNG + zipped(bytes(10**6)))
@bomb("a JPEG behind which a zip follows", FILM, lambda: jpeg() + zipped(bytes(10**6)))
@bomb("a PNG behind which much follows", FILM, lambda: filled(png_of(SIXTEEN, 16, 0), b"\0"))
def mixture(build: Callable[[], bytes]) -> bytes:
    return build()
