"""Parts of a folder's run by themselves: patterns, the manifest, and what a drop folder waits for."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lungseg import errors
from lungseg.batch import manifest as manifest_module
from lungseg.batch import watch as watch_module
from lungseg.batch.entry import Entry, format_entry
from lungseg.batch.file_mark import FileMark
from lungseg.batch.manifest import MANIFEST_NAME, FolderInUse, Manifest, append_entry
from lungseg.batch.source import FolderSource, OnSkip, SkipReason, matches_pattern
from lungseg.batch.watch import FolderWatch
from lungseg.files import PARTIAL_PREFIX, read_image_file, remove_partials, replacement_file, write_atomically
from lungseg.terminal import escape_name

ROW = {"verdict": "accept", "reasons": ""}


def entry(path: str, size: int = 1) -> Entry:
    return Entry(path, FileMark(size, 2, 3, 4), True, "digest", "recipe", {".mask.png": 3}, {}, ROW)


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("a.png", "*.png", True),
        ("ward/a.png", "*.png", False),
        ("ward/a.png", "*/*.png", True),
        ("a.png", "**/*.png", True),
        ("ward/room/a.png", "**/*.png", True),
        ("ward/room/a.png", "ward/**", True),
        ("a.dcm", "**/*.png", False),
        ("ward/a.png", "w?rd/[ab].png", True),
        ("ward/c.png", "w?rd/[ab].png", False),
    ],
)
def test_patterns(path: str, pattern: str, fits: bool) -> None:
    assert matches_pattern(tuple(path.split("/")), tuple(pattern.split("/"))) is fits


def test_a_name_is_a_folder_a_file_or_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "[1]").mkdir()
    (tmp_path / "[1]" / "film[2].png").touch()
    (tmp_path / "[1]" / "film2.png").touch()
    assert list(FolderSource.parse(str(tmp_path / "[1]")).images()) == ["film2.png", "film[2].png"]
    assert list(FolderSource.parse(str(tmp_path / "[1]" / "film[2].png")).images()) == ["film[2].png"]
    assert list(FolderSource.parse(str(tmp_path / "*" / "*2.png")).images()) == ["[1]/film2.png"]
    with pytest.raises(FileNotFoundError):
        FolderSource.parse(str(tmp_path / "none.png"))


def test_outputs_may_lie_where_a_pattern_does_not_look(tmp_path: Path) -> None:
    flat = FolderSource(tmp_path, ("*.png",))
    assert flat.covers(tmp_path)
    assert not flat.covers(tmp_path / "masks")
    deep = FolderSource(tmp_path, ("ward*", "*.png"))
    assert deep.covers(tmp_path / "ward 1")
    assert not deep.covers(tmp_path / "masks")
    assert FolderSource(tmp_path, ("**", "*.png")).covers(tmp_path / "masks")


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is closed to root")
def test_closed_folders_are_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    told: list[tuple[SkipReason, str]] = []
    assert not list(FolderSource(tmp_path).images(lambda *what: told.append(what)))
    assert told == [(SkipReason.CLOSED, "closed")]


class TestManifest:
    def test_the_last_line_on_a_film_counts(self, tmp_path: Path) -> None:
        for number in range(100):
            append_entry(tmp_path, entry(f"{number % 10}.png", number))
        manifest = Manifest(tmp_path)
        assert [manifest.find(f"{number}.png") for number in range(10)] == [
            entry(f"{number}.png", 90 + number) for number in range(10)
        ]
        assert manifest.find("10.png") is None
        append_entry(tmp_path, entry("0.png", 200))
        manifest.refresh()
        assert manifest.find("0.png") == entry("0.png", 200)
        manifest.close()

    @pytest.mark.parametrize(
        "torn", [b'{"path": "a.png", "si', b"\0\0\0", b'"a.png"', b'{"path": 5}', b"[]\n", b"\xff\n"]
    )
    def test_broken_lines_cost_themselves_alone(self, tmp_path: Path, torn: bytes) -> None:
        append_entry(tmp_path, entry("a.png"))
        with (tmp_path / MANIFEST_NAME).open("ab") as file:
            file.write(torn)
        manifest = Manifest(tmp_path)
        append_entry(tmp_path, entry("b.png"))
        manifest.refresh()
        assert manifest.find("a.png") == entry("a.png")
        assert manifest.find("b.png") == entry("b.png")
        manifest.close()

    def test_names_need_not_be_text(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"\xff\n.png")
        append_entry(tmp_path, entry(name))
        manifest = Manifest(tmp_path)
        assert manifest.find(name) == entry(name)
        manifest.close()
        assert escape_name(name) == r"\udcff\n.png"

    def test_one_run_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(manifest_module, "LOCK_PATIENCE", 0)
        first = Manifest(tmp_path)
        kept = os.dup(first.fileno())
        with pytest.raises(FolderInUse):
            Manifest(tmp_path)
        first.close()
        with pytest.raises(FolderInUse):  # as long as a worker has it
            Manifest(tmp_path)
        os.close(kept)
        Manifest(tmp_path).close()


def test_a_file_that_grows_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "MIN_QUIET_SECONDS", 0.5)
    (tmp_path / "old.png").write_bytes(b"1")
    time.sleep(0.6)
    (tmp_path / "new.png").write_bytes(b"1")
    os.utime(tmp_path / "new.png", (0, 60))  # as a copier that keeps times may do before the file is whole
    watch = FolderWatch(FolderSource(tmp_path))
    looks = [watch.scan(lambda *_: None)]
    (tmp_path / "new.png").write_bytes(b"12")
    looks += [watch.scan(lambda *_: None) for _ in range(3)]
    (tmp_path / "old.png").write_bytes(b"2")
    looks += [watch.scan(lambda *_: None) for _ in range(2)]
    assert looks == [["old.png"], [], ["new.png"], [], [], ["old.png"]]
    assert watch.next_delay(2) == 2


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is closed to root")
def test_a_film_that_was_closed_comes_anew_when_it_is_open(tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    film.write_bytes(b"1")
    os.utime(film, (0, time.time() - 60))
    film.chmod(0)
    watch = FolderWatch(FolderSource(tmp_path))
    looks = [watch.scan(lambda *_: None) for _ in range(2)]
    film.chmod(0o600)
    looks += [watch.scan(lambda *_: None) for _ in range(2)]
    assert looks == [["film.png"], [], ["film.png"], []]


class Told:
    """A source of three images, of which one is gone by the time it is looked at; a folder cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("a.png", "c.png"):
            (folder / name).write_bytes(b"1")

    def images(self, left_out: OnSkip) -> Iterator[str]:
        left_out(SkipReason.CLOSED, "ward")
        yield from ("a.png", "b.png", "c.png")


