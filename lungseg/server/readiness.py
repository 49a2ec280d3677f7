"""Whether images of every format can be read here, found out before the first request.

Codecs are imported when they are first needed. Where memory or descriptors are short at that moment, Pillow and
imagecodecs remember for good that they have no such codec, and whole images are called damaged from then on. Other
imports, such as highdicom's 90 MB, are left to the first request that needs them: Python tries them again.
"""

from __future__ import annotations

import logging
import threading

from lungseg import errors
from lungseg.model.selfcheck import draw_phantom

log = logging.getLogger(__name__)

USED_IMAGECODECS = ("DEFLATE", "DICOMRLE", "JPEG2K", "JPEG8", "JPEGLS", "LZW", "PACKBITS", "PNG", "ZLIB")
"""What lungseg.decode and tifffile call of imagecodecs, which imports each at its first use; drawings use some."""

_lock = threading.Lock()
_missing: list[str] | None = None


def load_codecs() -> None:
    """Read a test pattern in every format, which imports all codecs; log what fails."""
    global _missing  # noqa: PLW0603
    import imagecodecs

    from lungseg.decode import selftest

    with _lock:
        _missing = [each.name for each in selftest.check_decoders(draw_phantom()) if each.fault]
        _missing += [name for name in USED_IMAGECODECS if not getattr(imagecodecs, name).available]
    if _missing:
        log.error("not ready: %s", ", ".join(_missing))


def check_readiness() -> None:
    """Raise Shortage if a format was missing at the start and still is; where `load` was not called, return.

    Raises:
        Shortage.
    """
    if _missing:
        load_codecs()
    if _missing:
        raise errors.Shortage(f"{len(_missing)} formats cannot be read, of which the first is {_missing[0]}.")
