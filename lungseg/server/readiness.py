"""Check before the first request that images of every format can be decoded.

Codecs are imported at their first use. If memory or descriptors run out at that moment, Pillow and imagecodecs conclude
for good that they lack the codec, and from then on intact images count as damaged. Other imports, such as highdicom's
90 MB, are left to the first request that needs them: Python retries a failed import.
"""

from __future__ import annotations

import logging
import threading

from lungseg import errors
from lungseg.model.selfcheck import draw_phantom

log = logging.getLogger(__name__)

USED_IMAGECODECS = ("DEFLATE", "DICOMRLE", "JPEG2K", "JPEG8", "JPEGLS", "LZW", "PACKBITS", "PNG", "ZLIB")
"""Codecs that lungseg.decode, tifffile and the self-test use. imagecodecs imports each at its first use."""

_lock = threading.Lock()
_missing: list[str] | None = None


def load_codecs() -> None:
    """Import all codecs by decoding a test pattern in every format; log those that fail."""
    global _missing  # noqa: PLW0603
    import imagecodecs

    from lungseg.decode import selftest

    with _lock:
        _missing = [each.name for each in selftest.check_decoders(draw_phantom()) if each.fault]
        _missing += [name for name in USED_IMAGECODECS if not getattr(imagecodecs, name).available]
    if _missing:
        log.error("not ready: %s", ", ".join(_missing))


def check_readiness() -> None:
    """Raise Shortage if a format failed at the start and still fails. Without `load_codecs`, do nothing.

    Raises:
        Shortage.
    """
    if _missing:
        load_codecs()
    if _missing:
        raise errors.Shortage(f"{len(_missing)} formats cannot be decoded; the first is {_missing[0]}.")
