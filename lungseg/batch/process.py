"""One image of a folder, from its file to its outputs and its line in the manifest. It runs in a worker process."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lungseg import __version__, errors
from lungseg.batch.entry import MISSING_FILE, Entry, FileMark
from lungseg.batch.manifest import append_entry
from lungseg.batch.table import TableRow, table_row
from lungseg.encode import naming
from lungseg.encode.document import document
from lungseg.encode.formats import FORMATS, encode_each
from lungseg.encode.naming import ERROR_SUFFIX
from lungseg.files import read_film, real, staged
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment

MANIFEST_VERSION = 2
"""Counts the meanings of an entry's members; an image with an entry of another one is done again."""

TRIED_AGAIN = {errors.Unreadable.code, errors.Unwritable.code, errors.InternalError.code}
"""Failures that say nothing of the image itself."""


@dataclass(frozen=True)
class BatchSpec:
    """What is wanted of every image.

    Attributes:
        source: the folder of images.
        target: the folder of outputs, in the same tree.
        formats: names of FORMATS.
        options: as for one image.
        models: digests of the networks.
    """

    source: Path
    target: Path
    formats: tuple[str, ...]
    options: Options
    models: tuple[str, ...]

    @property
    def recipe(self) -> str:
        """Digest of all that decides what an output of one image holds."""
        facts = [MANIFEST_VERSION, __version__, asdict(self.options), self.models]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ImageTask:
    """What is to do for one image.

    Attributes:
        path: relative to the folder of images, with slashes.
        formats: those to make.
        kept: outputs of an earlier run that still hold, with their bytes, by suffix.
        omitted: formats that an earlier run found impossible, and why.
        stale: suffixes of outputs that do not hold any more.
        sha256: digest of the bytes that all this was found of; empty if nothing was.
    """

    path: str
    formats: tuple[str, ...]
    kept: Mapping[str, int] = field(default_factory=dict)
    omitted: Mapping[str, str] = field(default_factory=dict)
    stale: frozenset[str] = frozenset()
    sha256: str = ""

    def of_bytes(self, sha256: str, order: BatchSpec) -> ImageTask:
        """Return what is to do now that the image is read: all of it, if it was replaced since the task was made."""
        if sha256 == self.sha256 or not (self.kept or self.omitted):
            return self
        return ImageTask(self.path, order.formats, stale=self.stale | set(self.kept))


@dataclass(frozen=True)
class FileSnapshot:
    """What is known of an image's file when it is read.

    Attributes:
        mark: from before it was read.
        settled: whether the mark tells of each later change.
        sha256: digest of its bytes; empty before they were read.
    """

    mark: FileMark
    settled: bool
    sha256: str = ""

    @classmethod
    def of(cls, film: Path) -> FileSnapshot:
        """Look at a file that is about to be read."""
        mark = FileMark.of(film)
        return cls(mark, mark.is_settled())

    def entry(
        self,
        path: str,
        recipe: str,
        outputs: dict[str, int],
        omitted: dict[str, str],
        row: TableRow | None = None,
        problem: dict[str, str] | None = None,
    ) -> Entry:
        """Return the image's line in the manifest."""
        return Entry(path, self.mark, self.settled, self.sha256, recipe, outputs, omitted, row, problem)


def is_done(entry: Entry, order: BatchSpec) -> bool:
    """Whether an earlier run left nothing to do: the image is unchanged, and all that can be made of it is there."""
    if entry.recipe != order.recipe or (entry.problem and entry.problem["code"] in TRIED_AGAIN):
        return False
    there = entry.there(order.target)
    if entry.problem and not entry.omitted:
        whole = ERROR_SUFFIX in there
    else:
        whole = all(name in entry.omitted or FORMATS[name].suffix in there for name in order.formats)
    # The last question: its answer may take reading the image.
    return whole and entry.is_of(order.source / entry.path)


def plan_task(path: str, entry: Entry | None, order: BatchSpec, again: bool) -> ImageTask:
    """What is to do for an image of which ``entry`` is known; every format asked for if ``again``."""
    asked = {FORMATS[name].suffix for name in order.formats}
    if entry is None:
        return ImageTask(path, order.formats, stale=frozenset(asked | {ERROR_SUFFIX}))
    kept: set[str] = set()
    # An image that is not there, on a share that is not mounted, has not changed.
    film = order.source / path
    same = entry.recipe == order.recipe and (FileMark.of(film) == MISSING_FILE or entry.is_of(film))
    if same:
        kept = entry.there(order.target) - {ERROR_SUFFIX} - (asked if again else set())
    return ImageTask(
        path,
        tuple(name for name in order.formats if FORMATS[name].suffix not in kept),
        {suffix: entry.outputs[suffix] for suffix in kept},
        entry.omitted if same else {},
        frozenset((asked | {ERROR_SUFFIX} | set(entry.outputs)) - kept),
        entry.sha256 if same else "",
    )


