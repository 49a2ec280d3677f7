"""A folder of images and one of outputs for a batch, without worker processes."""

from __future__ import annotations

from collections.abc import Callable

from lungseg.batch.entry import Entry, Failure
from lungseg.batch.file_mark import FileMark
from lungseg.batch.manifest import MANIFEST_NAME, Manifest
from lungseg.batch.plan import BatchSpec

MASK, JSON, SEG, ERROR = ".mask.png", ".json", ".seg.dcm", ".error.json"

MakeSpec = Callable[..., BatchSpec]


def put_image(spec: BatchSpec, path: str, data: bytes) -> FileMark:
    """Write a file to the folder of images; return its mark."""
    image = spec.source / path
    image.parent.mkdir(exist_ok=True)
    image.write_bytes(data)
    return FileMark.read(image)


def list_outputs(spec: BatchSpec) -> set[str]:
    """Return the files in the output folder, without the manifest."""
    files = (path for path in spec.target.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
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
    outputs: dict[str, int],
    omitted: dict[str, str] | None = None,
    code: str | None = None,
) -> Entry:
    """Return what an earlier run knows about a.png; ``code`` is that of its failure."""
    outcome = {"verdict": "accept", "reasons": ""} if code is None else Failure(code, "as it was")
    return Entry("a.png", mark, True, "digest", spec.recipe, outputs, omitted or {}, outcome)
