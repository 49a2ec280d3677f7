"""The results of a DICOM node's queue: from a file on the disk to an object in the destination."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from lungseg.pacs.queue_database import QueueDatabase

COLUMNS = "image, key, format, class_uid, instance_uid, result.tries, result.state"


@dataclass(frozen=True)
class QueuedResult:
    """A result that waits to be sent.

    Attributes:
        number: the id of its image.
        key: names the files of its image.
        format_name: of `lungseg.encode.formats.FORMATS`.
        class_uid, instance_uid: of the DICOM object.
        tries: how often the destination refused it.
        is_unsure: whether the destination may have it already.
    """

    number: int
    key: str
    format_name: str
    class_uid: str
    instance_uid: str
    tries: int
    is_unsure: bool


class ResultQueue:
    """What happens to results."""

    def __init__(self, database: QueueDatabase) -> None:
        self._database = database

    def claim_results(self, limit: int) -> list[QueuedResult]:
        """Return results that are due, oldest first, marked as being sent."""
        return self._claim(limit, ("waiting", "unsure"), "sending")

    def claim_stored(self, limit: int) -> list[QueuedResult]:
        """Return results that were stored and wait for a request of commitment. They stay as they are."""
        return self._claim(limit, ("stored",), "stored")

    def release_results(self, results: Iterable[QueuedResult]) -> None:
        """Queue results that were not sent, without using up a try."""
        for each in results:
            self._update(each, "unsure" if each.is_unsure else "waiting")

    def refuse_result(
        self, result: QueuedResult, reason: str, seconds: float, max_tries: int, is_unsure: bool = False
    ) -> bool:
        """Count a failed try of a result; return whether it is now a dead letter.

        Args:
            result: it.
            reason: a code.
            seconds: the pause before the next try.
            max_tries: after which it is a dead letter.
            is_unsure: whether the destination may have it in spite of that.
        """
        is_dead = result.tries + 1 >= max_tries
        state = "dead" if is_dead else "unsure" if is_unsure else "waiting"
        self._update(result, state, reason, seconds, tries=1)
        return is_dead

    def store_result(self, result: QueuedResult, needs_commit: bool) -> bool:
        """Record that the destination has a result; return whether that was all its image needed."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE result SET state = ?, reason = '', due = 0, tries = 0 WHERE image = ? AND format = ?",
                ("stored" if needs_commit else "done", result.number, result.format_name),
            )
            finish = (
                "UPDATE image SET state = 'done', changed = ? WHERE id = ? AND state = 'segmented' "
                "AND NOT EXISTS (SELECT 1 FROM result WHERE image = image.id AND state != 'done')"
            )
            return rows.execute(finish, (time.time(), result.number)).rowcount == 1

    def ask_commitment(self, results: Iterable[QueuedResult], request: str, seconds: float) -> None:
        """Record a request of commitment before it is sent; without a report in so many seconds, it is repeated."""
        due = time.time() + seconds
        with self._database.transaction() as rows:
            rows.executemany(
                "UPDATE result SET state = 'asked', request = ?, due = ? WHERE image = ? AND format = ?",
                [(request, due, each.number, each.format_name) for each in results],
            )

    def read_request(self, request: str) -> list[QueuedResult]:
        """Return the results that a request of commitment named and that were not reported yet."""
        query = (
            f"SELECT {COLUMNS} FROM result JOIN image ON image.id = image WHERE request = ? AND result.state = 'asked'"
        )
        return [_queued_result(row) for row in self._database.read_rows(query, request)]

    def overdue_results(self) -> list[QueuedResult]:
        """Return results whose commitment was not reported in time."""
        query = (
            f"SELECT {COLUMNS} FROM result JOIN image ON image.id = image WHERE result.state = 'asked' "
            "AND result.due <= ? ORDER BY image LIMIT 100"
        )
        return [_queued_result(row) for row in self._database.read_rows(query, time.time())]

    def repeat_request(self, result: QueuedResult, reason: str, seconds: float, max_tries: int) -> bool:
        """Count a try of a result that is stored and not committed; return whether it is now a dead letter."""
        is_dead = result.tries + 1 >= max_tries
        self._update(result, "dead" if is_dead else "stored", reason, seconds, tries=1)
        return is_dead

    def _claim(self, limit: int, states: Collection[str], state: str) -> list[QueuedResult]:
        marks = ", ".join("?" for _ in states)
        with self._database.transaction() as rows:
            query = (
                f"SELECT {COLUMNS} FROM result JOIN image ON image.id = image WHERE result.state IN ({marks}) "
                "AND result.due <= ? ORDER BY image LIMIT ?"
            )
            found = [_queued_result(row) for row in rows.execute(query, (*states, time.time(), limit)).fetchall()]
            rows.executemany(
                "UPDATE result SET state = ? WHERE image = ? AND format = ?",
                [(state, each.number, each.format_name) for each in found],
            )
        return found

    def _update(self, result: QueuedResult, state: str, reason: str = "", seconds: float = 0, tries: int = 0) -> None:
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE result SET state = ?, reason = ?, due = ?, tries = tries + ? WHERE image = ? AND format = ?",
                (state, reason, time.time() + seconds, tries, result.number, result.format_name),
            )


def _queued_result(row: Collection[object]) -> QueuedResult:
    number, key, format_name, class_uid, instance_uid, tries, state = row
    return QueuedResult(
        int(str(number)),
        str(key),
        str(format_name),
        str(class_uid),
        str(instance_uid),
        int(str(tries)),
        state == "unsure",
    )
