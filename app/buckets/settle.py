"""How an image's outputs get into the bucket, so that those of its last version stay whatever happened between."""

from __future__ import annotations

from app.buckets.keys import ImageLocation, OutputKeys
from app.buckets.s3 import ObjectStore, Stamp, StoreError
from app.buckets.settings import DOCUMENT_FORMAT, BucketSettings

MAX_WRITE_ATTEMPTS = 5
"""How often the write of one output is tried while others write it too."""


class ImageChanged(Exception):
    """A newer version of the image is there."""


def is_consistent(outputs: OutputKeys, stamp: Stamp, store: ObjectStore, settings: BucketSettings) -> bool:
    """Return whether nothing contradicts a document. A worker on an older version may have written after it and crashed
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
    """Write a version's outputs in their order, and remove what would contradict them before the last one is there.

    Args:
        files: content and media type by key.
        stale: keys of what this version has not.

    Raises:
        Changed: the image is of another version by now.
        Absent, StoreError.
    """
    *_, last = files
    for key, (content, media_type) in files.items():
        if key == last:
            # Who finds the last one takes all for done: what is still to remove then would stay for ever.
            store.delete_objects(settings.outputs, stale)
        over = None
        for _ in range(MAX_WRITE_ATTEMPTS):
            if store.put_object(settings.outputs, key, content, media_type, stamp, over):
                break
            there = store.find_output(settings.outputs, key)
            if there and there.stamp == stamp:
                break
            if store.get_version(item.bucket, item.key) != stamp.version:
                raise ImageChanged
            over = there.etag if there else None
        else:
            raise StoreError("Others wrote the same output all the time.")
    if store.get_version(item.bucket, item.key) != stamp.version:
        raise ImageChanged
