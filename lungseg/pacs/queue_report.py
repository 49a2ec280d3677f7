"""What a DICOM node's queue holds, for people and programs; and how dead letters are queued again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from lungseg.pacs.queue_database import QueueDatabase


@dataclass(frozen=True)
class DeadLetter:
    """An image, or a result of it, that the node gave up on.

    Attributes:
        number: the image's id.
        format_name: the result's; empty for the image itself.
        reason: a stable code.
        tries: how often it was tried.
    """

    number: int
    format_name: str
    reason: str
    tries: int

    def line(self) -> str:
        """Return it as a line of text."""
        tries = "1 try" if self.tries == 1 else f"{self.tries} tries"
        return f"  {self.number:<8} {self.format_name or 'image':<12} {self.reason}, {tries}"


@dataclass(frozen=True)
class QueueReport:
    """The state of a queue.

    Attributes:
        images: the number of images by state.
        results: the number of results by state.
        left_alone: the number of images for which nothing is sent, by reason.
        oldest_seconds: how long ago the oldest image arrived that is neither done nor dead; None if there is none.
        dead_letters: oldest first.
    """

    images: dict[str, int]
    results: dict[str, int]
    left_alone: dict[str, int]
    oldest_seconds: float | None
    dead_letters: list[DeadLetter]

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "images": self.images,
            "results": self.results,
            "left_alone": self.left_alone,
            "oldest_seconds": self.oldest_seconds,
            "dead_letters": [
                {"id": each.number, "format": each.format_name or None, "reason": each.reason, "tries": each.tries}
                for each in self.dead_letters
            ],
        }

    def lines(self) -> list[str]:
        """Return it as text."""
        age = "" if self.oldest_seconds is None else f"; the oldest arrived {_duration(self.oldest_seconds)} ago"
        counts = {"images": self.images, "results": self.results, "left alone": self.left_alone}
        lines = [
            f"{name}: {', '.join(f'{count:,} {state}' for state, count in found.items()) or 'none'}"
            for name, found in counts.items()
        ]
        lines[0] += age
        lines.append(f"dead letters: {len(self.dead_letters):,}")
        lines += [each.line() for each in self.dead_letters]
        return lines


def read_report(database: QueueDatabase) -> QueueReport:
    """Return the state of a queue."""
    oldest = "SELECT MIN(received) FROM image WHERE state IN ('waiting', 'working', 'segmented')"
    received = database.read_number(oldest)
    dead = (
        "SELECT id, '', reason, tries FROM image WHERE state = 'dead' UNION ALL "
        "SELECT image, format, reason, tries FROM result WHERE state = 'dead' ORDER BY 1, 2"
    )
    return QueueReport(
        images=_counts(database, "SELECT state, COUNT(*) FROM image GROUP BY state ORDER BY state"),
        results=_counts(database, "SELECT state, COUNT(*) FROM result GROUP BY state ORDER BY state"),
        left_alone=_counts(
            database,
            "SELECT reason, COUNT(*) FROM image WHERE state = 'done' AND reason != '' GROUP BY reason ORDER BY reason",
        ),
        oldest_seconds=max(0.0, time.time() - received) if received else None,
        dead_letters=[
            DeadLetter(int(str(number)), str(name), str(reason), int(str(tries)))
            for number, name, reason, tries in database.read_rows(dead)
        ],
    )


def revive_letters(database: QueueDatabase, number: int | None = None) -> int:
    """Queue dead letters again, as if they had never been tried.

    Args:
        number: the id of an image; None for all.

    Returns:
        The number of images and results queued.
    """
    only_image, only_result, values = ("", "", ()) if number is None else (" AND id = ?", " AND image = ?", (number,))
    with database.transaction() as rows:
        images = rows.execute(
            f"UPDATE image SET state = 'waiting', tries = 0, due = 0 WHERE state = 'dead'{only_image}", values
        )
        # The destination may have stored one that it did not confirm.
        results = rows.execute(
            f"UPDATE result SET state = 'unsure', tries = 0, due = 0 WHERE state = 'dead'{only_result}", values
        )
        return images.rowcount + results.rowcount


def _counts(database: QueueDatabase, query: str) -> dict[str, int]:
    return {str(name): int(str(count)) for name, count in database.read_rows(query)}


def _duration(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for name, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {name}"
    return f"{seconds:.0f} seconds"
