"""Segments of JPEG streams, from baseline to lossless and JPEG-LS: size, process, and what to strip."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from lungseg import errors, limits

FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Start of frame: SOF0 to SOF15 without the three that are no frames (T.81 table B.1), and SOF55 of JPEG-LS (T.87)."""

LOSSLESS_MARKERS = {0xC3, 0xC7, 0xCB, 0xCF, 0xF7}
"""Frames of lossless processes (T.81 table B.1), and of JPEG-LS."""

END_OF_IMAGE = b"\xff\xd9"

START_OF_SCAN = b"\xff\xda"
MAX_SCANS = 50
"""A progressive JPEG has about ten."""

BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}
"""Markers that no length follows (T.81 section B.1.1.3)."""

NEXT_MARKER = re.compile(rb"[^\xff]*+\xff++([\x00-\xfe])")
"""The next marker, after fill bytes and stray bytes of no segment, which decoders tolerate."""

MAX_STRAY_BYTES = 2**16
"""Stray bytes that are skipped at a time."""

METADATA_MARKERS = {*range(0xE0, 0xF0), 0xFE}
"""Application segments and comments, which are not part of the image."""

SCAN_MARKER = 0xDA

KEPT_METADATA = {
    0xE0: (b"JFIF\0",),
    0xE1: (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"),
    0xEE: (b"Adobe",),
}
"""Application segments that say how to display the image, by their first bytes; the first of each kind is kept."""


def check_jpeg(stream: bytes) -> bytes:
    """Return a JPEG reduced to its picture.

    Raises:
        UnsupportedFormat: as `check_jpeg_process`.
        ValueError: as `strip_ancillary_segments`.
    """
    check_jpeg_process(stream)
    return strip_ancillary_segments(stream)


def iter_segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each segment's marker, start and end, up to the first that is not a segment.

    Raises:
        ValueError: too many segments.
    """
    position = 2
    for _ in range(limits.MAX_PARTS):
        found = NEXT_MARKER.match(stream, position, position + MAX_STRAY_BYTES)
        if found is None:
            return
        marker, position = found[1][0], found.end()
        start = position - 2
        if marker not in BARE_MARKERS and marker != 0:
            position += int.from_bytes(stream[position : position + 2], "big")
        if marker != 0:
            yield marker, start, position
    raise ValueError("too many segments")


def strip_ancillary_segments(stream: bytes) -> bytes:
    """Return the JPEG without comments, profiles, thumbnails and anything else that is not its image.

    Raises:
        ValueError: no scan, or too many segments.
    """
    kept, whole, last, seen = [(0, 2)], True, 2, set[bytes]()
    for marker, start, end in iter_segments(stream):
        whole = whole and start == last
        last = end
        if marker == SCAN_MARKER:
            return stream if whole else b"".join(stream[part:after] for part, after in (*kept, (start, len(stream))))
        if marker in METADATA_MARKERS:
            head = next((each for each in KEPT_METADATA.get(marker, ()) if stream.startswith(each, start + 4)), None)
            if head is None or head in seen:
                whole = False
                continue
            seen.add(head)
        kept.append((start, end))
    raise ValueError("no scan")


def check_scans(stream: bytes) -> None:
    """Raise ValueError if a JPEG has more scans than any program writes; each takes a pass over the image."""
    if stream.count(START_OF_SCAN) > MAX_SCANS:
        raise ValueError("too many scans")


def check_jpeg_process(stream: bytes) -> None:
    """Check that a JPEG file has a process that is read outside of DICOM.

    Raises:
        UnsupportedFormat: lossless, JPEG-LS, or more than 8 bits per sample.
    """
    for marker, start, _end in iter_segments(stream):
        if marker in LOSSLESS_MARKERS:
            raise errors.UnsupportedFormat("Lossless JPEG and JPEG-LS are supported only inside DICOM.")
        if marker in FRAME_MARKERS:
            if stream[start + 4 : start + 5] != b"\x08":
                raise errors.UnsupportedFormat("JPEG with more than 8 bits per sample is supported only inside DICOM.")
            return


def has_colour_marker(stream: bytes) -> bool:
    """Return whether a JFIF or an Adobe segment states the colour space."""
    return any(
        marker in (0xE0, 0xEE) and stream.startswith((b"JFIF\0", b"Adobe"), start + 4)
        for marker, start, _end in iter_segments(stream)
    )


def jpeg_size(stream: bytes) -> tuple[int, int]:
    """Return height and width of a JPEG or JPEG-LS stream from its frame header; no pixel is decoded.

    Raises:
        ValueError: no frame header, too many scans, or no end marker, in whose place libjpeg would fill the rest with
            grey.
    """
    check_scans(stream)
    for marker, start, _end in iter_segments(stream):
        if marker in FRAME_MARKERS and start + 9 <= len(stream):
            # Coded data never contains these two bytes: each FF in it is followed by 00 or a restart marker.
            if stream.find(END_OF_IMAGE, start) < 0:
                raise ValueError("no end of image")
            height, width = struct.unpack_from(">HH", stream, start + 5)
            return height, width
    raise ValueError("no frame header")
