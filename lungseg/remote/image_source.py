"""An image on its way: where its bytes are, and how much of it has gone."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from lungseg import limits
from lungseg.errors import Unreadable

CHUNK = 2**16


@dataclass(frozen=True)
class ImageSource:
    """An image that can be read again for every attempt to send it.

    Attributes:
        source: its file, or its bytes where it came from a pipe.
        size: in bytes.
    """

    source: Path | bytes
    size: int

    @classmethod
    def of(cls, source: Path | bytes) -> ImageSource:
        """An image, by its size alone.

        Raises:
            TooLarge, EmptyBody, Unreadable.
        """
        try:
            size = len(source) if isinstance(source, bytes) else _size(source)
        except OSError as error:
            raise Unreadable(f"The file cannot be read ({error.strerror}).") from None
        limits.check_bytes(size)
        return cls(source, size)

    def open(self) -> BinaryIO:
        """The image from its beginning.

        Raises:
            Unreadable.
        """
        try:
            return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")
        except OSError as error:
            raise Unreadable(f"The file cannot be read ({error.strerror}).") from None


def _size(path: Path) -> int:
    if path.exists() and not path.is_file():  # to open a pipe waits for somebody who writes to it
        raise OSError(0, "it is no file")
    with path.open("rb") as file:  # and not its name: may it be read at all?
        return os.fstat(file.fileno()).st_size


class ProgressReader:
    """A file that moves a bar as it is read, as the HTTP library reads it: whole, in pieces, from its beginning."""

    def __init__(self, image: ImageSource, bar: tqdm[Any]) -> None:
        self._image, self._bar = image, bar
        self._file = image.open()

    def __enter__(self) -> ProgressReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(CHUNK):
            yield piece

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        piece = self._file.read(count)
        self._bar.update(len(piece))
        return piece

    def tell(self) -> int:
        """Where the next bytes come from."""
        return self._file.tell()

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Read on from somewhere else."""
        return self._file.seek(place, whence)


def progress_bar(what: str, total: int | None, unit: str = "B", shown: bool = True) -> tqdm[Any]:
    """A progress bar on standard error, if that is a terminal; it goes when it is done."""
    return tqdm(
        desc=what,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        unit_divisor=1024,
        leave=False,
        disable=not shown or sys.stderr is None or not sys.stderr.isatty(),
    )
