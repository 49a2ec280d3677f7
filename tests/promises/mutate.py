"""Ways to corrupt an image. All randomness comes from the given generator: same generator, same image."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random

import grammars
from grammars import ITEM, Fragments, Part, Segments, changed

from lungseg.decode.transfer_syntaxes import TRANSFER_SYNTAXES

Others = Sequence[bytes]
"""Images to take parts from."""

Way = Callable[[bytes, Random, Others], bytes]

NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 17, 63, 64, 65, 127, 128, 255, 256, 257, 4095, 16384, 32767, 32768, 65535, 65536,
           2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)  # fmt: skip
"""Numbers at which counters overflow, limits apply and signs change."""

LONGEST = 60_000
"""Bytes; longer images are cut, so that no case is slow because of its length."""

HEADER = 400
"""Most random changes hit the first bytes, because they decide how the rest is read."""


def mutate(film: bytes, random: Random, others: Others) -> bytes:
    """Corrupt an image once or several times."""
    for _ in range(random.choice((1, 3, 4, 6, 8, 12, 16))):
        film = spoil(film, random, others)
    return film


def spoil(film: bytes, random: Random, others: Others) -> bytes:
    """Make one change: at random, or by the format's grammar."""
    ways = _structured(film) if random.random() < 0.75 else ()
    return random.choice(ways or BLIND)(film, random, others)[:LONGEST]


def _structured(film: bytes) -> Sequence[Way]:
    if grammars.of(film) is not None:
        return DICOM if film[128:132] == b"DICM" else PARTS + PNG * film.startswith(grammars.PNG)
    if film.startswith((b"II", b"MM")):
        return TIFF
    return BMP if film.startswith(b"BM") else ()


# Changes that ignore the format


def _place(film: bytes, random: Random) -> int:
    return random.randrange(min(HEADER, len(film)) if random.random() < 0.75 else len(film)) if film else 0


def _set(film: bytes, place: int, new: bytes) -> bytes:
    return film[:place] + new + film[place + len(new) :]


def flip_bit(film: bytes, random: Random, _: Others) -> bytes:
    place = _place(film, random)
    return _set(film, place, bytes([film[place] ^ 1 << random.randrange(8)])) if film else film


def set_bytes(film: bytes, random: Random, _: Others) -> bytes:
    return _set(film, _place(film, random), random.randbytes(random.choice((1, 1, 2, 4, 16))))


def set_number(film: bytes, random: Random, _: Others) -> bytes:
    width, number = random.choice((1, 2, 4, 8)), random.choice(NUMBERS)
    new = (number % (1 << 8 * width)).to_bytes(width, random.choice(("little", "big")))
    return _set(film, _place(film, random), new)


def cut(film: bytes, random: Random, _: Others) -> bytes:
    return film[: _place(film, random)]


def drop(film: bytes, random: Random, _: Others) -> bytes:
    place = _place(film, random)
    return film[:place] + film[place + random.choice((1, 2, 4, 100)) :]


def repeat(film: bytes, random: Random, _: Others) -> bytes:
    place = _place(film, random)
    block = film[place : place + random.choice((1, 4, 12, 100))]
    return film[:place] + block * random.choice((2, 2, 3, 200)) + film[place + len(block) :]


def move(film: bytes, random: Random, _: Others) -> bytes:
    start, length = _place(film, random), random.choice((2, 4, 12, 100))
    return _set(film, _place(film, random), film[start : start + length])


def splice(film: bytes, random: Random, others: Others) -> bytes:
    """Join the start of one image and the end of another."""
    other = random.choice(others)
    return film[: _place(film, random)] + other[_place(other, random) :]


BLIND = (flip_bit, flip_bit, set_bytes, set_number, set_number, cut, drop, repeat, move, splice)


def body_of(body: bytes, random: Random, others: Others) -> bytes:
    """Corrupt the content of a part, ignoring its format."""
    return random.choice(BLIND)(body, random, others)


# Formats that are a sequence of parts


def _parts(way: Callable[[list[Part], Random, Others], list[Part]]) -> Way:
    """Turn a function that changes parts into one that changes images."""

    def change(film: bytes, random: Random, others: Others) -> bytes:
        grammar = grammars.of(film)
        assert grammar is not None
        return grammar.join(way(grammar.split(film), random, others))

    return change


