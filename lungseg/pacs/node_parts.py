"""What the threads of a DICOM node share."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from lungseg import errors
from lungseg.pacs.image_queue import ImageQueue
from lungseg.pacs.node_config import NodeConfig
from lungseg.pacs.node_metrics import NodeMetrics
from lungseg.pacs.queue_database import QueueDatabase
from lungseg.pacs.result_queue import ResultQueue
from lungseg.pacs.spool import NodeSpool

node_log = logging.getLogger("lungseg.pacs")
"""Lines of counts, codes, durations and ids of the queue: nothing from an image or its header."""

FIRST_PAUSE, MAX_PAUSE = 1.0, 300.0
"""Seconds before the second try, and the longest; each pause is twice as long as the previous one."""

IDLE_SECONDS = 1.0
"""How long a thread without anything to do waits, unless its bell rings: another process may queue dead letters."""

TROUBLE_SECONDS = 5.0
"""How long a thread waits after an error of its own, such as a full disk."""


@dataclass
class NodeParts:
    """The parts of one node.

    Attributes:
        config: its choices.
        recipe: the digest of what decides the results of an image besides the image.
        spool, images, results, database, metrics: as their classes say.
        stop: set when the node should end.
        image_bell, result_bell: set when an image, or a result, was queued.
    """

    config: NodeConfig
    recipe: str
    spool: NodeSpool
    database: QueueDatabase
    images: ImageQueue
    results: ResultQueue
    metrics: NodeMetrics
    stop: threading.Event = field(default_factory=threading.Event)
    image_bell: threading.Event = field(default_factory=threading.Event)
    result_bell: threading.Event = field(default_factory=threading.Event)

    def request_stop(self) -> None:
        """Let every thread end after what it is doing."""
        self.stop.set()
        self.image_bell.set()
        self.result_bell.set()

    def repeat_step(self, step: Callable[[], bool], bell: threading.Event) -> None:
        """Do one thread's step again and again until the node stops; its errors are logged, and it goes on.

        Args:
            step: returns False if there was nothing to do.
            bell: ends the wait for something to do.
        """
        while not self.stop.is_set():
            try:
                if not step():
                    bell.wait(IDLE_SECONDS)
                    bell.clear()
            except (OSError, sqlite3.Error) as error:
                node_log.error("the queue cannot be written (%s)", type(error).__name__)
                self.stop.wait(TROUBLE_SECONDS)
            except Exception as error:  # its text may quote the image
                node_log.error("unexpected %s in %s", type(error).__name__, errors.raised_at(error))
                self.stop.wait(TROUBLE_SECONDS)


def retry_pause(tries: int) -> float:
    """Return the seconds to wait after so many failed tries; half of them are random."""
    longest = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(tries - 1, 16))
    return random.uniform(longest / 2, longest)
