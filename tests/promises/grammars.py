"""Split image formats into parts and join them again, with correct lengths and checksums around changed parts.

`split` stops at the first malformed byte; what it did not understand becomes a last part without a name.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from lungseg.decode.bounds.png import PNG_SIGNATURE, png_chunk

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
"""Item tags of encapsulated pixels and sequences (PS3.5 section 7.5), little endian."""


@dataclass(frozen=True)
class Part:
    """A chunk, segment or element.

    Attributes:
        name: its type; empty for bytes outside any part.
        body: its content.
        lie: how much its declared length is wrong by.
    """

    name: bytes
    body: bytes
    lie: int = 0


class Grammar(Protocol):
    def split(self, image: bytes) -> list[Part]: ...

    def join(self, parts: list[Part]) -> bytes: ...


def _length(part: Part, bits: int) -> int:
    return (len(part.body) + part.lie) % (1 << bits)


class Png:
    """PNG: chunks, each with its checksum."""

    def split(self, image: bytes) -> list[Part]:
        parts, position = [Part(b"", image[:8])], 8
        while position + 12 <= len(image):
            length, name = struct.unpack_from(">I4s", image, position)
            if position + 12 + length > len(image):
                break
            parts.append(Part(name, image[position + 8 : position + 8 + length]))
            position += 12 + length
        return [*parts, Part(b"", image[position:])]

    def join(self, parts: list[Part]) -> bytes:
        return b"".join(self._whole(part) if part.name else part.body for part in parts)

    def _whole(self, part: Part) -> bytes:
        return struct.pack(">I", _length(part, 32)) + png_chunk(part.name, part.body)[4:]


class Riff:
    """WebP: RIFF chunks."""

    def split(self, image: bytes) -> list[Part]:
        parts, position = [], 12
        while position + 8 <= len(image):
            name, length = struct.unpack_from("<4sI", image, position)
            if position + 8 + length > len(image):
                break
            parts.append(Part(name, image[position + 8 : position + 8 + length]))
            position += 8 + length + length % 2
        return [*parts, Part(b"", image[position:])]

    def join(self, parts: list[Part]) -> bytes:
        chunks = b"".join(self._whole(part) if part.name else part.body for part in parts)
        return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks

    def _whole(self, part: Part) -> bytes:
        return struct.pack("<4sI", part.name, _length(part, 32)) + part.body + b"\0" * (len(part.body) % 2)


BARE = {0x01, 0x4F, 0x92, 0x93, *range(0xD0, 0xDA)}
"""Markers without a length (T.81 section B.1.1.3, T.800 table A.2)."""


class Segments:
    """JPEG family: marker segments; coded data is a separate part, or belongs to its bare marker."""

    def split(self, image: bytes) -> list[Part]:
        parts, position = [], 0
        while position + 2 <= len(image) and image[position] == 0xFF:
            name = image[position : position + 2]
            if name[1] in BARE:
                end = position + 2
                if name[1] == 0x93:  # JPEG 2000: coded data up to the next tile-part
                    end = self._next(image, end, (0x90, 0xD9))
                parts.append(Part(name, image[position + 2 : end]))
            else:
                end = position + 2 + int.from_bytes(image[position + 2 : position + 4], "big")
                if end > len(image) or end < position + 4:
                    break
                parts.append(Part(name, image[position + 4 : end]))
                if name[1] == 0xDA:
                    start, end = end, self._next(image, end, (0xC4, 0xD8, 0xD9, 0xDA, 0xDC, 0xDB))
                    parts.append(Part(b"", image[start:end]))
            position = end
        return [*parts, Part(b"", image[position:])]

    def _next(self, image: bytes, start: int, markers: tuple[int, ...]) -> int:
        found = [image.find(bytes([0xFF, marker]), start) for marker in markers]
        return min((each for each in found if each >= 0), default=len(image))

    def join(self, parts: list[Part]) -> bytes:
        return b"".join(self._whole(part) for part in parts)

    def _whole(self, part: Part) -> bytes:
        if not part.name or part.name[1] in BARE:
            return part.name + part.body
        return part.name + struct.pack(">H", (len(part.body) + 2 + part.lie) % 65536) + part.body


class Fragments:
    """Encapsulated pixels: the offset table, then the fragments."""

    def split(self, value: bytes) -> list[Part]:
        parts, position = [], 0
        while value[position : position + 4] == ITEM and position + 8 <= len(value):
            end = position + 8 + int.from_bytes(value[position + 4 : position + 8], "little")
            if end > len(value):
                break
            parts.append(Part(ITEM, value[position + 8 : end]))
            position = end
        return [*parts, Part(b"", value[position:])]

    def join(self, parts: list[Part]) -> bytes:
        return b"".join(
            part.name + struct.pack("<I", _length(part, 32)) + part.body if part.name else part.body for part in parts
        )


LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
"""VRs with a 32-bit length (PS3.5 section 7.1.2)."""


@dataclass(frozen=True)
class Dicom:
    """DICOM: data elements. A name is the tag as in the file, followed by the VR if it is explicit.

    Encapsulated pixels and sequences of undefined length are one part each.
    """

    order: str = "<"
    explicit: bool = True
    deflated: bool = False

    def split(self, image: bytes) -> list[Part]:
        parts, position = [Part(b"", image[:132])], 132
        for part, end in self._elements(image, position, "<", True, meta=True):
            parts.append(part)
            position = end
        data, start = (_inflated(image[position:]), 0) if self.deflated else (image, position)
        for part, end in self._elements(data, start, self.order, self.explicit, meta=False):
            parts.append(part)
            start = end
        return [*parts, Part(b"", data[start:])]

    def _elements(
        self, data: bytes, position: int, order: str, explicit: bool, meta: bool
    ) -> Iterator[tuple[Part, int]]:
        while position + 8 <= len(data):
            (group,) = struct.unpack_from(f"{order}H", data, position)
            if meta and group != 2:
                return
            name = data[position : position + (6 if explicit else 4)]
            if explicit and name[4:] not in LONG:
                length, start = struct.unpack_from(f"{order}H", data, position + 6)[0], position + 8
            elif explicit:
                if position + 12 > len(data):
                    return
                length, start = struct.unpack_from(f"{order}I", data, position + 8)[0], position + 12
            else:
                length, start = struct.unpack_from(f"{order}I", data, position + 4)[0], position + 8
            if length == 0xFFFFFFFF:
                end = data.find(DELIMITER, start)
                end = len(data) if end < 0 else end + 8
                yield Part(name, data[start:end], lie=0xFFFFFFFF - (end - start)), end
            else:
                end = start + length
                if end > len(data):
                    return
                yield Part(name, data[start:end]), end
            position = end

    def join(self, parts: list[Part]) -> bytes:
        head, rest = parts[0].body, b""
        for part in parts[1:]:
            if part.name[:2] == b"\2\0":
                head += self._whole(part, "<", True)
            else:
                rest += self._whole(part, self.order, self.explicit)
        return head + (_deflated(rest) if self.deflated else rest)

    def _whole(self, part: Part, order: str, explicit: bool) -> bytes:
        if not part.name:
            return part.body
        if not explicit or len(part.name) < 6:
            return part.name[:4] + struct.pack(f"{order}I", _length(part, 32)) + part.body
        if part.name[4:] in LONG:
            return part.name + bytes(2) + struct.pack(f"{order}I", _length(part, 32)) + part.body
        return part.name + struct.pack(f"{order}H", _length(part, 16)) + part.body


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, 2**20)
    except zlib.error:
        return b""


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def of(image: bytes) -> Grammar | None:
    """Return the grammar of an image; None if it depends on offsets instead of order, as in TIFF and BMP."""
    if image.startswith(PNG_SIGNATURE):
        return Png()
    if image.startswith(b"\xff\xd8"):
        return Segments()
    if image.startswith(b"RIFF"):
        return Riff()
    if image[128:132] != b"DICM":
        return None
    head = image[132:600]
    if b"1.2.840.10008.1.2.1.99" in head:
        return Dicom(deflated=True)
    if b"1.2.840.10008.1.2.2" in head:
        return Dicom(order=">")
    return Dicom(explicit=b"1.2.840.10008.1.2\0" not in head)


def changed(part: Part, body: bytes) -> Part:
    """Return a part with another body; an undefined length stays undefined."""
    lie = 0xFFFFFFFF - len(body) if part.lie > 2**30 else part.lie
    return replace(part, body=body, lie=lie)
