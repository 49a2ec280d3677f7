"""How an image's outputs get into the bucket, so that those of its last version stay whatever happened between."""

from __future__ import annotations

from app.buckets.keys import Item, Outputs
from app.buckets.s3 import Stamp, Store, StoreError
from app.buckets.settings import DOCUMENT, Settings

ROUNDS = 5
"""How often the write of one output is tried while others write it too."""


class Changed(Exception):
    """A newer version of the image is there."""


def is_consistent(outputs: Outputs, stamp: Stamp, store: Store, settings: Settings) -> bool:
    """Return whether nothing contradicts a document. A worker on an older version may have written after it and crashed
    before it saw the newer one.

    Raises:
        StoreError.
    """
    if store.written(settings.outputs, outputs.error):
        return False
    others = (name for name in stamp.forms.split() if name != DOCUMENT)
    found = (store.written(settings.outputs, outputs.key(name)) for name in others)
    return all(each is None or each.stamp == stamp for each in found)


def settle(
    item: Item,
    stamp: Stamp,
    files: dict[str, tuple[bytes, str]],
    stale: list[str],
    store: Store,
    settings: Settings,
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
            store.remove(settings.outputs, stale)
        over = None
        for _ in range(ROUNDS):
            if store.put(settings.outputs, key, content, media_type, stamp, over):
                break
            there = store.written(settings.outputs, key)
            if there and there.stamp == stamp:
                break
            if store.version(item.bucket, item.key) != stamp.version:
                raise Changed
            over = there.etag if there else None
        else:
            raise StoreError("Others wrote the same output all the time.")
    if store.version(item.bucket, item.key) != stamp.version:
        raise Changed
