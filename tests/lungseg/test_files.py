"""Reading images, and writing files that are complete or do not exist."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lungseg import errors
from lungseg.batch.manifest_file import MANIFEST_NAME
from lungseg.files import PARTIAL_PREFIX, read_image_file, remove_partials, replacement_file, write_atomically


def test_partial_files_are_removed_and_no_others(tmp_path: Path) -> None:
    """A user's own hidden file stays, and so does what another run is writing in a folder below."""
    for folder in ("ward", "other run"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{PARTIAL_PREFIX}abcd_123").touch()
    (tmp_path / "other run" / MANIFEST_NAME).touch()
    kept = {f"{PARTIAL_PREFIX}notes.txt", f"{PARTIAL_PREFIX}ABCD1234", "partial-x1"}
    for name in kept:
        (tmp_path / name).touch()
    write_atomically(tmp_path / "whole", b"1")
    assert remove_partials(tmp_path, MANIFEST_NAME) == 1
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "other run", "ward", "whole"}
    assert not list((tmp_path / "ward").iterdir())


def test_pipe_is_read_only_if_allowed(tmp_path: Path) -> None:
    """Otherwise a symlink to a pipe in a folder would block its reader forever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "image.jpg").symlink_to("pipe")
    with pytest.raises(errors.Unreadable, match="pipe or a device"):
        read_image_file(tmp_path / "image.jpg")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"image",))
    writer.start()
    assert read_image_file(tmp_path / "pipe", pipes=True) == b"image"
    writer.join()


def test_device_is_written_to_and_a_symlink_is_replaced(tmp_path: Path) -> None:
    with replacement_file(Path(os.devnull)) as path:
        assert path == Path(os.devnull)
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("kept")
    write_atomically(tmp_path / "link", b"new", follow=False)
    assert (tmp_path / "kept").read_bytes() == b"kept"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_bytes() == b"new"
