"""Deflate streams, inflated piece by piece, so that the caller can stop at a limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

READ_BYTES = 2**16
"""Compressed bytes that are passed to zlib at once; few, because zlib copies those that it has not used yet."""

MAX_PIECE_BYTES = 2**20
"""Inflated bytes per piece."""


class InflateReader:
    """Iterates once over the inflated pieces of a stream.

    Attributes:
        taken: compressed bytes read so far.
    """

    def __init__(self, parts: Iterable[memoryview], wbits: int = zlib.MAX_WBITS) -> None:
        """Take the parts of a stream; ``wbits`` is zlib's, negative for a stream without header and checksum."""
        self._parts, self._stream = parts, zlib.decompressobj(wbits)
        self.taken = 0

    @property
    def ended(self) -> bool:
        """Whether the end of the stream was reached."""
        return self._stream.eof

    def __iter__(self) -> Iterator[bytes]:
        """Yield the inflated pieces.

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