def test_a_look_passes_over_what_is_gone_and_tells_of_closed_folders(tmp_path: Path) -> None:
    source: Any = Told(tmp_path)
    watch, told = FolderWatch(source), list[tuple[SkipReason, str]]()
    assert watch.next_delay(0) == 0
    assert watch.scan(lambda *_: None) == []
    assert watch.scan(lambda *what: told.append(what)) == ["a.png", "c.png"]
    assert told == [(SkipReason.CLOSED, "ward")]


def test_a_folder_that_takes_long_to_look_at_is_looked_at_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Any = Told(tmp_path)
    watch, clock = FolderWatch(source), iter([100.0, 103.0])
    monkeypatch.setattr(watch_module, "time", SimpleNamespace(monotonic=lambda: next(clock), time=time.time))
    watch.scan(lambda *_: None)
    assert watch.next_delay(2) == pytest.approx(60)
    assert watch.next_delay(100) == 100


def test_half_written_files_are_removed_and_no_others(tmp_path: Path) -> None:
    """Neither a person's own hidden file, nor what another run is writing in a folder of its own below."""
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


def test_outputs_beside_their_image_and_linked_folders_are_left_out_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "ward").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "z.png").touch()
    (folder / "linked").symlink_to(tmp_path / "other")
    for name in ("a.png", "a.png.mask.png", "a.png.json", "b.mask.png", "ward/c.png.overlay.png", "ward/c.png"):
        (folder / name).touch()
    told: list[tuple[SkipReason, str]] = []
    assert list(FolderSource(folder).images(lambda *what: told.append(what))) == ["a.png", "b.mask.png", "ward/c.png"]
    assert set(told) == {
        (SkipReason.LINKED, "linked"),
        (SkipReason.OUTPUT, "a.png.mask.png"),
        (SkipReason.OUTPUT, "a.png.json"),
        (SkipReason.OUTPUT, "ward/c.png.overlay.png"),
    }


