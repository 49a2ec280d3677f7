"""Skip the images that an earlier run has processed, and pass the others to the workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from lungseg.batch.entry import Entry, Failure
from lungseg.batch.file_mark import FileMark, FileSnapshot
from lungseg.batch.manifest import Manifest
from lungseg.batch.manifest_file import append_entry
from lungseg.batch.plan import BatchSpec, ImageTask, is_current, is_done, plan_task
from lungseg.batch.stop import StopSignal
from lungseg.batch.worker_pool import WorkerPool
from lungseg.encode.naming import ERROR_SUFFIX

OnEntry = Callable[[Entry, bool], None]
"""Called with each image's entry, and whether an earlier run processed the image."""


class Scheduler:
    """Process images into one output folder."""

    def __init__(self, spec: BatchSpec, manifest: Manifest, workers: WorkerPool, stop: StopSignal, force: bool) -> None:
        """Args: ``force`` is whether to process images that an earlier run has processed."""
        self._spec, self._manifest, self._workers, self._stop = spec, manifest, workers, stop
        self._force = force
        self._unwritten: dict[str, Entry] = {}
        """Images that failed and have no problem document. On a full disk they have no line in the manifest either."""

    def process(self, images: Iterable[str], on_entry: OnEntry) -> None:
        """Process images, or find that they are done.

        Args:
            images: paths relative to the folder of images.
            on_entry: called for each image.

        Raises:
            ModelError: the workers cannot start.
        """
        self._manifest.refresh()
        for entry in self._workers.run(self._plan(images, on_entry)):
            self._unwritten.pop(entry.path, None)
            if isinstance(entry.outcome, Failure) and ERROR_SUFFIX not in entry.outputs:
                self._unwritten[entry.path] = entry
            on_entry(entry, False)

    def entries(self, images: Iterable[str]) -> Iterator[Entry]:
        """Yield the entries of those images that have been processed as this run would do it, or have failed."""
        self._manifest.refresh()
        for image in images:
            entry = self._unwritten.get(image) or self._manifest.find(image)
            if entry is not None and is_current(entry, self._spec):
                yield entry

    def _plan(self, images: Iterable[str], on_entry: OnEntry) -> Iterator[ImageTask]:
        for image in images:
            if self._stop.is_requested:
                return
            entry, snapshot = self._manifest.find(image), FileSnapshot.take(self._spec.source / image)
            if entry is not None and not self._force and is_done(entry, self._spec):
                self._save_mark(entry, snapshot)
                on_entry(entry, True)
            else:
                yield plan_task(image, entry, self._spec, self._force)

    def _save_mark(self, entry: Entry, snapshot: FileSnapshot) -> None:
        """Save the new mark of an image that was copied or moved, so that its bytes are not read in every run.

        Args:
            entry: its digest is that of the image's bytes.
            snapshot: taken before they were compared. If the mark has changed since, they may be another file's.
        """
        is_new = not entry.settled or snapshot.mark != entry.mark
        if snapshot.settled and is_new and FileMark.read(self._spec.source / entry.path) == snapshot.mark:
            with contextlib.suppress(OSError):
                append_entry(self._spec.target, replace(entry, mark=snapshot.mark, settled=True), self._spec.shard)
