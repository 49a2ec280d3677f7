"""Models' files changed as no tool of this project changes them: another card, or none, and sealed all the same."""

from __future__ import annotations

import json
from typing import Any

from lungseg.model import checksum
from lungseg.model.card import METADATA_KEY


def card_of(model: bytes) -> dict[str, Any]:
    """The card in a sealed file."""
    entry = model[_card_starts(model) : -checksum.LENGTH]
    card: dict[str, Any] = json.loads(entry[entry.index(b"{") :])
    return card


def with_card(model: bytes, card: object) -> bytes:
    """A sealed file with another card.

    Args:
        model: the file.
        card: an object for JSON, or bytes as they are; None for no card at all.
    """
    content = model[: _card_starts(model)]
    if card is not None:
        text = card if isinstance(card, bytes) else json.dumps(card).encode()
        content += _field(14, _field(1, METADATA_KEY.encode()) + _field(2, text))
    return checksum.sealed(content)


def _card_starts(model: bytes) -> int:
    """Where the metadata entry of the card begins: it is the last thing before the seal."""
    content = model[: -checksum.LENGTH]
    key = content.rindex(_field(1, METADATA_KEY.encode()))
    entry = _field(14, content[key:])
    assert content.endswith(entry)
    return len(content) - len(entry)


def _field(number: int, value: bytes) -> bytes:
    """A field of protobuf."""
    length, rest = bytearray(), len(value)
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes([number << 3 | 2, *length, rest]) + value