def test_pipe_in_a_folder_is_not_left_out_in_silence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert list(FolderSource(tmp_path).images()) == ["pipe"]


def test_pipe_is_refused_at_once_unless_it_may_be_one(tmp_path: Path) -> None:
    """A link to one in a folder held its reader up for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "film.jpg").symlink_to("pipe")
    with pytest.raises(errors.Unreadable, match="pipe or a device"):
        read_image_file(tmp_path / "film.jpg")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"film",))
    writer.start()
    assert read_image_file(tmp_path / "pipe", pipes=True) == b"film"
    writer.join()


def test_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    with replacement_file(Path(os.devnull)) as path:
        assert path == Path(os.devnull)
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("kept")
    write_atomically(tmp_path / "link", b"new", follow=False)
    assert (tmp_path / "kept").read_bytes() == b"kept"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_bytes() == b"new"


def damaged_lines(entry: Entry) -> Iterator[dict[str, Any]]:
    """A manifest's line with each member of another type, and with outputs that no format has."""
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
    yield good | {"outputs": {".mask.png": -1}}  # no file has -1 bytes, and neither has one that is not there
    yield good | {"row": {"reasons": ""}}
    for change in ({"verdict": "fine"}, {"reasons": "\x1b]0;x"}, {"path": "b.png"}, {"height": [1]}, {"heart": 1}):
        yield good | {"row": ROW | change}
    for change in ({"code": "\x1b[2J"}, {"detail": 1}, {"outcome": "accept"}):
        yield good | {"row": None, "problem": {"code": "too-small", "detail": ""} | change}
    yield good | {"row": None}
    yield good | {"problem": {"code": "x"}, "row": None}


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_manifest_is_a_file_and_no_link(tmp_path: Path, kind: str) -> None:
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
        append_entry(target, entry("a.png"))
    assert (thesis.read_bytes() if thesis.exists() else None) == (b"of another person" if kind == "link" else None)


@pytest.mark.parametrize(
    ("ctime_ns", "settled"),
    [(1_700_000_000_123_456_789, True), (1_700_000_000_000_000_000, False), (1_700_000_000_120_000_000, False)],
)
def test_mark_of_coarse_times_proves_nothing(ctime_ns: int, settled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT has whole seconds and exFAT hundredths, both without a time of their own for a change of the name."""
    mark = FileMark(1, 2, ctime_ns, 3)
    assert mark.is_settled() == settled
    monkeypatch.setattr("sys.platform", "win32")
    assert not mark.is_settled()


def test_damaged_line_of_a_manifest_is_none(tmp_path: Path) -> None:
    good = entry("a.png", 1)
    lines = [json.dumps(line) for line in damaged_lines(good)]
    deep = format_entry(good).decode().rstrip()[:-1] + ', "problem": ' + "[" * 100_000
    (tmp_path / MANIFEST_NAME).write_text("".join(f"{line}\n" for line in (*lines, deep)))
    manifest = Manifest(tmp_path)
    assert manifest.find("a.png") is None
    append_entry(tmp_path, good)
    manifest.refresh()
    assert manifest.find("a.png") == good
    manifest.close()
