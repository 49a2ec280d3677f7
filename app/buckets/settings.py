"""What the functions are told by their environment."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

from lungseg.encode.formats import FORMATS

DOCUMENT = "json"
"""The form that is written of every film, and last: where it lies, all the others do."""


class Misconfigured(Exception):
    """The environment lacks something or contradicts itself. Only the operator can mend it."""


@dataclass(frozen=True)
class Settings:
    """The environment, read and checked.

    Attributes:
        films: the bucket that films are dropped into.
        outputs: the bucket of masks; never the same one, or each mask would be taken for the next film.
        formats: names of FORMATS to write of each film besides the JSON document.
        url_seconds: how long presigned addresses hold.
    """

    films: str
    outputs: str
    formats: tuple[str, ...]
    url_seconds: int


def configured() -> bool:
    """Whether buckets are named at all: a local server has none."""
    return bool(os.environ.get("LUNG_INPUT_BUCKET") or os.environ.get("LUNG_OUTPUT_BUCKET"))


@functools.cache
def settings() -> Settings:
    """LUNG_INPUT_BUCKET, LUNG_OUTPUT_BUCKET, LUNG_FORMATS ("mask") and LUNG_UPLOAD_SECONDS ("900").

    Raises:
        Misconfigured.
    """
    films, outputs = os.environ.get("LUNG_INPUT_BUCKET", ""), os.environ.get("LUNG_OUTPUT_BUCKET", "")
    if not films or not outputs:
        raise Misconfigured("LUNG_INPUT_BUCKET and LUNG_OUTPUT_BUCKET must name the buckets of films and of masks.")
    if films == outputs:
        raise Misconfigured("LUNG_INPUT_BUCKET and LUNG_OUTPUT_BUCKET must differ: masks would be taken for films.")
    formats = os.environ.get("LUNG_FORMATS", "mask").split()
    if not set(formats) <= set(FORMATS):
        raise Misconfigured(f"LUNG_FORMATS may name {', '.join(FORMATS)}, separated by spaces.")
    seconds = os.environ.get("LUNG_UPLOAD_SECONDS", "900")
    if not seconds.isdecimal() or not 1 <= int(seconds) <= 43_200:
        raise Misconfigured("LUNG_UPLOAD_SECONDS must be a whole number from 1 to 43200.")
    return Settings(films, outputs, tuple(name for name in formats if name != DOCUMENT), int(seconds))
