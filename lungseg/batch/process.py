"""Process one image of a folder: read it, write its outputs and its line in the manifest. Runs in a worker process."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from lungseg import errors
from lungseg.batch.entry import Entry, Failure
from lungseg.batch.file_mark import FileMark, FileSnapshot, OutputMark
from lungseg.batch.manifest_file import append_entry
from lungseg.batch.plan import RETRIED_CODES, BatchSpec, ImageTask
from lungseg.batch.table import TableRow, table_row, verdict_row
from lungseg.encode import naming
from lungseg.encode.document import document
from lungseg.encode.formats import FORMATS, encode_each
from lungseg.encode.naming import ERROR_SUFFIX
from lungseg.files import read_image_file, resolve_path, staged_file
from lungseg.pipeline.segment import segment


def process_task(task: ImageTask, spec: BatchSpec) -> Entry:
    """Write the outputs of one image, or a problem document in their place. Never raises."""
    image = spec.source / task.path
    snapshot = FileSnapshot.take(image)
    try:
        data = read_image_file(image)
        # If a symlink was redirected meanwhile, the mark belongs to one file and the bytes to another.
        is_same = FileMark.read(image) == snapshot.mark
        sha256 = hashlib.sha256(data).hexdigest()
        snapshot = replace(snapshot, settled=snapshot.settled and is_same, sha256=sha256)
        task = task.for_bytes(sha256, spec)
        result = replace(segment(data, spec.options), archive_stem=naming.archive_stem(task.path))
        contents, refusals = encode_each(result, task.formats)
        row = table_row(document(result)) if task.has_row else verdict_row(result.verdict)
    except errors.ProblemError as error:
        return record_failure(task, spec, error, snapshot)
    except Exception as error:  # its text may quote the image
        unexpected = errors.InternalError(f"An unexpected {type(error).__name__} stopped it.")
        return record_failure(task, spec, unexpected, snapshot)
    omitted = {**task.omitted, **{name: error.code for name, error in refusals.items()}}
    if not contents and not task.kept:
        return record_failure(task, spec, next(iter(refusals.values())), snapshot, omitted)
    outputs = {FORMATS[name].suffix: content for name, content in contents.items()}
    try:
        return _write(task, spec, snapshot, outputs, omitted, row)
    except OSError as error:
        unwritable = errors.Unwritable(f"An output cannot be written ({error.strerror}).")
        return record_failure(task, spec, unwritable, snapshot)


def record_failure(
    task: ImageTask,
    spec: BatchSpec,
    error: errors.ProblemError,
    snapshot: FileSnapshot,
    omitted: Mapping[str, str] | None = None,
) -> Entry:
    """Write a problem document in place of the outputs; if even that cannot be written, only return the entry.

    A failure that says nothing about the image keeps the earlier outputs that are still valid.
    """
    content = {ERROR_SUFFIX: json.dumps(error.problem(), indent=2).encode()}
    failure = Failure(error.code, error.detail)
    task = task if error.code in RETRIED_CODES else task.discard_kept()
    with contextlib.suppress(OSError):
        return _write(task, spec, snapshot, content, omitted or {}, failure)
    entry = _entry(task, spec, snapshot, {}, omitted or {}, failure)
    with contextlib.suppress(OSError):
        _remove_stale(task, spec)
    with contextlib.suppress(OSError):
        append_entry(spec.target, entry, spec.shard)
    return entry


def _entry(
    task: ImageTask,
    spec: BatchSpec,
    snapshot: FileSnapshot,
    written: Mapping[str, OutputMark],
    omitted: Mapping[str, str],
    outcome: TableRow | Failure,
) -> Entry:
    outputs = {**task.kept, **written}
    return Entry(
        task.path, snapshot.mark, snapshot.settled, snapshot.sha256, spec.recipe, outputs, dict(omitted), outcome
    )


def _write(
    task: ImageTask,
    spec: BatchSpec,
    snapshot: FileSnapshot,
    contents: Mapping[str, bytes],
    omitted: Mapping[str, str],
    outcome: TableRow | Failure,
) -> Entry:
    """Write the outputs and the manifest's line. If the process is killed, the line is true or an output is missing.

    Raises:
        OSError.
    """
    files = {suffix: resolve_output(spec, task.path, suffix) for suffix in contents}
    with ExitStack() as stack:
        ready, written = [], {}
        for suffix, content in contents.items():
            output = files[suffix]
            output.parent.mkdir(parents=True, exist_ok=True)
            partial = stack.enter_context(staged_file(output))
            partial.write_bytes(content)
            ready.append((partial, output))
            written[suffix] = OutputMark.of(
                partial, content, spec.opacity_of(suffix)
            )  # its time stays the same when it is renamed
        entry = _entry(task, spec, snapshot, written, omitted, outcome)
        _remove_stale(task, spec)
        append_entry(spec.target, entry, spec.shard)
        for partial, output in ready:
            partial.replace(output)
    return entry


def _remove_stale(task: ImageTask, spec: BatchSpec) -> None:
    """Remove outputs that would be mistaken for this image's.

    Raises:
        OSError.
    """
    for suffix in task.stale:
        output = resolve_output(spec, task.path, suffix)
        if output.is_symlink() or output.is_file():
            output.unlink()


def resolve_output(spec: BatchSpec, path: str, suffix: str) -> Path:
    """Return where an output goes. A symlink in its place is replaced; the file that it points to stays unchanged.

    Raises:
        PermissionError: a folder on the way is a symlink that leads out of the output folder.
    """
    output = spec.target / naming.output_path(path, suffix)
    folder = resolve_path(output.parent)
    if not folder.is_relative_to(resolve_path(spec.target)):
        raise PermissionError(errno.EPERM, "a link leads out of the output folder")
    return folder / output.name
