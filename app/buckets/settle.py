"""Write an image's outputs so that those of its latest version remain, whatever happens in between."""

from __future__ import annotations

from app.buckets.keys import ImageLocation, OutputKeys
from app.buckets.s3 import ObjectStore, Stamp, StoreError
from app.buckets.settings import DOCUMENT_FORMAT, BucketSettings

MAX_WRITE_ATTEMPTS = 5
"""Attempts to write one output while other workers write it, too."""


class ImageChanged(Exception):
    """The image has a newer version."""


def is_consistent(outputs: OutputKeys, stamp: Stamp, store: ObjectStore, settings: BucketSettings) -> bool:
    """Return whether all outputs match the document. A worker on an older version may have written after it and crashed
    before it saw the newer one.

    Raises:
        StoreError.
    """
    if store.find_output(settings.outputs, outputs.error):
        return False
    others = (name for name in stamp.formats.split() if name != DOCUMENT_FORMAT)
    found = (store.find_output(settings.outputs, outputs.key(name)) for name in others)
    return all(each is None or each.stamp == stamp for each in found)


def write_outputs(
    item: ImageLocation,
    stamp: Stamp,
    files: dict[str, tuple[bytes, str]],
    stale: list[str],
    store: ObjectStore,
    settings: BucketSettings,
) -> None:
    """Write a version's outputs in order; delete outdated ones before the last one is written.

    Args:
        files: content and media type by key.
        stale: keys that this version does not have.

    Raises:
        ImageChanged: the image has another version by now.
        ObjectMissing, StoreError.
    """
    *_, last = files
    for key, (content, media_type) in files.items():
        if key == last:
            # A worker that finds the last output skips the image: an outdated output left now would stay forever.
            store.delete_objects(settings.outputs, stale)
        over = None
        for _ in range(MAX_WRITE_ATTEMPTS):
            if store.put_object(settings.outputs, key, content, media_type, stamp, over):
                break
            existing = store.find_output(settings.outputs, key)
            if existing and existing.stamp == stamp:
                break
            if store.get_version(item.bucket, item.key) != stamp.version:
                raise ImageChanged
            over = existing.etag if existing else None
        else:
            raise StoreError("Other workers kept writing the same output.")
    if store.get_version(item.bucket, item.key) != stamp.version:
        raise ImageChanged
