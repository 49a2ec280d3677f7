"""The images of a DICOM node's queue."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from lungseg.pacs.queue_database import QueueDatabase


@dataclass(frozen=True)
class QueuedImage:
    """An image that is being segmented.

    Attributes:
        number: its id, which `lungseg pacs status` prints.
        key: the digest of its content and of the recipe, which names its files.
        tries: how often it was tried, this time included.
    """

    number: int
    key: str
    tries: int


@dataclass(frozen=True)
class MadeResult:
    """An output of an image, on the disk.

    Attributes:
        format_name: of `lungseg.encode.formats.FORMATS`.
        class_uid, instance_uid: of the DICOM object.
    """

    format_name: str
    class_uid: str
    instance_uid: str


class ImageQueue:
    """What happens to images until their results are made."""

    def __init__(self, database: QueueDatabase) -> None:
        self._database = database

    def has_image(self, key: str) -> bool:
        """Return whether the image was received before."""
        return bool(self._database.read_rows("SELECT 1 FROM image WHERE key = ?", key))

    def add_image(self, key: str) -> bool:
        """Queue an image whose file is on the disk; return False if it was queued before.

        Raises:
            sqlite3.Error: it is not queued.
        """
        now = time.time()
        with self._database.transaction() as rows:
            insert = "INSERT OR IGNORE INTO image (key, state, received, changed) VALUES (?, 'waiting', ?, ?)"
            return rows.execute(insert, (key, now, now)).rowcount == 1

    def count_open(self) -> int:
        """Return the images that are neither done nor dead."""
        query = "SELECT COUNT(*) FROM image WHERE state IN ('waiting', 'working', 'segmented')"
        return int(self._database.read_number(query))

    def needed_keys(self) -> set[str]:
        """Return the keys of images whose files are still needed."""
        return {str(key) for (key,) in self._database.read_rows("SELECT key FROM image WHERE state != 'done'")}

    def claim_image(self) -> QueuedImage | None:
        """Return the image that has waited longest, marked as being segmented; None if none is due."""
        now = time.time()
        with self._database.transaction() as rows:
            query = "SELECT id, key, tries FROM image WHERE state = 'waiting' AND due <= ? ORDER BY id LIMIT 1"
            found = rows.execute(query, (now,)).fetchone()
            if found is None:
                return None
            number, key, tries = found
            update = "UPDATE image SET state = 'working', tries = tries + 1, changed = ? WHERE id = ?"
            rows.execute(update, (now, number))
            return QueuedImage(number, key, tries + 1)

    def release_image(self, image: QueuedImage) -> None:
        """Queue an image as if it had not been claimed."""
        with self._database.transaction() as rows:
            rows.execute("UPDATE image SET state = 'waiting', tries = tries - 1 WHERE id = ?", (image.number,))

    def leave_alone(self, image: QueuedImage, reason: str) -> None:
        """Record that nothing is sent for an image."""
        self._set_state(image, "done", reason)

    def add_results(self, image: QueuedImage, results: Iterable[MadeResult]) -> None:
        """Queue the results of an image, which are on the disk."""
        now = time.time()
        with self._database.transaction() as rows:
            rows.executemany(
                "INSERT OR REPLACE INTO result (image, format, class_uid, instance_uid, state) "
                "VALUES (?, ?, ?, ?, 'waiting')",
                [(image.number, each.format_name, each.class_uid, each.instance_uid) for each in results],
            )
            rows.execute(
                "UPDATE image SET state = 'segmented', reason = '', changed = ? WHERE id = ?", (now, image.number)
            )

    def postpone_image(self, image: QueuedImage, reason: str, seconds: float) -> None:
        """Try an image again after some time."""
        with self._database.transaction() as rows:
            update = "UPDATE image SET state = 'waiting', reason = ?, due = ? WHERE id = ?"
            rows.execute(update, (reason, time.time() + seconds, image.number))

    def bury_image(self, image: QueuedImage, reason: str) -> None:
        """Give up on an image until `lungseg pacs retry`."""
        self._set_state(image, "dead", reason)

    def _set_state(self, image: QueuedImage, state: str, reason: str) -> None:
        with self._database.transaction() as rows:
            update = "UPDATE image SET state = ?, reason = ?, changed = ? WHERE id = ?"
            rows.execute(update, (state, reason, time.time(), image.number))
