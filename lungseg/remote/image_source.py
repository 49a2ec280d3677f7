"""The image to upload: a file or bytes, read anew for every attempt, with a progress bar."""

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

CHUNK_BYTES = 2**16


@dataclass(frozen=True)
class ImageSource:
    """An image that can be read again for every attempt to send it.

    Attributes:
        source: its path, or its bytes if it came from a pipe.
        size: in bytes.
    """

    source: Path | bytes
    size: int

    @classmethod
    def of(cls, source: Path | bytes) -> ImageSource:
        """Check the size of an image without reading it.

        Raises:
            TooLarge, EmptyBody, Unreadable.
        """
        try:
            size = len(source) if isinstance(source, bytes) else _file_size(source)
        except OSError as error:
            raise Unreadable(f"The file cannot be read ({error.strerror}).") from None
        limits.check_bytes(size)
        return cls(source, size)

    def open(self) -> BinaryIO:
        """Open the image at its beginning.

        Raises:
            Unreadable.
        """
        try:
            return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")
        except OSError as error:
            raise Unreadable(f"The file cannot be read ({error.strerror}).") from None


class ProgressReader:
    """A file object that advances a progress bar. httpx2 reads it whole or in chunks, and rewinds it."""

    def __init__(self, image: ImageSource, bar: tqdm[Any]) -> None:
        self._bar = bar
        self._file = image.open()

    def __enter__(self) -> ProgressReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_BYTES):
            yield chunk

    def read(self, count: int = -1) -> bytes:
        """Read the next bytes."""
        chunk = self._file.read(count)
        self._bar.update(len(chunk))
        return chunk

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Change the position."""
        return self._file.seek(offset, whence)


def progress_bar(title: str, total: int | None, unit: str = "B", is_shown: bool = True) -> tqdm[Any]:
    """Return a progress bar on standard error, if that is a terminal; it disappears when it is done."""
    return tqdm(
        desc=title,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        unit_divisor=1024,
        leave=False,
        disable=not is_shown or sys.stderr is None or not sys.stderr.isatty(),
    )


def _file_size(path: Path) -> int:
    if path.exists() and not path.is_file():  # opening a named pipe would block until somebody writes to it
        raise OSError(0, "it is not a regular file")
    with path.open("rb") as file:  # opened, so that a file without read permission fails here
        return os.fstat(file.fileno()).st_size
