"""A folder of images and one of outputs for a batch, and the command that runs it."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import command

from lungseg.batch.entry import Entry, Failure
from lungseg.batch.file_mark import FileMark, OutputMark
from lungseg.batch.manifest import Manifest
from lungseg.batch.plan import BatchSpec

MASK, JSON, SEG, ERROR = ".mask.png", ".json", ".seg.dcm", ".error.json"

MakeSpec = Callable[..., BatchSpec]


def put_image(spec: BatchSpec, path: str, data: bytes) -> FileMark:
    """Write a file to the folder of images; return its mark."""
    image = spec.source / path
    image.parent.mkdir(exist_ok=True)
    image.write_bytes(data)
    return FileMark.read(image)


def mark_output(content: bytes) -> OutputMark:
    """Return the mark of an output that was copied since: its time is another."""
    return OutputMark(len(content), 0, hashlib.sha256(content).hexdigest())


def list_outputs(spec: BatchSpec) -> set[str]:
    """Return the files in the output folder, without manifests."""
    files = (path for path in spec.target.rglob("*") if path.is_file() and not path.name.startswith(".films"))
    return {path.relative_to(spec.target).as_posix() for path in files}


def find_entry(spec: BatchSpec, path: str) -> Entry | None:
    """Return the image's line in the manifest."""
    manifest = Manifest(spec.target)
    try:
        return manifest.find(path)
    finally:
        manifest.close()


def earlier_entry(
    spec: BatchSpec,
    mark: FileMark,
    outputs: dict[str, OutputMark],
    omitted: dict[str, str] | None = None,
    code: str | None = None,
) -> Entry:
    """Return what an earlier run knows about a.png; ``code`` is that of its failure."""
    outcome = {"verdict": "accept", "reasons": ""} if code is None else Failure(code, "as it was")
    return Entry("a.png", mark, True, "digest", spec.recipe, outputs, omitted or {}, outcome)


def output_times(target: Path) -> dict[str, int]:
    """Return the modification time of each output, by its path."""
    files = (path for path in target.rglob("*") if path.is_file() and not path.name.startswith(".films"))
    return {path.relative_to(target).as_posix(): path.stat().st_mtime_ns for path in files}


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of the table of measurements, by the image's path."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


@contextmanager
def start_batch(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in its own process group, as a shell does; kill it at the end if it still runs."""
    with subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
