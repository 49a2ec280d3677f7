"""The database of a DICOM node's queue: SQLite, on the disk before each transaction returns. It names no patient.

States of an image: waiting, working, segmented, done, dead.

States of a result: waiting, sending, unsure, stored, asked, done, dead. It is unsure if it was being sent when the node
or the connection broke, so that the peer may have it; it is asked if storage commitment was requested for it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DATABASE_NAME = "queue.sqlite"

SCHEMA = """
CREATE TABLE IF NOT EXISTS image (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    received REAL NOT NULL,
    changed REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS image_state ON image (state, due);
CREATE TABLE IF NOT EXISTS result (
    image INTEGER NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    format TEXT NOT NULL,
    class_uid TEXT NOT NULL,
    instance_uid TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    request TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (image, format)
);
CREATE INDEX IF NOT EXISTS result_state ON result (state, due);
CREATE INDEX IF NOT EXISTS result_request ON result (request);
"""

BUSY_SECONDS = 30
"""How long a statement waits for another process, such as `lungseg pacs retry`."""


class QueueDatabase:
    """One connection, which the threads of a process share."""

    def __init__(self, path: Path) -> None:
        """Open the database, and create it if it does not exist.

        Raises:
            sqlite3.Error.
        """
        self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._guard = threading.RLock()
        with self._guard:
            self._connection.execute("PRAGMA journal_mode = WAL")
            # WAL with NORMAL loses the last transactions when the power fails.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection within a transaction, which is on the disk at the end of the block.

        Raises:
            sqlite3.Error: nothing was changed.
        """
        with self._guard:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def read_rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with self._guard:
            return self._connection.execute(query, values).fetchall()

    def read_number(self, query: str, *values: object) -> float:
        """Return the only value of a query; 0 for none."""
        ((value,),) = self.read_rows(query, *values)
        return float(value) if isinstance(value, int | float) else 0.0

    def recover(self, max_tries: int) -> int:
        """Queue what a node that was killed was working on; return the number of images and results.

        An image that was being segmented has used up a try: it may be what killed the node. Commitment is asked for
        again, as the report may have come while the node was down.
        """
        with self.transaction() as rows:
            rows.execute(
                "UPDATE image SET state = 'dead', reason = 'interrupted' WHERE state = 'working' AND tries >= ?",
                (max_tries,),
            )
            images = rows.execute("UPDATE image SET state = 'waiting', due = 0 WHERE state = 'working'").rowcount
            results = rows.execute("UPDATE result SET state = 'unsure', due = 0 WHERE state = 'sending'").rowcount
            requests = rows.execute("UPDATE result SET state = 'stored', due = 0 WHERE state = 'asked'").rowcount
        return images + results + requests

    def prune(self, seconds: float) -> int:
        """Forget images that were done so many seconds ago; return their number. They are segmented if sent again."""
        with self.transaction() as rows:
            before = time.time() - seconds
            return rows.execute("DELETE FROM image WHERE state = 'done' AND changed < ?", (before,)).rowcount

    def close(self) -> None:
        """Close the connection."""
        with self._guard:
            self._connection.close()
