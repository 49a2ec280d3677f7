"""Folders for the tests of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_folder import MakeSpec

from lungseg.batch.plan import BatchSpec
from lungseg.pipeline.options import Options


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder of images."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a folder of outputs will be."""
    return tmp_path / "out"


@pytest.fixture
def ward(source: Path, rg1: bytes, small: bytes) -> Path:
    """A folder with good images and bad ones."""
    (source / "ward a").mkdir()
    (source / "image.dcm").write_bytes(rg1)
    (source / "image.png").write_bytes(small)
    (source / "ward a" / "ö +.png").write_bytes(small)
    (source / "cut.png").write_bytes(small[:5000])
    (source / "two\nlines.txt").write_bytes(b"no image")
    (source / ".hidden").write_bytes(b"no image either")
    return source


@pytest.fixture
def make_spec(source: Path, target: Path) -> MakeSpec:
    """Returns a function that makes specs for two folders that exist."""
    target.mkdir()

    def make(*formats: str, has_table: bool = False) -> BatchSpec:
        return BatchSpec(source, target, formats or ("mask",), Options(), ("a", "b"), has_table)

    return make
