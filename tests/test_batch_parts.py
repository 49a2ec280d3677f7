"""Parts of a folder's run by themselves: patterns, the manifest, and what a drop folder waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.batch import manifest as manifest_module
from app.batch import watch as watch_module
from app.batch.manifest import NAME, Entry, InUse, Manifest, append
from app.batch.watch import Watch
from app.folder import Source, matches, remove_partials, write_whole
from app.terminal import printable


def entry(path: str, size: int = 1) -> Entry:
    return Entry(path, size, 2, "recipe", {".mask.png": 3}, {})


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
    assert matches(tuple(path.split("/")), tuple(pattern.split("/"))) is fits


def test_a_name_is_a_folder_a_file_or_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "[1]").mkdir()
    (tmp_path / "[1]" / "film[2].png").touch()
    (tmp_path / "[1]" / "film2.png").touch()
    assert list(Source.named(str(tmp_path / "[1]")).films()) == ["film2.png", "film[2].png"]
    assert list(Source.named(str(tmp_path / "[1]" / "film[2].png")).films()) == ["film[2].png"]
    assert list(Source.named(str(tmp_path / "*" / "*2.png")).films()) == ["[1]/film2.png"]
    with pytest.raises(FileNotFoundError):
        Source.named(str(tmp_path / "none.png"))


def test_outputs_may_lie_where_a_pattern_does_not_look(tmp_path: Path) -> None:
    flat = Source(tmp_path, ("*.png",))
    assert flat.sees(tmp_path)
    assert not flat.sees(tmp_path / "masks")
    deep = Source(tmp_path, ("ward*", "*.png"))
    assert deep.sees(tmp_path / "ward 1")
    assert not deep.sees(tmp_path / "masks")
    assert Source(tmp_path, ("**", "*.png")).sees(tmp_path / "masks")


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is closed to root")
def test_closed_folders_are_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    told: list[str] = []
    assert not list(Source(tmp_path).films(told.append))
    assert told == ["closed"]


class TestManifest:
    def test_the_last_line_on_a_film_counts(self, tmp_path: Path) -> None:
        for number in range(100):
            append(tmp_path, entry(f"{number % 10}.png", number))
        manifest = Manifest(tmp_path)
        assert [manifest.find(f"{number}.png") for number in range(10)] == [
            entry(f"{number}.png", 90 + number) for number in range(10)
        ]
        assert manifest.find("10.png") is None
        append(tmp_path, entry("0.png", 200))
        manifest.refresh()
        assert manifest.find("0.png") == entry("0.png", 200)
        manifest.close()

    @pytest.mark.parametrize(
        "torn", [b'{"path": "a.png", "si', b"\0\0\0", b'"a.png"', b'{"path": 5}', b"[]\n", b"\xff\n"]
    )
    def test_broken_lines_cost_themselves_alone(self, tmp_path: Path, torn: bytes) -> None:
        append(tmp_path, entry("a.png"))
        with (tmp_path / NAME).open("ab") as file:
            file.write(torn)
        manifest = Manifest(tmp_path)
        append(tmp_path, entry("b.png"))
        manifest.refresh()
        assert manifest.find("a.png") == entry("a.png")
        assert manifest.find("b.png") == entry("b.png")
        manifest.close()

    def test_names_need_not_be_text(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"\xff\n.png")
        append(tmp_path, entry(name))
        manifest = Manifest(tmp_path)
        assert manifest.find(name) == entry(name)
        manifest.close()
        assert printable(name) == r"\udcff\n.png"

    def test_one_run_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(manifest_module, "PATIENCE", 0)
        first = Manifest(tmp_path)
        kept = os.dup(first.fileno())
        with pytest.raises(InUse):
            Manifest(tmp_path)
        first.close()
        with pytest.raises(InUse):  # as long as a worker has it
            Manifest(tmp_path)
        os.close(kept)
        Manifest(tmp_path).close()


def test_a_file_that_grows_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"1")
    os.utime(tmp_path / "old.png", (0, time.time() - 60))
    (tmp_path / "new.png").write_bytes(b"1")
    watch = Watch(Source(tmp_path))
    looks = [watch.look(lambda _: None)]
    (tmp_path / "new.png").write_bytes(b"12")
    looks += [watch.look(lambda _: None) for _ in range(3)]
    (tmp_path / "old.png").write_bytes(b"2")
    looks += [watch.look(lambda _: None) for _ in range(2)]
    assert looks == [["old.png"], [], ["new.png"], [], [], ["old.png"]]
    assert watch.rest(2) == 2


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is closed to root")
def test_a_film_that_was_closed_comes_anew_when_it_is_open(tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    film.write_bytes(b"1")
    os.utime(film, (0, time.time() - 60))
    film.chmod(0)
    watch = Watch(Source(tmp_path))
    looks = [watch.look(lambda _: None) for _ in range(2)]
    film.chmod(0o600)
    looks += [watch.look(lambda _: None) for _ in range(2)]
    assert looks == [["film.png"], [], ["film.png"], []]


class Told:
    """A source of three films, of which one is gone by the time it is looked at; a folder cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("a.png", "c.png"):
            (folder / name).write_bytes(b"1")
            os.utime(folder / name, (0, time.time() - 60))

    def films(self, closed: Callable[[str], None]) -> Iterator[str]:
        closed("ward")
        yield from ("a.png", "b.png", "c.png")


def test_a_look_passes_over_what_is_gone_and_tells_of_closed_folders(tmp_path: Path) -> None:
    source: Any = Told(tmp_path)
    watch, told = Watch(source), list[str]()
    assert watch.rest(0) == 0
    assert watch.look(told.append) == ["a.png", "c.png"]
    assert told == ["ward"]


def test_a_folder_that_takes_long_to_look_at_is_looked_at_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Any = Told(tmp_path)
    watch, clock = Watch(source), iter([100.0, 103.0])
    monkeypatch.setattr(watch_module, "time", SimpleNamespace(monotonic=lambda: next(clock), time=time.time))
    watch.look(lambda _: None)
    assert watch.rest(2) == pytest.approx(60)
    assert watch.rest(100) == 100


def test_half_written_files_are_removed_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / ".partial-x1").touch()
    (tmp_path / "ward" / "partial-x1").touch()
    write_whole(tmp_path / "whole", b"1")
    assert remove_partials(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["partial-x1", "ward", "whole"]
