"""Skip the tests of the DICOM node where its packages are not installed; build its parts without its threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom", reason="the DICOM node needs lungseg[dicom-net]")
pytest.importorskip("prometheus_client", reason="the DICOM node needs lungseg[dicom-net]")

from lungseg.pacs.image_queue import ImageQueue
from lungseg.pacs.node_config import NodeConfig, RemoteNode
from lungseg.pacs.node_metrics import NodeMetrics
from lungseg.pacs.node_parts import NodeParts
from lungseg.pacs.queue_database import QueueDatabase
from lungseg.pacs.queue_report import read_report
from lungseg.pacs.result_queue import ResultQueue
from lungseg.pacs.spool import NodeSpool

NOWHERE = RemoteNode("PACS", "127.0.0.1", 1)


@pytest.fixture
def make_parts(tmp_path: Path) -> Iterator[Callable[..., NodeParts]]:
    """Return a function that opens a queue in one folder, as a node does; its arguments are a config's."""
    opened: list[QueueDatabase] = []

    def make(**choices: Any) -> NodeParts:
        config = NodeConfig(tmp_path / "queue", **({"destination": NOWHERE, "port": 0, "min_free_bytes": 1} | choices))
        spool = NodeSpool(config.folder)
        database = QueueDatabase(spool.database)
        opened.append(database)
        metrics = NodeMetrics(lambda: read_report(database))
        return NodeParts(config, "recipe", spool, database, ImageQueue(database), ResultQueue(database), metrics)

    yield make
    for each in opened:
        each.close()
