"""One line of the manifest: what is known about one image and its outputs."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType

from lungseg.batch.file_mark import MISSING_FILE, FileMark, OutputMark, hash_image
from lungseg.batch.table import TABLE_COLUMNS, TableRow
from lungseg.encode.formats import FORMATS
from lungseg.encode.naming import OUTPUT_SUFFIXES, output_path
from lungseg.pipeline.reasons import Decision

ERROR_CODE = re.compile(r"[a-z0-9-]{1,40}")
"""Code of an error or of a reason of the verdict."""


@dataclass(frozen=True)
class Failure:
    """Why an image has no outputs.

    Attributes:
        code: of the error.
        detail: its text, without the remedy.
    """

    code: str
    detail: str


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        path: relative to the folder of images, with slashes.
        mark: the image's, taken before it was read.
        settled: whether the mark alone reveals any later change (`FileMark.is_settled`).
        sha256: digest of the image's bytes; empty if they could not be read.
        recipe: digest of everything that decides the bytes of the outputs.
        outputs: what each output was when it was written, by its suffix.
        omitted: formats that cannot be produced for this image, with the code of the error.
        outcome: the image's row in the table, or its failure.
    """

    path: str
    mark: FileMark
    settled: bool
    sha256: str
    recipe: str
    outputs: dict[str, OutputMark]
    omitted: dict[str, str]
    outcome: TableRow | Failure

    def matches_file(self, image: Path) -> bool:
        """Return whether a file has exactly the bytes that this entry describes.

        Usually the marks prove it. If they do not, for example after a copy or a move, the bytes are read.
        """
        mark = FileMark.read(image)
        if mark.size != self.mark.size or mark == MISSING_FILE:
            return False
        return (self.settled and mark == self.mark) or hash_image(image) == self.sha256

    def existing_outputs(self, target: Path) -> set[str]:
        """Return the suffixes of the outputs that are in ``target`` as they were written."""
        return {
            suffix
            for suffix, mark in self.outputs.items()
            if mark.matches_file(target / output_path(self.path, suffix))
        }


def format_entry(entry: Entry) -> bytes:
    """Return an entry as a line of the manifest."""
    facts = asdict(entry)
    outcome = facts.pop("outcome")
    is_failure = isinstance(entry.outcome, Failure)
    facts |= {"row": None if is_failure else outcome, "problem": outcome if is_failure else None}
    return json.dumps(facts, separators=(",", ":")).encode() + b"\n"


def parse_entry(line: bytes) -> Entry | None:
    """Return an entry, or None for a line that is truncated, damaged, or written by another version.

    Anyone who can write to the output folder can write such a line. So only known suffixes are accepted as outputs,
    codes must look like codes, and a member of the wrong type makes the whole line invalid.
    """
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        facts = json.loads(line)
        row, problem = facts.pop("row"), facts.pop("problem")
        if (row is None) == (problem is None):
            return None
        outcome = row if problem is None else Failure(**problem)
        outputs = {suffix: OutputMark(**mark) for suffix, mark in facts["outputs"].items()}
        entry = Entry(**(facts | {"mark": FileMark(**facts["mark"]), "outputs": outputs, "outcome": outcome}))
        return entry if _is_valid(entry) else None
    return None


def _is_valid(entry: Entry) -> bool:
    checks = (
        all(isinstance(each, str) for each in (entry.path, entry.sha256, entry.recipe)),
        all(type(each) is int for each in asdict(entry.mark).values()),
        type(entry.settled) is bool,
        all(suffix in OUTPUT_SUFFIXES and _is_output(mark) for suffix, mark in entry.outputs.items()),
        all(name in FORMATS and ERROR_CODE.fullmatch(code) for name, code in entry.omitted.items()),
        _is_failure(entry.outcome) if isinstance(entry.outcome, Failure) else _is_row(entry.outcome),
    )
    return all(checks)


def _is_output(mark: OutputMark) -> bool:
    """Return whether a mark can be that of an output, which is never empty."""
    is_typed = type(mark.mtime_ns) is int and isinstance(mark.sha256, str) and type(mark.opacity) in (float, NoneType)
    return is_typed and type(mark.size) is int and mark.size > 0


def _is_row(row: TableRow) -> bool:
    """Return whether a row has only the table's columns, codes for a verdict, and no negative measurement."""
    return (
        row["verdict"] in set(Decision)
        and all(map(ERROR_CODE.fullmatch, row["reasons"].split()))
        and all(name in TABLE_COLUMNS and name != "path" for name in row)
        and all(
            value is None or type(value) is str or (type(value) in (int, float) and value >= 0)
            for value in row.values()
        )
    )


def _is_failure(failure: Failure) -> bool:
    return bool(ERROR_CODE.fullmatch(failure.code)) and type(failure.detail) is str
