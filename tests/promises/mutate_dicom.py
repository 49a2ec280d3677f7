"""Ways to corrupt a DICOM image, and a stream of the JPEG family."""

from __future__ import annotations

import struct
from random import Random

from grammars import ITEM, Fragments, Part, Segments, changed
from mutate_bytes import EDGE_NUMBERS, Others, corrupt_body
from mutate_parts import PARTS, changing_parts

from lungseg.decode.transfer_syntaxes import TRANSFER_SYNTAXES

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
          ITEM + b"\xff\xff\xff\xff", ITEM + bytes(4))  # fmt: skip

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


@changing_parts
def set_element(parts: list[Part], random: Random, _: Others) -> list[Part]:
    group, element, kind = random.choice(ELEMENTS)
    order = ">" if any(part.name[:4] == b"\x7f\xe0\0\x10" for part in parts) else "<"
    name = struct.pack("<HH" if group == 2 else f"{order}HH", group, element) + kind
    if kind == b"US":
        body = struct.pack(f"{order}H", random.choice(EDGE_NUMBERS) % 65536) * random.choice((1, 1, 1, 3))
    elif kind == b"UI":
        body = random.choice(TRANSFER_SYNTAXES).encode()
        body += b"\0" * (len(body) % 2)
    else:
        body = random.choice(VALUES)
    kept = [part for part in parts if part.name[:4] != name[:4]]
    place = next((at for at, part in enumerate(kept[1:], 1) if part.name > name), len(kept))
    return [*kept[:place], Part(name, body), *kept[place:]]


@changing_parts
def change_kind(parts: list[Part], random: Random, _: Others) -> list[Part]:
    one, kind = random.choice(parts), random.choice(KINDS)
    return [Part(part.name[:4] + kind, part.body, part.lie) if part is one else part for part in parts]


@changing_parts
def change_picture(parts: list[Part], random: Random, others: Others) -> list[Part]:
    """Change fragments, or segments of the stream in them."""
    for place, part in enumerate(parts):
        if part.name[:4] in (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10"):
            items = Fragments().split(part.body)
            if len(items) < 3 or random.random() < 0.2:
                return [*parts[:place], changed(part, corrupt_body(part.body, random, others)), *parts[place + 1 :]]
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
        return corrupt_body(stream, random, others)
    place = random.randrange(len(parts))
    part = changed(parts[place], corrupt_body(parts[place].body, random, others))
    pieces = random.choice(([part], [part], [part], [], [part, part], [part] * 300))
    return Segments().join([*parts[:place], *pieces, *parts[place + 1 :]])


@changing_parts
def nest(parts: list[Part], random: Random, _: Others) -> list[Part]:
    """Insert nested sequences."""
    body = b"".join([b"\x08\0\x18\x22SQ\0\0\xff\xff\xff\xff" + ITEM] * random.choice((1, 10, 400)))
    place = random.randrange(1, len(parts) + 1)
    return [*parts[:place], Part(b"", body), *parts[place:]]


DICOM_WAYS = (*PARTS, set_element, set_element, set_element, set_element, change_kind, change_picture, change_picture,
         change_picture, change_picture, nest)  # fmt: skip