@_parts
def drop_part(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(len(parts))
    return parts[:place] + parts[place + 1 :] if len(parts) > 1 else parts


@_parts
def repeat_part(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(len(parts))
    return parts[:place] + parts[place : place + 1] * random.choice((2, 2, 3, 50)) + parts[place + 1 :]


@_parts
def swap_parts(parts: list[Part], random: Random, _: Others) -> list[Part]:
    parts = parts.copy()
    one, other = random.randrange(len(parts)), random.randrange(len(parts))
    parts[one], parts[other] = parts[other], parts[one]
    return parts


@_parts
def change_part(parts: list[Part], random: Random, others: Others) -> list[Part]:
    place = random.randrange(len(parts))
    part = changed(parts[place], body_of(parts[place].body, random, others))
    return [*parts[:place], part, *parts[place + 1 :]]


@_parts
def lie_about_length(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(len(parts))
    lie = random.choice((-4, -1, 1, 2, 4, 100, 2**16, 2**31, -len(parts[place].body)))
    return [*parts[:place], Part(parts[place].name, parts[place].body, lie), *parts[place + 1 :]]


@_parts
def rename_part(parts: list[Part], random: Random, _: Others) -> list[Part]:
    one, other = random.choice(parts), random.choice(parts)
    return [Part(other.name, part.body, part.lie) if part is one else part for part in parts]


@_parts
def empty_part(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(len(parts))
    return [*parts[:place], changed(parts[place], b""), *parts[place + 1 :]]


def take_part(film: bytes, random: Random, others: Others) -> bytes:
    """Insert a part of another image of the same format."""
    grammar = grammars.of(film)
    assert grammar is not None
    alike = [each for each in others if type(grammars.of(each)) is type(grammar)]
    parts = grammar.split(film)
    other = random.choice(alike or [film])
    taken = random.choice((grammars.of(other) or grammar).split(other))
    place = random.randrange(1, len(parts) + 1)
    return grammar.join([*parts[:place], taken, *parts[place:]])


PARTS = (drop_part, repeat_part, swap_parts, change_part, change_part, change_part, lie_about_length, rename_part,
         empty_part, take_part)  # fmt: skip


# PNG


@_parts
def change_stream(parts: list[Part], random: Random, others: Others) -> list[Part]:
    """Change the compressed data, filters included, or its compression level."""
    for place, part in enumerate(parts):
        if part.name == b"IDAT":
            try:
                stream = zlib.decompressobj().decompress(part.body, 2**20)
            except zlib.error:
                return parts
            body = zlib.compress(body_of(stream, random, others), random.randrange(10))
            return [*parts[:place], changed(part, body), *parts[place + 1 :]]
    return parts


@_parts
def lie_in_header(parts: list[Part], random: Random, _: Others) -> list[Part]:
    def lie(body: bytes) -> bytes:
        place = random.choice((0, 4, 8, 9, 10, 11, 12))
        if place < 8:
            return _set(body, place, struct.pack(">I", random.choice(NUMBERS)))
        return _set(body, place, bytes([random.choice((0, 1, 2, 3, 4, 5, 6, 8, 16, 32, 255))]))

    return [changed(part, lie(part.body)) if part.name == b"IHDR" else part for part in parts]


CHUNKS = (
    (b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", struct.pack(">IIIIIHHBB", 0, 9999, 9999, 0, 0, 1, 1, 0, 0)),
    (b"fdAT", bytes(4)), (b"tRNS", bytes(6)), (b"PLTE", bytes(9)), (b"gAMA", bytes(4)), (b"cHRM", bytes(32)),
    (b"iCCP", b"p\0\0" + zlib.compress(bytes(200))), (b"zTXt", b"t\0\0" + zlib.compress(bytes(9999))),
    (b"iTXt", b"t\0\1\0\0\0" + zlib.compress(bytes(9999))), (b"eXIf", b"II*\0\x08\0\0\0\xff\xff"), (b"sBIT", b"\xff"),
    (b"pHYs", bytes(9)), (b"tIME", b"\xff" * 7), (b"bKGD", bytes(2)), (b"hIST", bytes(512)), (b"IEND", b""),
)  # fmt: skip


@_parts
def add_chunk(parts: list[Part], random: Random, _: Others) -> list[Part]:
    place = random.randrange(1, len(parts) + 1)
    return [*parts[:place], Part(*random.choice(CHUNKS)), *parts[place:]]


PNG = (change_stream, change_stream, lie_in_header, lie_in_header, add_chunk)


# DICOM

ELEMENTS = (
    (0x0028, 0x0010, b"US"), (0x0028, 0x0011, b"US"), (0x0028, 0x0002, b"US"), (0x0028, 0x0004, b"CS"),
    (0x0028, 0x0006, b"US"), (0x0028, 0x0008, b"IS"), (0x0028, 0x0100, b"US"), (0x0028, 0x0101, b"US"),
    (0x0028, 0x0102, b"US"), (0x0028, 0x0103, b"US"), (0x0028, 0x0120, b"US"), (0x0028, 0x0121, b"US"),
    (0x0028, 0x1050, b"DS"), (0x0028, 0x1051, b"DS"), (0x0028, 0x1052, b"DS"), (0x0028, 0x1053, b"DS"),
    (0x0028, 0x1056, b"CS"), (0x0028, 0x0030, b"DS"), (0x0018, 0x1164, b"DS"), (0x0020, 0x0020, b"CS"),
    (0x0028, 0x3000, b"SQ"), (0x0028, 0x3010, b"SQ"), (0x0008, 0x0005, b"CS"), (0x7FE0, 0x0001, b"OV"),
    (0x7FE0, 0x0002, b"OV"), (0x7FE0, 0x0008, b"OF"), (0x7FE0, 0x0009, b"OD"), (0x0028, 0x1101, b"US"),
    (0x6000, 0x3000, b"OW"), (0x0009, 0x0010, b"LO"), (0x0002, 0x0000, b"UL"), (0x0002, 0x0010, b"UI"),
)  # fmt: skip
"""Elements that decoding reads, and a private one."""

VALUES = (b"MONOCHROME1 ", b"MONOCHROME2 ", b"RGB ", b"YBR_FULL", b"YBR_FULL_422", b"1\\2\\3 ", b"1e308 ", b"-1", b"0 ",
          b"nan ", b"inf ", b"SIGMOID ", b"LINEAR_EXACT", b"ISO 2022 IR 87\\ISO_IR 192", b"\\" * 40, b"R\\F ", b"",
          ITEM + b"\xff\xff\xff\xff", grammars.ITEM + bytes(4))  # fmt: skip

KINDS = (
    b"OB",
    b"OW",
    b"SQ",
    b"UN",
    b"US",
    b"SS",
    b"DS",
    b"IS",
    b"CS",
    b"LO",
    b"UI",
    b"FL",
    b"UT",
    b"AT",
    b"ZZ",
    b"\0\0",
)


@_parts
def set_element(parts: list[Part], random: Random, _: Others) -> list[Part]:
    group, element, kind = random.choice(ELEMENTS)
    order = ">" if any(part.name[:4] == b"\x7f\xe0\0\x10" for part in parts) else "<"
    name = struct.pack("<HH" if group == 2 else f"{order}HH", group, element) + kind
    if kind == b"US":
        body = struct.pack(f"{order}H", random.choice(NUMBERS) % 65536) * random.choice((1, 1, 1, 3))
    elif kind == b"UI":
        body = random.choice(TRANSFER_SYNTAXES).encode()
        body += b"\0" * (len(body) % 2)
    else:
        body = random.choice(VALUES)
    kept = [part for part in parts if part.name[:4] != name[:4]]
    place = next((at for at, part in enumerate(kept[1:], 1) if part.name > name), len(kept))
    return [*kept[:place], Part(name, body), *kept[place:]]


@_parts
def change_kind(parts: list[Part], random: Random, _: Others) -> list[Part]:
    one, kind = random.choice(parts), random.choice(KINDS)
    return [Part(part.name[:4] + kind, part.body, part.lie) if part is one else part for part in parts]


@_parts
def change_picture(parts: list[Part], random: Random, others: Others) -> list[Part]:
    """Change fragments, or segments of the stream in them."""
    for place, part in enumerate(parts):
        if part.name[:4] in (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10"):
            items = Fragments().split(part.body)
            if len(items) < 3 or random.random() < 0.2:
                return [*parts[:place], changed(part, body_of(part.body, random, others)), *parts[place + 1 :]]
            if random.random() < 0.3:
                way = random.choice((_shuffled, _with_lie, _broken_up))
                items = way(items, random)
            else:
                items[1] = Part(items[1].name, change_segment(items[1].body, random, others))
            return [*parts[:place], changed(part, Fragments().join(items)), *parts[place + 1 :]]
    return parts


def _shuffled(items: list[Part], random: Random) -> list[Part]:
    return random.choices(items, k=len(items) + random.randrange(3))


def _with_lie(items: list[Part], random: Random) -> list[Part]:
    place = random.randrange(len(items))
    return [
        *items[:place],
        Part(items[place].name, items[place].body, random.choice((-2, 2, 2**31))),
        *items[place + 1 :],
    ]


def _broken_up(items: list[Part], random: Random) -> list[Part]:
    whole, width = items[1].body, random.choice((1, 2, 50, 1000))
    pieces = [Part(items[1].name, whole[start : start + width]) for start in range(0, min(len(whole), 4000), width)]
    return [items[0], *pieces, *items[2:]]


def change_segment(stream: bytes, random: Random, others: Others) -> bytes:
    """Change a segment of a JPEG-family stream; corrupt any other stream at random."""
    parts = Segments().split(stream)
    if len(parts) < 4 or random.random() < 0.2:
        return body_of(stream, random, others)
    place = random.randrange(len(parts))
    part = changed(parts[place], body_of(parts[place].body, random, others))
    pieces = random.choice(([part], [part], [part], [], [part, part], [part] * 300))
    return Segments().join([*parts[:place], *pieces, *parts[place + 1 :]])


@_parts
def nest(parts: list[Part], random: Random, _: Others) -> list[Part]:
    """Insert nested sequences."""
    body = b"".join([b"\x08\0\x18\x22SQ\0\0\xff\xff\xff\xff" + ITEM] * random.choice((1, 10, 400)))
    place = random.randrange(1, len(parts) + 1)
    return [*parts[:place], Part(b"", body), *parts[place:]]


DICOM = (*PARTS, set_element, set_element, set_element, set_element, change_kind, change_picture, change_picture,
         change_picture, change_picture, nest)  # fmt: skip


# TIFF and BMP, which work by offsets

TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339,
        347, 513, 514, 530, 32997, 34675, 50839, 65000)  # fmt: skip


def _directories(film: bytes) -> tuple[str, list[int], int, list[int]]:
    """Return byte order, positions of entries, the entry size, and positions of directory offsets."""
    order = "<" if film.startswith(b"II") else ">"
    large = film[2:4] in (b"+\0", b"\0+")
    entry, count, offset, link = (20, "Q", "Q", 8) if large else (12, "H", "I", 4)
    entries, links = [], [link]
    while len(links) < 5 and links[-1] + struct.calcsize(offset) <= len(film):
        (start,) = struct.unpack_from(order + offset, film, links[-1])
        if not start or start + 8 > len(film):
            break
        (number,) = struct.unpack_from(order + count, film, start)
        start += struct.calcsize(count)
        entries += [start + entry * each for each in range(min(number, 40))]
        links.append(start + entry * number)
    return order, [each for each in entries if each + entry <= len(film)], entry, links


def change_entry(film: bytes, random: Random, _: Others) -> bytes:
    order, entries, entry, _links = _directories(film)
    if not entries:
        return flip_bit(film, random, ())
    place, large = random.choice(entries), entry == 20
    way = random.randrange(6)
    if way == 0:
        return _set(film, place, struct.pack(f"{order}H", random.choice(TAGS)))
    if way == 1:
        return _set(film, place + 2, struct.pack(f"{order}H", random.choice((*range(20), 65535))))
    number = random.choice((*NUMBERS, len(film), len(film) - 4, random.randrange(len(film))))
    if way == 2:
        return _set(film, place + 4, struct.pack(order + ("Q" if large else "I"), number))
    if way == 3:
        return _set(film, place + (12 if large else 8), struct.pack(order + ("Q" if large else "I"), number))
    if way == 4:
        return _set(film, place + (12 if large else 8), struct.pack(f"{order}H", number % 65536))
    other = random.choice(entries)
    return _set(film, place, film[other : other + entry])


def change_array(film: bytes, random: Random, _: Others) -> bytes:
    """Change a number that an entry points at: offsets and lengths of strips, bit depths, colours."""
    order, entries, entry, _links = _directories(film)
    form, skip = ("Q", 12) if entry == 20 else ("I", 8)
    places = [struct.unpack_from(order + form, film, each + skip)[0] for each in entries]
    places = [each for each in places if each + 8 < len(film)]
    if not places:
        return set_number(film, random, ())
    place = random.choice(places) + random.choice((0, 2, 4))
    return _set(film, place, struct.pack(order + random.choice("HI"), random.choice(NUMBERS) % 65536))


def change_link(film: bytes, random: Random, _: Others) -> bytes:
    """Change the offset of the next directory, possibly to a loop."""
    order, _entries, entry, links = _directories(film)
    number = random.choice((0, 8, 16, 2**31, len(film) - 2, random.randrange(len(film) + 1)))
    return _set(film, random.choice(links), struct.pack(order + ("Q" if entry == 20 else "I"), number))


def change_strip(film: bytes, random: Random, others: Others) -> bytes:
    """Change a segment of a JPEG inside a TIFF."""
    start = film.find(b"\xff\xd8\xff")
    if start < 0:
        return set_bytes(film, random, ())
    end = film.find(b"\xff\xd9", start) + 2
    return _set(film, start, change_segment(film[start:end], random, others)[: end - start])


TIFF = (change_entry, change_entry, change_entry, change_array, change_link, change_strip)


def change_bmp_header(film: bytes, random: Random, _: Others) -> bytes:
    place, form = random.choice(((2, "I"), (10, "I"), (14, "I"), (18, "i"), (22, "i"), (26, "H"), (28, "H"), (30, "I"),
                                 (34, "I"), (46, "I"), (50, "I")))  # fmt: skip
    number = random.choice((*NUMBERS, 4, 24, 32, 2**32 - 80)) % (65536 if form == "H" else 2**32)
    return _set(film, place, struct.pack("<" + form.upper(), number))


BMP = (change_bmp_header,)
