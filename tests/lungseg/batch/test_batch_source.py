"""Which files of a folder are images, and what is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lungseg.batch.source import FolderSource, SkipReason, matches_pattern


@pytest.mark.parametrize(
    ("path", "pattern", "matches"),
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
def test_pattern_matches_paths(path: str, pattern: str, matches: bool) -> None:
    assert matches_pattern(tuple(path.split("/")), tuple(pattern.split("/"))) is matches


def test_source_is_a_folder_a_file_or_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "[1]").mkdir()
    (tmp_path / "[1]" / "image[2].png").touch()
    (tmp_path / "[1]" / "image2.png").touch()
    assert list(FolderSource.parse(str(tmp_path / "[1]")).images()) == ["image2.png", "image[2].png"]
    assert list(FolderSource.parse(str(tmp_path / "[1]" / "image[2].png")).images()) == ["image[2].png"]
    assert list(FolderSource.parse(str(tmp_path / "*" / "*2.png")).images()) == ["[1]/image2.png"]
    with pytest.raises(FileNotFoundError):
        FolderSource.parse(str(tmp_path / "none.png"))


def test_source_covers_only_folders_that_its_pattern_reaches(tmp_path: Path) -> None:
    flat = FolderSource(tmp_path, ("*.png",))
    assert flat.covers(tmp_path)
    assert not flat.covers(tmp_path / "masks")
    deep = FolderSource(tmp_path, ("ward*", "*.png"))
    assert deep.covers(tmp_path / "ward 1")
    assert not deep.covers(tmp_path / "masks")
    assert FolderSource(tmp_path, ("**", "*.png")).covers(tmp_path / "masks")


@pytest.mark.skipif(os.getuid() == 0, reason="root can read every folder")
def test_closed_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    skipped: list[tuple[SkipReason, str]] = []
    assert not list(FolderSource(tmp_path).images(lambda *what: skipped.append(what)))
    assert skipped == [(SkipReason.CLOSED, "closed")]


def test_own_outputs_and_linked_folders_are_skipped_and_reported(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "ward").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "z.png").touch()
    (folder / "linked").symlink_to(tmp_path / "other")
    for name in ("a.png", "a.png.mask.png", "a.png.json", "b.mask.png", "ward/c.png.overlay.png", "ward/c.png"):
        (folder / name).touch()
    skipped: list[tuple[SkipReason, str]] = []
    images = list(FolderSource(folder).images(lambda *what: skipped.append(what)))
    assert images == ["a.png", "b.mask.png", "ward/c.png"]
    assert set(skipped) == {
        (SkipReason.LINKED, "linked"),
        (SkipReason.OUTPUT, "a.png.mask.png"),
        (SkipReason.OUTPUT, "a.png.json"),
        (SkipReason.OUTPUT, "ward/c.png.overlay.png"),
    }


def test_pipe_is_not_skipped_silently(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert list(FolderSource(tmp_path).images()) == ["pipe"]
