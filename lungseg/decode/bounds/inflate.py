"""Deflate streams inflated piece by piece, so that whoever reads them can stop before there is too much."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

READ_BYTES = 2**16
"""Bytes that are taken of a stream at once; zlib copies what it has not come to, so few."""

MAX_PIECE_BYTES = 2**20
"""Bytes that are made of them at once."""


class InflateReader:
    """What a stream inflates to, in pieces, for one pass.

    Attributes:
        taken: bytes of the stream that have been looked at.
    """

    def __init__(self, parts: Iterable[memoryview], form: int = zlib.MAX_WBITS) -> None:
        """The stream, or pieces of it; ``form`` is zlib's wbits, negative for one without header and checksum."""
        self._parts, self._stream = parts, zlib.decompressobj(form)
        self.taken = 0

    @property
    def ended(self) -> bool:
        """Whether the stream came to its end."""
        return self._stream.eof

    def __iter__(self) -> Iterator[bytes]:
        """The pieces.

        Raises:
            zlib.error: the stream is broken.
        """
        for part in self._parts:
            for start in range(0, len(part), READ_BYTES):
                rest: bytes | memoryview = part[start : start + READ_BYTES]
                full = True
                self.taken += len(rest)
                while not self.ended and (rest or full):
                    piece = self._stream.decompress(rest, MAX_PIECE_BYTES)
                    yield piece
                    rest, full = self._stream.unconsumed_tail, len(piece) == MAX_PIECE_BYTES
