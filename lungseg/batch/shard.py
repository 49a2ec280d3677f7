"""One of several parts of a batch (--shard I/N), so that the machines of a cluster share a folder of images."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

SHARD_PATTERN = re.compile(r"([0-9]{1,6})/([0-9]{1,6})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """Shard ``number`` of ``count``, from 1. Every image is in exactly one of the shards 1 to ``count``."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse I/N.

        Raises:
            ValueError: it is not two whole numbers, 1 <= I <= N.
        """
        match = SHARD_PATTERN.fullmatch(text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(text)
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def label(self) -> str:
        """The shard as a part of a file name."""
        return f"{self.number}-of-{self.count}"

    def has_image(self, path: str) -> bool:
        """Return whether an image is in this shard. That depends on its path alone, so it stays when others arrive.

        Args:
            path: relative to the folder of images, with slashes. The same on every machine and system.
        """
        digest = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    def report_path(self, path: Path) -> Path:
        """Return where this shard writes a report: run.json becomes run.2-of-8.json, so that no shard overwrites it.

        A device or a pipe stays what it is; so does /dev/stdout, whatever it is redirected to.
        """
        if path.is_relative_to("/dev") or (path.exists() and not path.is_file()):
            return path
        return path.with_name(f"{path.stem}.{self.label}{path.suffix}")
