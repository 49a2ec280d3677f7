"""Images that are made to use up time or memory, each built from a few lines, and what each is to come to."""

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
"""Bytes of a bomb that is the larger the worse; `make prove` makes them as large as images may be."""

MEGABYTE = 2**20

KINDS = ("bomb_pictures", "bomb_tiffs", "bomb_dicoms", "bomb_mixtures")
"""The modules that build them."""

_BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {}


def bombs() -> dict[str, tuple[str, Callable[[], bytes]]]:
    """All of them by name: the outcome that is right, and the image."""
    for kind in KINDS:
        import_module(kind)
    return _BOMBS


def bomb(name: str, outcome: str, *arguments: object) -> Callable[[Callable[..., bytes]], Callable[..., bytes]]:
    """Enter what a function builds of some arguments."""

    def enter(build: Callable[..., bytes]) -> Callable[..., bytes]:
        assert name not in _BOMBS
        _BOMBS[name] = outcome, partial(build, *arguments)
        return build

    return enter


def filled(head: bytes, unit: bytes, tail: bytes = b"", size: int = ROOM) -> bytes:
    """``unit`` between two ends as often as there is room for it."""
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def zeros(megabytes: int = ROOM // 1040, wrapped: bool = True) -> bytes:
    """A deflate stream of zeros, a thousandth of what it inflates to."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    unit = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    stream = unit * megabytes + b"\3\0"
    # The checksum of n zeros (RFC 1950).
    return b"\x78\xda" + stream + pack(">HH", megabytes * MEGABYTE % 65521, 1) if wrapped else stream
