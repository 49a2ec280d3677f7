"""Images made to exhaust time or memory, each built in a few lines, with the expected outcome of each."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from struct import pack

from ledger import cases

from lungseg import limits

DAMAGED, LARGE, SMALL, BLANK = "damaged-film", "too-large", "too-small", "blank-film"
UNSUPPORTED, OTHER_DICOM, MANGLED, FILM = "unsupported-format", "unsupported-dicom", "mangled-body", "mask"

ROOM = cases(limits.MAX_BYTES // 4, limits.MAX_BYTES)
"""Size in bytes of bombs that get worse with size; `make prove` uses the largest allowed file."""

MEGABYTE = 2**20

KINDS = ("bomb_pictures", "bomb_tiffs", "bomb_dicoms", "bomb_mixtures")
"""The modules that build bombs."""

_BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {}


def bombs() -> dict[str, tuple[str, Callable[[], bytes]]]:
    """Return all bombs by name: the correct outcome, and the image."""
    for kind in KINDS:
        import_module(kind)
    return _BOMBS


def bomb(name: str, outcome: str, *arguments: object) -> Callable[[Callable[..., bytes]], Callable[..., bytes]]:
    """Register the bomb that a function builds from some arguments."""

    def enter(build: Callable[..., bytes]) -> Callable[..., bytes]:
        assert name not in _BOMBS
        _BOMBS[name] = outcome, partial(build, *arguments)
        return build

    return enter


def filled(head: bytes, unit: bytes, tail: bytes = b"", size: int = ROOM) -> bytes:
    """Repeat ``unit`` between two ends until the file is full."""
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def zeros(megabytes: int = ROOM // 1040, wrapped: bool = True) -> bytes:
    """Return a deflate stream of zeros, a thousandth of its inflated size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    unit = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    stream = unit * megabytes + b"\3\0"
    # Adler-32 of n zeros (RFC 1950).
    return b"\x78\xda" + stream + pack(">HH", megabytes * MEGABYTE % 65521, 1) if wrapped else stream
