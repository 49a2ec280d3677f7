"""A process that segments the images of a DICOM node: if one kills it, or takes forever, the node goes on."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from pydicom import dcmread

from lungseg import errors, settings
from lungseg.decode.dataset import read_dicom
from lungseg.encode.formats import encode_each
from lungseg.model.models import load_models
from lungseg.pacs.canonical_file import read_canonical_file
from lungseg.pacs.image_queue import MadeResult
from lungseg.pacs.screening import reason_to_leave
from lungseg.pacs.spool import NodeSpool, write_durably
from lungseg.pipeline.reasons import Decision
from lungseg.pipeline.segment import segment

START_SECONDS = 120
"""Longest start of a process, which loads the models, besides the time for its first image."""

END_SECONDS = 5
"""Longest end of an idle or killed process."""

# Spawned, not forked: the node has threads, and onnxruntime's do not survive a fork.
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class ImageOrder:
    """An image to segment.

    Attributes:
        folder: of the spool.
        key: names the image's files.
        formats: output formats to write.
        sends_rejected: whether to write them although the verdict is reject.
    """

    folder: Path
    key: str
    formats: tuple[str, ...]
    sends_rejected: bool


@dataclass(frozen=True)
class ImageOutcome:
    """What became of an image; one of the first three is set.

    Attributes:
        results: what was written.
        left_alone: why nothing is sent, a code: the image will never give another result.
        failure: why it was not segmented, a code: another try may succeed.
        decision: of the verdict; empty without one.
        seconds: the time it took.
    """

    results: tuple[MadeResult, ...] = ()
    left_alone: str = ""
    failure: str = ""
    decision: str = ""
    seconds: float = field(default=0.0, compare=False)


class SegmentProcess:
    """One process, started when it is needed."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def segment_image(self, order: ImageOrder, seconds: float) -> ImageOutcome:
        """Segment an image in at most so many seconds. Never raises for what the image does to the process."""
        started = time.monotonic()
        if self._connection is None:
            self._start()
            seconds += START_SECONDS
        assert self._connection is not None
        try:
            self._connection.send(order)
            if not self._connection.poll(seconds):
                self.end()
                return ImageOutcome(failure="timed-out", seconds=time.monotonic() - started)
            outcome = self._connection.recv()
        except (OSError, EOFError):
            self.end()
            return ImageOutcome(failure="process-died", seconds=time.monotonic() - started)
        assert isinstance(outcome, ImageOutcome)
        return outcome

    def end(self) -> None:
        """End the process now."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join(END_SECONDS)
        self._process = self._connection = None

    def _start(self) -> None:
        self._connection, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve_orders, args=(theirs, self._threads), daemon=True)
        self._process.start()
        theirs.close()


def make_results(order: ImageOrder) -> ImageOutcome:
    """Segment one image of the spool and write its results. Never raises."""
    started = time.monotonic()
    spool = NodeSpool(order.folder)
    try:
        outcome = _make_results(order, spool)
    except errors.ServiceError as error:
        outcome = ImageOutcome(failure=error.code)
    except errors.ProblemError as error:
        outcome = ImageOutcome(left_alone=error.code)
    except errors.ModelError:
        outcome = ImageOutcome(failure="model-unavailable")
    except MemoryError:
        outcome = ImageOutcome(failure="out-of-memory")
    except OSError:
        outcome = ImageOutcome(failure="disk-error")
    except Exception:  # its text may quote the image
        outcome = ImageOutcome(failure="internal-error")
    seconds = time.monotonic() - started
    return ImageOutcome(outcome.results, outcome.left_alone, outcome.failure, outcome.decision, seconds)


def _make_results(order: ImageOrder, spool: NodeSpool) -> ImageOutcome:
    data = read_canonical_file(spool.image_path(order.key))
    try:
        header = read_dicom(data)
    except errors.ProblemError:
        raise
    except Exception:  # pydicom raises anything for a damaged data set
        return ImageOutcome(left_alone=errors.DamagedImage.code)
    if reason := reason_to_leave(header):
        return ImageOutcome(left_alone=reason)
    del header
    result = segment(data)
    decision = result.verdict.decision
    if decision == Decision.REJECT and not order.sends_rejected:
        return ImageOutcome(left_alone=f"rejected-{result.verdict.reasons[0].code}", decision=decision)
    contents, problems = encode_each(result, order.formats)
    if not contents:
        return ImageOutcome(left_alone=next(iter(problems.values())).code, decision=decision)
    for name, content in contents.items():
        write_durably(spool.result_path(order.key, name), content)
    return ImageOutcome(tuple(_made_results(contents.items())), decision=decision)


def _made_results(contents: Iterable[tuple[str, bytes]]) -> Iterable[MadeResult]:
    for name, content in contents:
        header = dcmread(io.BytesIO(content), specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
        yield MadeResult(name, str(header.SOPClassUID), str(header.SOPInstanceUID))


def _serve_orders(connection: Connection, threads: int) -> None:
    """Segment images until the connection is closed or the node is gone. Runs in the process."""
    os.environ[settings.THREADS.name] = str(threads)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with_node, args=(parent.sentinel,), daemon=True).start()
    # The node notices any end of this process. The text of an exception may quote an image, so print none.
    with contextlib.suppress(Exception):
        load_models()
        while True:
            connection.send(make_results(connection.recv()))


def _end_with_node(sentinel: int) -> None:
    """End this process with the node: nobody else would end it if its image takes forever."""
    wait([sentinel])
    os._exit(1)
