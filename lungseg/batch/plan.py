"""Decide what is left to do for one image: what an earlier run has done, and which of its outputs are still valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lungseg import errors
from lungseg.batch.entry import Entry, Failure
from lungseg.batch.file_mark import MISSING_FILE, FileMark, OutputMark
from lungseg.batch.shard import Shard
from lungseg.batch.table import is_measured
from lungseg.encode.formats import FORMATS
from lungseg.encode.naming import ERROR_SUFFIX
from lungseg.pipeline.options import Options
from lungseg.pipeline.recipe import Recipe

MANIFEST_VERSION = 2
"""Version of the meaning of an entry's members. An image whose entry has another version is processed again."""

RETRIED_CODES = {errors.Unreadable.code, errors.Unwritable.code, errors.InternalError.code}
"""Failures that say nothing about the image itself."""

DRAWN_SUFFIXES = frozenset(each.suffix for each in FORMATS.values() if each.is_drawn)


@dataclass(frozen=True)
class BatchSpec:
    """What to produce for every image.

    Attributes:
        source: the folder of images.
        target: the folder of outputs, with the same subfolders.
        formats: names of FORMATS.
        options: as for a single image.
        models: digests of the networks.
        has_table: whether to measure every image for the table (--csv). It takes a quarter of the time of an image.
        shard: the part of the images to process; None for all.
    """

    source: Path
    target: Path
    formats: tuple[str, ...]
    options: Options
    models: tuple[str, ...]
    has_table: bool = False
    shard: Shard | None = None

    @property
    def recipe(self) -> str:
        """Digest of what decides the content of every output of one image; some have an `opacity_of`, too."""
        return Recipe(self.options, self.models).digest(MANIFEST_VERSION)

    def opacity_of(self, suffix: str) -> float | None:
        """Return the opacity of an output's lungs; None if its format is not drawn."""
        return self.options.opacity if suffix in DRAWN_SUFFIXES else None


@dataclass(frozen=True)
class ImageTask:
    """What to do for one image.

    Attributes:
        path: relative to the folder of images, with slashes.
        formats: formats to produce.
        kept: outputs of an earlier run that are still valid, by suffix.
        omitted: formats that an earlier run could not produce, with the code of the error.
        stale: suffixes of outputs that are no longer valid.
        sha256: digest of the bytes that `kept` and `omitted` belong to; empty if there are none.
        has_row: whether to measure the image, or to only record its verdict.
    """

    path: str
    formats: tuple[str, ...]
    kept: Mapping[str, OutputMark] = field(default_factory=dict)
    omitted: Mapping[str, str] = field(default_factory=dict)
    stale: frozenset[str] = frozenset()
    sha256: str = ""
    has_row: bool = False

    def for_bytes(self, sha256: str, spec: BatchSpec) -> ImageTask:
        """Return the task for the bytes that were read: everything, if the image was replaced after planning."""
        if sha256 == self.sha256 or not (self.kept or self.omitted):
            return self
        return replace(self.discard_kept(), formats=spec.formats)

    def discard_kept(self) -> ImageTask:
        """Return the task for an image whose earlier outputs are no longer valid either."""
        return replace(self, kept={}, omitted={}, stale=self.stale | set(self.kept), sha256="")


def is_current(entry: Entry, spec: BatchSpec) -> bool:
    """Return whether an entry has this run's recipe, and the measurements if the table needs them."""
    is_complete = not spec.has_table or isinstance(entry.outcome, Failure) or is_measured(entry.outcome)
    return is_complete and entry.recipe == spec.recipe


def is_done(entry: Entry, spec: BatchSpec) -> bool:
    """Return whether nothing is left to do: the image is unchanged, and every possible output exists."""
    failure = entry.outcome if isinstance(entry.outcome, Failure) else None
    if not is_current(entry, spec) or (failure and failure.code in RETRIED_CODES):
        return False
    existing = _current_outputs(entry, spec)
    if failure and not entry.omitted:
        is_complete = ERROR_SUFFIX in existing
    else:
        is_complete = all(name in entry.omitted or FORMATS[name].suffix in existing for name in spec.formats)
    # Compared last, because that may take reading the image.
    return is_complete and entry.matches_file(spec.source / entry.path)


def plan_task(path: str, entry: Entry | None, spec: BatchSpec, force: bool) -> ImageTask:
    """Return what to do for an image.

    Args:
        path: relative to the folder of images, with slashes.
        entry: what an earlier run knows about it, if any.
        spec: what to produce.
        force: whether to produce every requested format again.
    """
    requested = {FORMATS[name].suffix for name in spec.formats}
    if entry is None:
        stale = frozenset(requested | {ERROR_SUFFIX})
        return ImageTask(path, spec.formats, stale=stale, has_row=spec.has_table)
    kept: set[str] = set()
    # A file that is missing, for example on a share that is not mounted, counts as unchanged.
    image = spec.source / path
    is_same = entry.recipe == spec.recipe and (FileMark.read(image) == MISSING_FILE or entry.matches_file(image))
    if is_same:
        redone = requested if force else (requested & DRAWN_SUFFIXES) - _current_outputs(entry, spec)
        kept = entry.existing_outputs(spec.target) - {ERROR_SUFFIX} - redone
    had_row = is_same and not isinstance(entry.outcome, Failure) and is_measured(entry.outcome)
    return ImageTask(
        path,
        tuple(name for name in spec.formats if FORMATS[name].suffix not in kept),
        {suffix: entry.outputs[suffix] for suffix in kept},
        entry.omitted if is_same else {},
        frozenset((requested | {ERROR_SUFFIX} | set(entry.outputs)) - kept),
        entry.sha256 if is_same else "",
        spec.has_table or had_row,
    )


def _current_outputs(entry: Entry, spec: BatchSpec) -> set[str]:
    """Return the suffixes of the outputs that exist, without those that were drawn with another opacity."""
    existing = entry.existing_outputs(spec.target)
    return {suffix for suffix in existing if entry.outputs[suffix].opacity == spec.opacity_of(suffix)}