def process_image(task: ImageTask, order: BatchSpec) -> Entry:
    """Do one image; where that is not possible a problem document takes the outputs' place. Never raises."""
    seen = FileSnapshot.of(order.source / task.path)
    try:
        data = read_film(order.source / task.path)
        # A link that was turned elsewhere meanwhile: the mark is of one file, the bytes are another's.
        same = FileMark.of(order.source / task.path) == seen.mark
        seen = replace(seen, settled=seen.settled and same, sha256=hashlib.sha256(data).hexdigest())
        task = task.of_bytes(seen.sha256, order)
        result = segment(data, order.options)
        made, refusals = encode_each(result, data, task.formats)
        found = table_row(document(result))
    except errors.ProblemError as error:
        return record_failure(task, order, error, seen)
    except Exception as error:  # its text may quote the image
        return record_failure(
            task, order, errors.InternalError(f"An unexpected {type(error).__name__} stopped it."), seen
        )
    omitted = {**task.omitted, **{name: error.code for name, error in refusals.items()}}
    if not made and not task.kept:
        return record_failure(task, order, next(iter(refusals.values())), seen, omitted)
    contents = {FORMATS[name].suffix: content for name, content in made.items()}
    try:
        return _write(task, order, seen, contents, omitted, row=found)
    except OSError as error:
        return record_failure(task, order, errors.Unwritable(f"An output cannot be written ({error.strerror})."), seen)


def record_failure(
    task: ImageTask,
    order: BatchSpec,
    error: errors.ProblemError,
    seen: FileSnapshot,
    omitted: Mapping[str, str] | None = None,
) -> Entry:
    """Leave a problem document in the outputs' place; where not even that can be written, it is only returned.

    A failure that says nothing of the image leaves its earlier outputs, if they still hold.
    """
    content = {ERROR_SUFFIX: json.dumps(error.problem(), indent=2).encode()}
    problem = {"code": error.code, "detail": error.detail}
    lost = task if error.code in TRIED_AGAIN else ImageTask(task.path, task.formats, stale=task.stale | set(task.kept))
    with contextlib.suppress(OSError):
        return _write(lost, order, seen, content, omitted or {}, problem=problem)
    entry = seen.entry(task.path, order.recipe, dict(lost.kept), dict(omitted or {}), problem=problem)
    with contextlib.suppress(OSError):
        _remove(lost, order)
    with contextlib.suppress(OSError):
        append_entry(order.target, entry)
    return entry


def _write(
    task: ImageTask,
    order: BatchSpec,
    seen: FileSnapshot,
    contents: dict[str, bytes],
    omitted: Mapping[str, str],
    row: TableRow | None = None,
    problem: dict[str, str] | None = None,
) -> Entry:
    """Write outputs and the image's line so that, whenever this is killed, the line holds or an output is missing.

    Raises:
        OSError.
    """
    outputs = {**task.kept, **{suffix: len(content) for suffix, content in contents.items()}}
    entry = seen.entry(task.path, order.recipe, outputs, dict(omitted), row, problem)
    files = {suffix: resolve_output(order, task.path, suffix) for suffix in contents}
    with ExitStack() as stack:
        ready = []
        for suffix, content in contents.items():
            output = files[suffix]
            output.parent.mkdir(parents=True, exist_ok=True)
            partial = stack.enter_context(staged(output))
            partial.write_bytes(content)
            ready.append((partial, output))
        _remove(task, order)
        append_entry(order.target, entry)
        for partial, output in ready:
            partial.replace(output)
    return entry


def _remove(task: ImageTask, order: BatchSpec) -> None:
    """Remove outputs that would pass for this image's.

    Raises:
        OSError.
    """
    for suffix in task.stale:
        output = resolve_output(order, task.path, suffix)
        if output.is_symlink() or output.is_file():
            output.unlink()


def resolve_output(order: BatchSpec, path: str, suffix: str) -> Path:
    """Return where an output goes. A link in its place is replaced itself; what it leads to stays as it is.

    Raises:
        PermissionError: a folder on the way is a link that leads out of the folder of outputs.
    """
    output = order.target / naming.output_path(path, suffix)
    folder = real(output.parent)
    if not folder.is_relative_to(real(order.target)):
        raise PermissionError(errno.EPERM, "a link leads out of the folder of outputs")
    return folder / output.name
