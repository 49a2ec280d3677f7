"""Ways to corrupt an image that ignore its format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

Others = Sequence[bytes]
"""Images to take parts from."""

Way = Callable[[bytes, Random, Others], bytes]

EDGE_NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 17, 63, 64, 65, 127, 128, 255, 256, 257, 4095, 16384, 32767, 32768, 65535,
                65536, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)  # fmt: skip
"""Numbers at which counters overflow, limits apply and signs change."""

HEADER_BYTES = 400
"""Most random changes hit the first bytes, because they decide how the rest is read."""


def random_place(image: bytes, random: Random) -> int:
    return random.randrange(min(HEADER_BYTES, len(image)) if random.random() < 0.75 else len(image)) if image else 0


def overwrite(image: bytes, place: int, new: bytes) -> bytes:
    return image[:place] + new + image[place + len(new) :]


def flip_bit(image: bytes, random: Random, _: Others) -> bytes:
    place = random_place(image, random)
    return overwrite(image, place, bytes([image[place] ^ 1 << random.randrange(8)])) if image else image


def set_bytes(image: bytes, random: Random, _: Others) -> bytes:
    return overwrite(image, random_place(image, random), random.randbytes(random.choice((1, 1, 2, 4, 16))))


def set_number(image: bytes, random: Random, _: Others) -> bytes:
    width, number = random.choice((1, 2, 4, 8)), random.choice(EDGE_NUMBERS)
    new = (number % (1 << 8 * width)).to_bytes(width, random.choice(("little", "big")))
    return overwrite(image, random_place(image, random), new)


def cut(image: bytes, random: Random, _: Others) -> bytes:
    return image[: random_place(image, random)]


def drop(image: bytes, random: Random, _: Others) -> bytes:
    place = random_place(image, random)
    return image[:place] + image[place + random.choice((1, 2, 4, 100)) :]


def repeat(image: bytes, random: Random, _: Others) -> bytes:
    place = random_place(image, random)
    block = image[place : place + random.choice((1, 4, 12, 100))]
    return image[:place] + block * random.choice((2, 2, 3, 200)) + image[place + len(block) :]


def move(image: bytes, random: Random, _: Others) -> bytes:
    start, length = random_place(image, random), random.choice((2, 4, 12, 100))
    return overwrite(image, random_place(image, random), image[start : start + length])


def splice(image: bytes, random: Random, others: Others) -> bytes:
    """Join the start of one image and the end of another."""
    other = random.choice(others)
    return image[: random_place(image, random)] + other[random_place(other, random) :]


BLIND = (flip_bit, flip_bit, set_bytes, set_number, set_number, cut, drop, repeat, move, splice)


def corrupt_body(body: bytes, random: Random, others: Others) -> bytes:
    """Corrupt the content of a part, ignoring its format."""
    return random.choice(BLIND)(body, random, others)
