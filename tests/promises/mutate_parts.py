"""Ways to corrupt an image that is a sequence of parts: chunks, segments or elements; and those of a PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random

import grammars
from grammars import Part, changed
from mutate_bytes import EDGE_NUMBERS, Others, Way, corrupt_body, overwrite


def changing_parts(way: Callable[[list[Part], Random, Others], list[Part]]) -> Way:
    """Turn a function that changes parts into one that changes images."""

    def change(image: bytes, random: Random, others: Others) -> bytes:
        grammar = grammars.of(image)
        assert grammar is not None
        return grammar.join(way(grammar.split(image), random, others))

    return change


@changing_parts
def drop_part(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(len(parts))
    return parts[:place] + parts[place + 1 :] if len(parts) > 1 else parts


@changing_parts
def repeat_part(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(len(parts))
    return parts[:place] + parts[place : place + 1] * random.choice((2, 2, 3, 50)) + parts[place + 1 :]


@changing_parts
def swap_parts(parts: list[Part], random: Random, _: Others) -> list[Part]:
    parts = parts.copy()
    one, other = random.randrange(len(parts)), random.randrange(len(parts))
    parts[one], parts[other] = parts[other], parts[one]
    return parts


@changing_parts
def change_part(parts: list[Part], random: Random, others: Others) -> list[Part]:
    place = random.randrange(len(parts))
    part = changed(parts[place], corrupt_body(parts[place].body, random, others))
    return [*parts[:place], part, *parts[place + 1 :]]


@changing_parts
def lie_about_length(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(len(parts))
    lie = random.choice((-4, -1, 1, 2, 4, 100, 2**16, 2**31, -len(parts[place].body)))
    return [*parts[:place], Part(parts[place].name, parts[place].body, lie), *parts[place + 1 :]]


@changing_parts
def rename_part(parts: list[Part], random: Random, _: Others) -> list[Part]:
    one, other = random.choice(parts), random.choice(parts)
    return [Part(other.name, part.body, part.lie) if part is one else part for part in parts]


@changing_parts
def empty_part(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(len(parts))
    return [*parts[:place], changed(parts[place], b""), *parts[place + 1 :]]


def take_part(image: bytes, random: Random, others: Others) -> bytes:
    """Insert a part of another image of the same format."""
    grammar = grammars.of(image)
    assert grammar is not None
    alike = [each for each in others if type(grammars.of(each)) is type(grammar)]
    parts = grammar.split(image)
    other = random.choice(alike or [image])
    taken = random.choice((grammars.of(other) or grammar).split(other))
    place = random.randrange(1, len(parts) + 1)
    return grammar.join([*parts[:place], taken, *parts[place:]])


PARTS = (drop_part, repeat_part, swap_parts, change_part, change_part, change_part, lie_about_length, rename_part,
         empty_part, take_part)  # fmt: skip


@changing_parts
def change_stream(parts: list[Part], random: Random, others: Others) -> list[Part]:
    """Change the compressed data, filters included, or its compression level."""
    for place, part in enumerate(parts):
        if part.name == b"IDAT":
            try:
                stream = zlib.decompressobj().decompress(part.body, 2**20)
            except zlib.error:
                return parts
            body = zlib.compress(corrupt_body(stream, random, others), random.randrange(10))
            return [*parts[:place], changed(part, body), *parts[place + 1 :]]
    return parts


@changing_parts
def lie_in_header(parts: list[Part], random: Random, _: Others) -> list[Part]:
    def lie(body: bytes) -> bytes:
        place = random.choice((0, 4, 8, 9, 10, 11, 12))
        if place < 8:
            return overwrite(body, place, struct.pack(">I", random.choice(EDGE_NUMBERS)))
        return overwrite(body, place, bytes([random.choice((0, 1, 2, 3, 4, 5, 6, 8, 16, 32, 255))]))

    return [changed(part, lie(part.body)) if part.name == b"IHDR" else part for part in parts]


CHUNKS = (
    (b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", struct.pack(">IIIIIHHBB", 0, 9999, 9999, 0, 0, 1, 1, 0, 0)),
    (b"fdAT", bytes(4)), (b"tRNS", bytes(6)), (b"PLTE", bytes(9)), (b"gAMA", bytes(4)), (b"cHRM", bytes(32)),
    (b"iCCP", b"p\0\0" + zlib.compress(bytes(200))), (b"zTXt", b"t\0\0" + zlib.compress(bytes(9999))),
    (b"iTXt", b"t\0\1\0\0\0" + zlib.compress(bytes(9999))), (b"eXIf", b"II*\0\x08\0\0\0\xff\xff"), (b"sBIT", b"\xff"),
    (b"pHYs", bytes(9)), (b"tIME", b"\xff" * 7), (b"bKGD", bytes(2)), (b"hIST", bytes(512)), (b"IEND", b""),
)  # fmt: skip


@changing_parts
def add_chunk(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(1, len(parts) + 1)
    return [*parts[:place], Part(*random.choice(CHUNKS)), *parts[place:]]


PNG_WAYS = (change_stream, change_stream, lie_in_header, lie_in_header, add_chunk)
