"""A run over a folder: what an earlier one has done is left alone, the rest goes to the workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from lungseg.batch.entry import Entry, FileMark
from lungseg.batch.manifest import Manifest, append_entry
from lungseg.batch.process import BatchSpec, FileSnapshot, ImageTask, is_done, plan_task
from lungseg.batch.stop import StopSignal
from lungseg.batch.worker_pool import WorkerPool
from lungseg.encode.naming import ERROR_SUFFIX

OnEntry = Callable[[Entry, bool], None]


class Scheduler:
    """Images to outputs, in one folder of outputs.

    Attributes:
        stop: ends it when asked to.
    """

    def __init__(
        self, order: BatchSpec, manifest: Manifest, workers: WorkerPool, stop: StopSignal, again: bool
    ) -> None:
        """Args: ``again`` is whether images are done although an earlier run has done them."""
        self._order, self._manifest, self._workers = order, manifest, workers
        self._again = again
        self._unwritten: dict[str, Entry] = {}
        """Images that failed without a problem document: on a full disk the manifest has no line on them either."""
        self.stop = stop

    def films(self, films: Iterable[str], seen: OnEntry) -> None:
        """Do them, or find that they are done.

        Args:
            images: paths relative to the folder of images.
            seen: is told of each image's entry, and whether it is of an earlier run.

        Raises:
            ModelError: the workers cannot start.
        """
        self._manifest.refresh()
        for entry in self._workers.run(self._tasks(films, seen)):
            self._unwritten.pop(entry.path, None)
            if entry.problem and ERROR_SUFFIX not in entry.outputs:
                self._unwritten[entry.path] = entry
            seen(entry, False)

    def entries(self, films: Iterable[str]) -> Iterator[Entry]:
        """What is known of those images that have been done, or have failed, as this run would do them."""
        self._manifest.refresh()
        for film in films:
            entry = self._unwritten.get(film) or self._manifest.find(film)
            if entry is not None and entry.recipe == self._order.recipe:
                yield entry

    def _tasks(self, films: Iterable[str], seen: OnEntry) -> Iterator[ImageTask]:
        for film in films:
            if self.stop.is_requested:
                return
            entry, found = self._manifest.find(film), FileSnapshot.of(self._order.source / film)
            if entry is not None and not self._again and is_done(entry, self._order):
                self._keep_mark(entry, found)
                seen(entry, True)
            else:
                yield plan_task(film, entry, self._order, self._again)

    def _keep_mark(self, entry: Entry, found: FileSnapshot) -> None:
        """Write down the new mark of an image that was copied or moved, so that its bytes are not read each time.

        Args:
            entry: its bytes are the image's.
            found: its mark from before these were compared; if it has another one by now, they may be another file's.
        """
        fresh = not entry.settled or found.mark != entry.mark
        if found.settled and fresh and FileMark.of(self._order.source / entry.path) == found.mark:
            with contextlib.suppress(OSError):
                append_entry(self._order.target, replace(entry, mark=found.mark, settled=True))
