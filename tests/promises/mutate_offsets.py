"""Ways to corrupt a TIFF or a BMP, whose numbers say where the rest is."""

from __future__ import annotations

import struct
from random import Random

from mutate_bytes import EDGE_NUMBERS, Others, flip_bit, overwrite, set_bytes, set_number
from mutate_dicom import change_segment

TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339,
        347, 513, 514, 530, 32997, 34675, 50839, 65000)  # fmt: skip


def _directories(image: bytes) -> tuple[str, list[int], int, list[int]]:
    """Return byte order, positions of entries, the entry size, and positions of directory offsets."""
    order = "<" if image.startswith(b"II") else ">"
    large = image[2:4] in (b"+\0", b"\0+")
    entry, count, offset, link = (20, "Q", "Q", 8) if large else (12, "H", "I", 4)
    entries, links = [], [link]
    while len(links) < 5 and links[-1] + struct.calcsize(offset) <= len(image):
        (start,) = struct.unpack_from(order + offset, image, links[-1])
        if not start or start + 8 > len(image):
            break
        (number,) = struct.unpack_from(order + count, image, start)
        start += struct.calcsize(count)
        entries += [start + entry * each for each in range(min(number, 40))]
        links.append(start + entry * number)
    return order, [each for each in entries if each + entry <= len(image)], entry, links


def change_entry(image: bytes, random: Random, _: Others) -> bytes:
    order, entries, entry, _links = _directories(image)
    if not entries:
        return flip_bit(image, random, ())
    place, large = random.choice(entries), entry == 20
    way = random.randrange(6)
    if way == 0:
        return overwrite(image, place, struct.pack(f"{order}H", random.choice(TAGS)))
    if way == 1:
        return overwrite(image, place + 2, struct.pack(f"{order}H", random.choice((*range(20), 65535))))
    number = random.choice((*EDGE_NUMBERS, len(image), len(image) - 4, random.randrange(len(image))))
    if way == 2:
        return overwrite(image, place + 4, struct.pack(order + ("Q" if large else "I"), number))
    if way == 3:
        return overwrite(image, place + (12 if large else 8), struct.pack(order + ("Q" if large else "I"), number))
    if way == 4:
        return overwrite(image, place + (12 if large else 8), struct.pack(f"{order}H", number % 65536))
    other = random.choice(entries)
    return overwrite(image, place, image[other : other + entry])


def change_array(image: bytes, random: Random, _: Others) -> bytes:
    """Change a number that an entry points at: offsets and lengths of strips, bit depths, colours."""
    order, entries, entry, _links = _directories(image)
    form, skip = ("Q", 12) if entry == 20 else ("I", 8)
    places = [struct.unpack_from(order + form, image, each + skip)[0] for each in entries]
    places = [each for each in places if each + 8 < len(image)]
    if not places:
        return set_number(image, random, ())
    place = random.choice(places) + random.choice((0, 2, 4))
    return overwrite(image, place, struct.pack(order + random.choice("HI"), random.choice(EDGE_NUMBERS) % 65536))


def change_link(image: bytes, random: Random, _: Others) -> bytes:
    """Change the offset of the next directory, possibly to a loop."""
    order, _entries, entry, links = _directories(image)
    number = random.choice((0, 8, 16, 2**31, len(image) - 2, random.randrange(len(image) + 1)))
    return overwrite(image, random.choice(links), struct.pack(order + ("Q" if entry == 20 else "I"), number))


def change_strip(image: bytes, random: Random, others: Others) -> bytes:
    """Change a segment of a JPEG inside a TIFF."""
    start = image.find(b"\xff\xd8\xff")
    if start < 0:
        return set_bytes(image, random, ())
    end = image.find(b"\xff\xd9", start) + 2
    return overwrite(image, start, change_segment(image[start:end], random, others)[: end - start])


TIFF_WAYS = (change_entry, change_entry, change_entry, change_array, change_link, change_strip)


def change_bmp_header(image: bytes, random: Random, _: Others) -> bytes:
    place, form = random.choice(((2, "I"), (10, "I"), (14, "I"), (18, "i"), (22, "i"), (26, "H"), (28, "H"), (30, "I"),
                                 (34, "I"), (46, "I"), (50, "I")))  # fmt: skip
    number = random.choice((*EDGE_NUMBERS, 4, 24, 32, 2**32 - 80)) % (65536 if form == "H" else 2**32)
    return overwrite(image, place, struct.pack("<" + form.upper(), number))


BMP_WAYS = (change_bmp_header,)
