"""Processes that do tasks side by side; one that dies takes no more than its own image with it.

A pool of the standard library is lost as a whole when one of its processes dies, and does not say over which task.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from multiprocessing import reduction, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from lungseg import errors, settings
from lungseg.batch.entry import Entry
from lungseg.batch.process import BatchSpec, FileSnapshot, ImageTask, process_image, record_failure
from lungseg.model.lung import load_lung
from lungseg.model.session import thread_count
from lungseg.model.view import load_view

TASK_STARTED = "taken"
"""A worker's answer to a task that it begins."""

COULD_NOT_START = "A worker process could not start: memory is short, or a model was replaced. Try fewer --workers."

DEFAULT_TIMEOUT = 600
"""Seconds for one image: the largest takes 36 of one processor in all formats, and machines may be slow or busy."""

START_TIMEOUT = 120
"""Seconds until a new worker begins its first image, at least: it loads the models first."""

PATIENCE = 5
"""Seconds that an idle worker has to end in, and a killed one: one that waits for a dead share cannot even die."""

# Spawned, not forked: onnxruntime's threads do not survive a fork.
_spawn = multiprocessing.get_context("spawn")


class WorkerPool:
    """Up to ``count`` processes, started as they are needed; they share the cores."""

    def __init__(self, order: BatchSpec, count: int, lock: int, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Prepare; nothing is started yet.

        Args:
            order: what to make.
            count: of processes.
            lock: a locked file, which the processes keep open as long as they are.
            timeout: seconds after which the process over an image is killed.
        """
        self._timeout = timeout
        self._order = order
        self._count = count
        self._lock = lock
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, ImageTask] = {}

    def run(self, tasks: Iterator[ImageTask]) -> Iterator[Entry]:
        """Do every task.

        Yields:
            The images' entries, as they are finished.

        Raises:
            ModelError: a process ended before it was ready for its first image.
        """
        doubtful = []
        for task, entry in self._round(tasks, self._count):
            if entry is None:
                doubtful.append(task)
            else:
                yield entry
        # Several large images at a time may have been too much for the memory: each that was lost is tried once more,
        # alone.
        for task, entry in self._round(iter(doubtful), 1):
            if entry is None:
                killed = errors.InternalError("The process segmenting this image was killed, or took too long.")
                yield record_failure(task, self._order, killed, FileSnapshot.of(self._order.source / task.path))
            else:
                yield entry

    def close(self) -> None:
        """End all processes; an image that one has in work is given up."""
        for worker in self._busy:
            worker.kill()
        for worker in self._idle:
            worker.end()
        self._busy, self._idle = {}, []

    def _round(self, tasks: Iterator[ImageTask], count: int) -> Iterator[tuple[ImageTask, Entry | None]]:
        """Each task with its entry, or None if the process died over it."""
        while True:
            while len(self._busy) < count and (task := next(tasks, None)) is not None:
                worker = self._idle.pop() if self._idle else self._start()
                worker.give(task)
                self._busy[worker] = task
            if not self._busy:
                return
            first = min(worker.deadline(self._timeout) for worker in self._busy)
            heard = wait([worker.connection for worker in self._busy], max(0.0, first - time.monotonic()))
            for worker in list(self._busy):
                if worker.deadline(self._timeout) <= time.monotonic() and worker.connection not in heard:
                    worker.kill()
                    yield self._busy.pop(worker), None
            for worker in [worker for worker in self._busy if worker.connection in heard]:
                try:
                    answer = worker.connection.recv()
                except (EOFError, OSError):
                    worker.kill()
                    task = self._busy.pop(worker)
                    if worker.taken == worker.given:
                        yield task, None
                    elif worker.taken:  # it died while it had nothing to do
                        tasks = chain([task], tasks)
                    else:
                        raise errors.ModelError(COULD_NOT_START) from None
                    continue
                if answer == TASK_STARTED:
                    worker.taken += 1
                    worker.began = time.monotonic()
                else:
                    self._idle.append(worker)
                    yield self._busy.pop(worker), answer

    def _start(self) -> _Worker:
        return _Worker(self._order, max(1, thread_count() // self._count), self._lock)


class _Worker:
    """One process, and the connection to it, which it ends by when its other side is closed or gone.

    Attributes:
        began: when the last task was given or taken, by time.monotonic().
        given: tasks handed to it.
        taken: those of them that it has begun.
    """

    def __init__(self, order: BatchSpec, threads: int, lock: int) -> None:
        self.given = self.taken = 0
        self.began = time.monotonic()
        self.connection, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(theirs, order, threads, _Inherited(lock)))
        with _signals_held():
            self._process.start()
        theirs.close()

    def give(self, task: ImageTask) -> None:
        """Hand over a task; a process that has died meanwhile is noticed when its answer is read."""
        self.given += 1
        self.began = time.monotonic()
        with contextlib.suppress(OSError):
            self.connection.send(task)

    def deadline(self, timeout: float) -> float:
        """Return when its answer is due, by time.monotonic(); a task that it has taken has ``timeout`` seconds."""
        return self.began + (timeout if self.taken == self.given else max(timeout, START_TIMEOUT))

    def end(self) -> None:
        """Let it end by itself."""
        self.connection.close()
        self._process.join(PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End it now."""
        self.connection.close()
        self._process.kill()
        self._process.join(PATIENCE)


class _Inherited:
    """An open file as a process's argument, which has it open then too; not on Windows, where there is no lock."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Any, ...]]:
        if sys.platform == "win32":
            return int, ()
        return _opened, (reduction.DupFd(self._number),)


def _opened(file: Any) -> int:
    return int(file.detach())


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait meanwhile, and never reach a process that is started meanwhile."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # started later, it would let them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(sentinel: int) -> None:
    """End this process as soon as another one has: nobody is left to end it over an image that takes for ever.

    It may end at any moment: the manifest's line and an output are not there, or they are whole (`process_image`).
    """
    wait([sentinel])
    os._exit(1)


def _serve(connection: Connection, order: BatchSpec, threads: int, lock: int) -> None:
    """What a worker does until the connection is closed, or the process at its other end is gone."""
    del lock  # held by being open
    os.environ[settings.THREADS.name] = str(threads)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    # Whatever ends it, the other side notices; an exception's text may quote an image.
    with contextlib.suppress(Exception):
        if (load_lung().sha256, load_view().sha256) != order.models:
            return  # replaced since the run began: its outputs would be another model's than the manifest says
        while True:
            task = connection.recv()
            connection.send(TASK_STARTED)
            connection.send(process_image(task, order))
