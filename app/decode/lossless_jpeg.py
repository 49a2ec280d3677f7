"""Is a lossless JPEG's data whole? Its decoder does not say, so the bits that its picture takes are counted.

Lossless JPEG (ITU-T T.81, annex H) codes the difference of each sample from a prediction: a Huffman code of the
difference's length in bits, then these bits. From the decoded picture the differences follow, and from the file's own
tables the length of their code. After a hole, a cut or a run of zeros the two lengths differ.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app import errors
from app.decode.jpeg_header import segments

SOF3, DHT, SOS, DRI = 0xC3, 0xC4, 0xDA, 0xDD

SLACK_BITS = 16
"""Bits that may be left over, at the end and before each restart marker: padding to a byte, and a byte to spare."""

Samples = NDArray[np.uint16]


@dataclass(frozen=True)
class Coding:
    """How a lossless JPEG of one component is coded.

    Attributes:
        precision: bits of a sample.
        predictor: 1 to 7 (table H.1).
        point_transform: lower bits that are left out.
        restart: samples between two restart markers; 0 is none.
        lengths: bits of the code of each category, 0 to 16; 0 is no code.
        start: where the coded data begins.
    """

    precision: int
    predictor: int
    point_transform: int
    restart: int
    lengths: tuple[int, ...]
    start: int


def check(stream: bytes, pixels: NDArray[np.integer]) -> None:
    """Raise DamagedFilm if a lossless JPEG's data is not as long as its picture takes.

    Args:
        stream: the whole JPEG; one of several components is not looked at.
        pixels: (height, width), as it was decoded.
    """
    coding = _coding(stream)
    if coding is None or pixels.ndim != 2:
        return
    needed = _bits_of(pixels.astype(np.uint16), coding)
    data = np.frombuffer(stream, np.uint8, offset=coding.start)
    end = stream.rfind(b"\xff\xd9") - coding.start
    after_ff = np.flatnonzero(data[: max(0, end - 1)] == 0xFF) + 1
    # A byte FF of the data is followed by 00; FF D0 to FF D7 are restart markers, and fill bytes FF stand before them.
    stuffed, marked = np.count_nonzero(data[after_ff] == 0), np.count_nonzero((data[after_ff] & 0xF8) == 0xD0)
    fill = np.count_nonzero(data[after_ff] == 0xFF)
    there = 8 * (end - stuffed - 2 * marked - fill)
    if needed is None or not 0 <= there - needed <= SLACK_BITS * (1 + marked):
        raise errors.DamagedFilm("The JPEG data is broken or ends too early.")


def _coding(stream: bytes) -> Coding | None:
    """Read the header; None if it is of another process, or of several components."""
    precision, restart, tables = 0, 0, dict[int, tuple[int, ...]]()
    for marker, start, end in segments(stream):
        body = stream[start + 4 : end]
        if marker == SOF3:
            precision, _, _, components = struct.unpack_from(">BHHB", body)
            if components != 1:
                return None
        elif marker == DRI:
            (restart,) = struct.unpack_from(">H", body)
        elif marker == DHT:
            tables |= _tables(body)
        elif marker == SOS:
            if not precision:
                return None
            count, _, table, predictor, _, low = struct.unpack_from(">6B", body)
            lengths = tables.get(table >> 4)
            if count != 1 or lengths is None or not 1 <= predictor <= 7:
                return None
            return Coding(precision, predictor, low & 15, restart, lengths, end)
    return None


def _tables(body: bytes) -> dict[int, tuple[int, ...]]:
    """Length of the code of each category, by the table's number (section B.2.4.2)."""
    found, position = {}, 0
    while position + 17 <= len(body):
        number, counts = body[position], body[position + 1 : position + 17]
        symbols = iter(body[position + 17 : position + 17 + sum(counts)])
        lengths = [0] * 17
        for bits, count in enumerate(counts, 1):
            for _ in range(count):
                symbol = next(symbols, None)
                if symbol is not None and symbol <= 16:
                    lengths[symbol] = bits
        found[number] = tuple(lengths)
        position += 17 + sum(counts)
    return found


def _bits_of(pixels: Samples, coding: Coding) -> int | None:
    """Bits that the picture takes; None if it has a difference that the table has no code for."""
    counts = np.bincount(
        _differences(np.right_shift(pixels, np.uint16(coding.point_transform)), coding).ravel(), minlength=2**16
    )
    # Differences are taken modulo 2**16 (section H.1.2.1); 2**15 is the only one of its category.
    magnitude = np.abs(np.arange(2**16, dtype=np.uint16).view(np.int16).astype(np.int32))
    category = np.frexp(magnitude.astype(np.float32))[1]
    lengths = np.array(coding.lengths)[category]
    if counts[lengths == 0].any():
        return None
    return int((counts * (lengths + np.where(category == 16, 0, category))).sum())


def _differences(samples: Samples, coding: Coding) -> Samples:
    """Each sample's difference from its prediction, modulo 2**16 (table H.1, section H.1.2.1)."""
    left, above, corner = samples[1:, :-1], samples[:-1, 1:], samples[:-1, :-1]
    predicted: Samples
    match coding.predictor:
        case 1:
            predicted = left
        case 2:
            predicted = above
        case 3:
            predicted = corner
        case 4:
            predicted = left + above - corner
        case 5:
            predicted = left + ((above.astype(np.int32) - corner) >> 1).astype(np.uint16)
        case 6:
            predicted = above + ((left.astype(np.int32) - corner) >> 1).astype(np.uint16)
        case _:
            predicted = ((left.astype(np.int32) + above) >> 1).astype(np.uint16)
    differences = np.empty_like(samples)
    differences[1:, 1:] = samples[1:, 1:] - predicted
    differences[1:, 0] = samples[1:, 0] - samples[:-1, 0]
    # The first row, and each behind a restart marker, knows nothing above it.
    rows = coding.restart // samples.shape[1] or len(samples)
    differences[::rows, 1:] = samples[::rows, 1:] - samples[::rows, :-1]
    differences[::rows, 0] = samples[::rows, 0] - np.uint16(1 << (coding.precision - coding.point_transform - 1))
    return differences
