"""A pool of worker processes. If one dies, only the image that it was processing is affected.

A pool of the standard library breaks as a whole when one of its processes dies, and does not say which task it was
processing. Pebble's pool does, but is LGPL-licensed, and can neither retry an image alone nor pass on the lock.
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
from lungseg.batch.file_mark import FileSnapshot
from lungseg.batch.plan import BatchSpec, ImageTask
from lungseg.batch.process import process_task, record_failure
from lungseg.model.models import load_models
from lungseg.model.session import thread_count

TASK_STARTED = "started"
"""Sent by a worker that starts a task."""

COULD_NOT_START = "A worker process could not start: memory is short, or a model was replaced. Try fewer --workers."

DEFAULT_TIMEOUT = 600
"""Seconds for one image: the largest takes 36 of one processor in all formats, and machines may be slow or busy."""

START_TIMEOUT = 120
"""Seconds until a new worker starts its first image, at least: it loads the models first."""

END_PATIENCE = 5
"""Seconds for an idle or killed worker to end. One that waits for a dead network share cannot even be killed."""

# Spawned, not forked: onnxruntime's threads do not survive a fork.
_spawn = multiprocessing.get_context("spawn")


class WorkerPool:
    """Up to ``count`` processes, started when they are needed. They share the cores."""

    def __init__(self, spec: BatchSpec, count: int, locks: tuple[int, ...], timeout: float = DEFAULT_TIMEOUT) -> None:
        """Prepare the pool; no process is started yet.

        Args:
            spec: what to produce.
            count: number of processes.
            locks: locked files, which the processes keep open until they end.
            timeout: seconds after which a process that works on one image is killed.
        """
        self._timeout = timeout
        self._spec = spec
        self._count = count
        self._locks = locks
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, ImageTask] = {}

    def run(self, tasks: Iterator[ImageTask]) -> Iterator[Entry]:
        """Do every task.

        Yields:
            The images' entries, in the order in which they are finished.

        Raises:
            ModelError: a process ended before it was ready for its first image.
        """
        lost = []
        for task, entry in self._run_round(tasks, self._count):
            if entry is None:
                lost.append(task)
            else:
                yield entry
        # Several large images at a time may have needed too much memory: retry each lost one, one at a time.
        for task, entry in self._run_round(iter(lost), 1):
            if entry is None:
                killed = errors.InternalError("The process segmenting this image was killed, or took too long.")
                yield record_failure(task, self._spec, killed, FileSnapshot.take(self._spec.source / task.path))
            else:
                yield entry

    def close(self) -> None:
        """End all processes. Images that are being processed are abandoned."""
        for worker in self._busy:
            worker.kill()
        for worker in self._idle:
            worker.end()
        self._busy, self._idle = {}, []

    def _run_round(self, tasks: Iterator[ImageTask], count: int) -> Iterator[tuple[ImageTask, Entry | None]]:
        """Yield each task with its entry, or None if the process died while it worked on it."""
        while True:
            while len(self._busy) < count and (task := next(tasks, None)) is not None:
                worker = self._idle.pop() if self._idle else self._start_worker()
                worker.send(task)
                self._busy[worker] = task
            if not self._busy:
                return
            first_deadline = min(worker.deadline(self._timeout) for worker in self._busy)
            connections = [worker.connection for worker in self._busy]
            ready = _wait_for_answers(connections, first_deadline)
            for worker in list(self._busy):
                if worker.deadline(self._timeout) <= time.monotonic() and worker.connection not in ready:
                    worker.kill()
                    yield self._busy.pop(worker), None
            for worker in [worker for worker in self._busy if worker.connection in ready]:
                try:
                    answer = worker.connection.recv()
                except (EOFError, OSError):
                    worker.kill()
                    task = self._busy.pop(worker)
                    if worker.started_tasks == worker.sent_tasks:
                        yield task, None
                    elif worker.started_tasks:  # it died while it was idle
                        tasks = chain([task], tasks)
                    else:
                        raise errors.ModelError(COULD_NOT_START) from None
                    continue
                if answer == TASK_STARTED:
                    worker.started_tasks += 1
                    worker.busy_since = time.monotonic()
                else:
                    self._idle.append(worker)
                    yield self._busy.pop(worker), answer

    def _start_worker(self) -> _Worker:
        return _Worker(self._spec, max(1, thread_count() // self._count), self._locks)


class _Worker:
    """One process and the connection to it. The process ends when the other side of the connection is closed.

    Attributes:
        busy_since: when the last task was sent or started, by time.monotonic().
        sent_tasks: number of tasks sent to it.
        started_tasks: number of those that it has started.
    """

    def __init__(self, spec: BatchSpec, threads: int, locks: tuple[int, ...]) -> None:
        self.sent_tasks = self.started_tasks = 0
        self.busy_since = time.monotonic()
        self.connection, theirs = _spawn.Pipe()
        files = tuple(map(_InheritedFile, locks))
        self._process = _spawn.Process(target=_serve_tasks, args=(theirs, spec, threads, files))
        with _signals_blocked():
            self._process.start()
        theirs.close()

    def send(self, task: ImageTask) -> None:
        """Send a task. A process that has died is noticed when its answer is read."""
        self.sent_tasks += 1
        self.busy_since = time.monotonic()
        with contextlib.suppress(OSError):
            self.connection.send(task)

    def deadline(self, timeout: float) -> float:
        """Return when the answer is due, by time.monotonic(). A started task has ``timeout`` seconds."""
        return self.busy_since + (timeout if self.started_tasks == self.sent_tasks else max(timeout, START_TIMEOUT))

    def end(self) -> None:
        """Let the process end by itself."""
        self.connection.close()
        self._process.join(END_PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End the process now."""
        self.connection.close()
        self._process.kill()
        self._process.join(END_PATIENCE)


class _InheritedFile:
    """An open file as an argument of a process, which then has it open too. Not on Windows: a lock is not inherited."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Any, ...]]:
        if sys.platform == "win32":
            return int, ()
        return _detach, (reduction.DupFd(self._number),)


def _wait_for_answers(connections: list[Connection], deadline: float) -> list[Any]:
    """Return the connections that have an answer, or are closed; [] at the deadline, by time.monotonic()."""
    try:
        return wait(connections, max(0.0, deadline - time.monotonic()))
    except InterruptedError:  # Ctrl-C on Windows, after its handler has run
        return []


def _detach(file: Any) -> int:
    return int(file.detach())


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM. A process that is started meanwhile never receives them."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # if started later, it would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_with(sentinel: int) -> None:
    """End this process when another one ends: nobody else would end it if its image takes forever.

    It may end at any moment: either the manifest's line or an output is missing, or they are complete
    (`process_task`).
    """
    wait([sentinel])
    os._exit(1)


def _serve_tasks(connection: Connection, spec: BatchSpec, threads: int, locks: tuple[int, ...]) -> None:
    """Process images until the connection is closed or the parent process is gone. Runs in the worker process."""
    del locks  # held while they are open
    if sys.platform == "win32":  # where Ctrl-C interrupts every process of the console, and no mask can delay it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ[settings.THREADS.name] = str(threads)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()
    # The parent notices any end of this process. The text of an exception may quote an image, so print none.
    with contextlib.suppress(Exception):
        if load_models().digests != spec.models:
            return  # replaced since the run began: the manifest would name the wrong model
        while True:
            task = connection.recv()
            connection.send(TASK_STARTED)
            connection.send(process_task(task, spec))
