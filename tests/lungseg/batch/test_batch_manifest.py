"""The manifest: its lines, its lock, and what it makes of lines and files that somebody else put there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_folder import mark_output

from lungseg.batch import folder_lock
from lungseg.batch.entry import Entry, format_entry
from lungseg.batch.file_mark import FileMark
from lungseg.batch.folder_lock import FolderInUse
from lungseg.batch.manifest import Manifest
from lungseg.batch.manifest_file import MANIFEST_NAME, append_entry
from lungseg.terminal import escape_name

ROW = {"verdict": "accept", "reasons": ""}


def make_entry(path: str, size: int = 1) -> Entry:
    return Entry(path, FileMark(size, 2, 3, 4), True, "digest", "recipe", {".mask.png": mark_output(b"123")}, {}, ROW)


class TestManifest:
    def test_last_line_of_an_image_counts(self, tmp_path: Path) -> None:
        for number in range(100):
            append_entry(tmp_path, make_entry(f"{number % 10}.png", number))
        manifest = Manifest(tmp_path)
        assert [manifest.find(f"{number}.png") for number in range(10)] == [
            make_entry(f"{number}.png", 90 + number) for number in range(10)
        ]
        assert manifest.find("10.png") is None
        append_entry(tmp_path, make_entry("0.png", 200))
        manifest.refresh()
        assert manifest.find("0.png") == make_entry("0.png", 200)
        manifest.close()

    @pytest.mark.parametrize(
        "torn", [b'{"path": "a.png", "si', b"\0\0\0", b'"a.png"', b'{"path": 5}', b"[]\n", b"\xff\n"]
    )
    def test_broken_line_affects_no_other(self, tmp_path: Path, torn: bytes) -> None:
        append_entry(tmp_path, make_entry("a.png"))
        with (tmp_path / MANIFEST_NAME).open("ab") as file:
            file.write(torn)
        manifest = Manifest(tmp_path)
        append_entry(tmp_path, make_entry("b.png"))
        manifest.refresh()
        assert manifest.find("a.png") == make_entry("a.png")
        assert manifest.find("b.png") == make_entry("b.png")
        manifest.close()

    def test_name_need_not_be_text(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"\xff\n.png")
        append_entry(tmp_path, make_entry(name))
        manifest = Manifest(tmp_path)
        assert manifest.find(name) == make_entry(name)
        manifest.close()
        assert escape_name(name) == r"\udcff\n.png"

    def test_second_run_is_locked_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder_lock, "LOCK_PATIENCE", 0)
        first = Manifest(tmp_path)
        inherited = os.dup(*first.descriptors)
        with pytest.raises(FolderInUse):
            Manifest(tmp_path)
        first.close()
        with pytest.raises(FolderInUse):  # while a worker has the file open
            Manifest(tmp_path)
        os.close(inherited)
        Manifest(tmp_path).close()


def damaged_lines(entry: Entry) -> Iterator[dict[str, Any]]:
    """Yield lines with one member missing or of another type, and with outputs that no format has."""
    good = json.loads(format_entry(entry))
    for name in good:
        if name in ("row", "problem"):
            continue
        yield {key: value for key, value in good.items() if key != name}
        yield good | {name: 7 if name != "settled" else "yes"}
    yield good | {"outputs": {"/../../thesis.txt": 13}}
    yield good | {"outputs": {".mask.png": "13"}}
    yield good | {"mark": good["mark"] | {"size": None}}
    yield good | {"omitted": {"heart": "x"}}
    yield good | {"outputs": {".mask.png": -1}}  # a missing file also has the size -1
    yield good | {"row": {"reasons": ""}}
    for change in ({"verdict": "fine"}, {"reasons": "\x1b]0;x"}, {"path": "b.png"}, {"height": [1]}, {"heart": 1}):
        yield good | {"row": ROW | change}
    for change in ({"code": "\x1b[2J"}, {"detail": 1}, {"outcome": "accept"}):
        yield good | {"row": None, "problem": {"code": "too-small", "detail": ""} | change}
    yield good | {"row": None}
    yield good | {"problem": {"code": "x"}, "row": None}


def test_damaged_line_is_ignored(tmp_path: Path) -> None:
    good = make_entry("a.png", 1)
    lines = [json.dumps(line) for line in damaged_lines(good)]
    deep = format_entry(good).decode().rstrip()[:-1] + ', "problem": ' + "[" * 100_000
    (tmp_path / MANIFEST_NAME).write_text("".join(f"{line}\n" for line in (*lines, deep)))
    manifest = Manifest(tmp_path)
    assert manifest.find("a.png") is None
    append_entry(tmp_path, good)
    manifest.refresh()
    assert manifest.find("a.png") == good
    manifest.close()


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_link_or_pipe_in_place_of_the_manifest_is_refused(tmp_path: Path, kind: str) -> None:
    thesis = tmp_path / "thesis.txt"
    if kind == "link":
        thesis.write_bytes(b"of another person")
    target = tmp_path / "out"
    target.mkdir()
    if kind == "pipe":
        os.mkfifo(target / MANIFEST_NAME)
    else:
        (target / MANIFEST_NAME).symlink_to("../thesis.txt")
    with pytest.raises(OSError, match="in the manifest's place; remove it"):
        Manifest(target)
    with pytest.raises(OSError):
        append_entry(target, make_entry("a.png"))
    assert (thesis.read_bytes() if thesis.exists() else None) == (b"of another person" if kind == "link" else None)


@pytest.mark.parametrize(
    ("ctime_ns", "is_settled"),
    [(1_700_000_000_123_456_789, True), (1_700_000_000_000_000_000, False), (1_700_000_000_120_000_000, False)],
)
def test_mark_with_coarse_times_is_not_settled(
    ctime_ns: int, is_settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT keeps whole seconds and exFAT hundredths, and neither keeps the time of a rename."""
    mark = FileMark(1, 2, ctime_ns, 3)
    assert mark.is_settled() == is_settled
    monkeypatch.setattr("sys.platform", "win32")
    assert not mark.is_settled()
