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
from lungseg.batch.entry import NO_FILE, Entry, Mark
from lungseg.batch.manifest import append
from lungseg.batch.table import Row, row
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
class Order:
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
class Job:
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

    def of_bytes(self, sha256: str, order: Order) -> Job:
        """Return what is to do now that the image is read: all of it, if it was replaced since the job was made."""
        if sha256 == self.sha256 or not (self.kept or self.omitted):
            return self
        return Job(self.path, order.formats, stale=self.stale | set(self.kept))


@dataclass(frozen=True)
class Seen:
    """What is known of an image's file when it is read.

    Attributes:
        mark: from before it was read.
        settled: whether the mark tells of each later change.
        sha256: digest of its bytes; empty before they were read.
    """

    mark: Mark
    settled: bool
    sha256: str = ""

    @classmethod
    def of(cls, film: Path) -> Seen:
        """Look at a file that is about to be read."""
        mark = Mark.of(film)
        return cls(mark, mark.is_settled())

    def entry(
        self,
        path: str,
        recipe: str,
        outputs: dict[str, int],
        omitted: dict[str, str],
        row: Row | None = None,
        problem: dict[str, str] | None = None,
    ) -> Entry:
        """Return the image's line in the manifest."""
        return Entry(path, self.mark, self.settled, self.sha256, recipe, outputs, omitted, row, problem)


def done(entry: Entry, order: Order) -> bool:
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


def job(path: str, entry: Entry | None, order: Order, again: bool) -> Job:
    """What is to do for an image of which ``entry`` is known; every format asked for if ``again``."""
    asked = {FORMATS[name].suffix for name in order.formats}
    if entry is None:
        return Job(path, order.formats, stale=frozenset(asked | {ERROR_SUFFIX}))
    kept: set[str] = set()
    # An image that is not there, on a share that is not mounted, has not changed.
    film = order.source / path
    same = entry.recipe == order.recipe and (Mark.of(film) == NO_FILE or entry.is_of(film))
    if same:
        kept = entry.there(order.target) - {ERROR_SUFFIX} - (asked if again else set())
    return Job(
        path,
        tuple(name for name in order.formats if FORMATS[name].suffix not in kept),
        {suffix: entry.outputs[suffix] for suffix in kept},
        entry.omitted if same else {},
        frozenset((asked | {ERROR_SUFFIX} | set(entry.outputs)) - kept),
        entry.sha256 if same else "",
    )


def work(job: Job, order: Order) -> Entry:
    """Do one image; where that is not possible a problem document takes the outputs' place. Never raises."""
    seen = Seen.of(order.source / job.path)
    try:
        data = read_film(order.source / job.path)
        # A link that was turned elsewhere meanwhile: the mark is of one file, the bytes are another's.
        same = Mark.of(order.source / job.path) == seen.mark
        seen = replace(seen, settled=seen.settled and same, sha256=hashlib.sha256(data).hexdigest())
        job = job.of_bytes(seen.sha256, order)
        result = segment(data, order.options)
        made, refusals = encode_each(result, data, job.formats)
        found = row(document(result))
    except errors.FilmError as error:
        return fail(job, order, error, seen)
    except Exception as error:  # its text may quote the image
        return fail(job, order, errors.InternalError(f"An unexpected {type(error).__name__} stopped it."), seen)
    omitted = {**job.omitted, **{name: error.code for name, error in refusals.items()}}
    if not made and not job.kept:
        return fail(job, order, next(iter(refusals.values())), seen, omitted)
    contents = {FORMATS[name].suffix: content for name, content in made.items()}
    try:
        return _write(job, order, seen, contents, omitted, row=found)
    except OSError as error:
        return fail(job, order, errors.Unwritable(f"An output cannot be written ({error.strerror})."), seen)


def fail(
    job: Job, order: Order, error: errors.FilmError, seen: Seen, omitted: Mapping[str, str] | None = None
) -> Entry:
    """Leave a problem document in the outputs' place; where not even that can be written, it is only returned.

    A failure that says nothing of the image leaves its earlier outputs, if they still hold.
    """
    content = {ERROR_SUFFIX: json.dumps(error.problem(), indent=2).encode()}
    problem = {"code": error.code, "detail": error.detail}
    lost = job if error.code in TRIED_AGAIN else Job(job.path, job.formats, stale=job.stale | set(job.kept))
    with contextlib.suppress(OSError):
        return _write(lost, order, seen, content, omitted or {}, problem=problem)
    entry = seen.entry(job.path, order.recipe, dict(lost.kept), dict(omitted or {}), problem=problem)
    with contextlib.suppress(OSError):
        _remove(lost, order)
    with contextlib.suppress(OSError):
        append(order.target, entry)
    return entry


def _write(
    job: Job,
    order: Order,
    seen: Seen,
    contents: dict[str, bytes],
    omitted: Mapping[str, str],
    row: Row | None = None,
    problem: dict[str, str] | None = None,
) -> Entry:
    """Write outputs and the image's line so that, whenever this is killed, the line holds or an output is missing.

    Raises:
        OSError.
    """
    outputs = {**job.kept, **{suffix: len(content) for suffix, content in contents.items()}}
    entry = seen.entry(job.path, order.recipe, outputs, dict(omitted), row, problem)
    files = {suffix: output_file(order, job.path, suffix) for suffix in contents}
    with ExitStack() as stack:
        ready = []
        for suffix, content in contents.items():
            output = files[suffix]
            output.parent.mkdir(parents=True, exist_ok=True)
            partial = stack.enter_context(staged(output))
            partial.write_bytes(content)
            ready.append((partial, output))
        _remove(job, order)
        append(order.target, entry)
        for partial, output in ready:
            partial.replace(output)
    return entry


def _remove(job: Job, order: Order) -> None:
    """Remove outputs that would pass for this image's.

    Raises:
        OSError.
    """
    for suffix in job.stale:
        output = output_file(order, job.path, suffix)
        if output.is_symlink() or output.is_file():
            output.unlink()


def output_file(order: Order, path: str, suffix: str) -> Path:
    """Return where an output goes. A link in its place is replaced itself; what it leads to stays as it is.

    Raises:
        PermissionError: a folder on the way is a link that leads out of the folder of outputs.
    """
    output = order.target / naming.output_path(path, suffix)
    folder = real(output.parent)
    if not folder.is_relative_to(real(order.target)):
        raise PermissionError(errno.EPERM, "a link leads out of the folder of outputs")
    return folder / output.name
