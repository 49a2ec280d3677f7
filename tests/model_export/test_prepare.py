"""`prepare`: squares, an index, and a list of skipped images."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from films import dice, encode
from PIL import Image

from lungseg.pipeline.upsample import upsample_probability
from model_export.__main__ import main
from model_export.data.index import Index, digest_rows, read_index
from model_export.data.layout import read_mask
from model_export.data.phantoms import MONTGOMERY, SHENZHEN, SIZE, draw_chest, write_png, write_public_layout
from model_export.prepare import prepare


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_images_and_masks_are_letterboxed(index: Index) -> None:
    assert len(index.rows) == 24
    for row in index.rows:
        image, mask = (read(index.folder / folder / f"{row.id}.png") for folder in ("images", "masks"))
        assert image.shape == mask.shape == (SIZE, SIZE)
        assert (image.dtype, mask.dtype) == (np.uint8, np.bool_)
        geometry = row.geometry(SIZE)
        assert abs(geometry.box_height / geometry.box_width - row.height / row.width) < 0.02
        outside = np.ones((SIZE, SIZE), bool)
        outside[geometry.box] = False
        assert not image[outside].any()
        assert image[mask].mean() < image[geometry.box].mean()
        target = read_mask(index.input / name for name in row.masks.split(";"))
        assert dice(upsample_probability(mask[geometry.box].astype(np.float32), geometry) > 0.5, target) > 0.95


def test_left_and_right_masks_are_joined(index: Index, public: Path) -> None:
    row = next(row for row in index.rows if row.source == "montgomery")
    left, right = (read(public / name) for name in row.masks.split(";"))
    joined = read_mask(public / name for name in row.masks.split(";"))
    np.testing.assert_array_equal(joined, left | right)


def test_split_is_seeded(index: Index, public: Path, tmp_path: Path) -> None:
    counts = {split: len(index.select(split)) for split in ("train", "validation", "test")}
    assert counts == {"train": 16, "validation": 4, "test": 4}
    again = prepare(public, tmp_path / "again", SIZE, None, 1, 0.2, None, 1)
    other = prepare(public, tmp_path / "other", SIZE, None, 2, 0.2, None, 1)
    assert again.rows == index.rows
    assert [row.split for row in other.rows] != [row.split for row in index.rows]


def test_split_lists_and_quality_are_used(public: Path, tmp_path: Path, capsys) -> None:
    lists = tmp_path / "splits" / "montgomery"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("MCUCXR_0001_1.png\nMCUCXR_0002_0.png\n")
    (lists / "test.txt").write_text("MCUCXR_0003_1.png\nMCUCXR_9999_0.png\n")
    (tmp_path / "quality.csv").write_text("id,verdict,why\nMCUCXR_0002_0,bad,heart\n")
    command = ["prepare", "--input", public, "--output", tmp_path / "out", "--size", SIZE]
    command += ["--splits", tmp_path / "splits", "--quality", tmp_path / "quality.csv"]
    assert main([str(word) for word in command]) == 0
    index = read_index(tmp_path / "out")
    assert [row.id for row in index.select("train")] == ["MCUCXR_0001_1", "MCUCXR_0002_0"]
    assert [row.id for row in index.select("train", ("bad",))] == ["MCUCXR_0001_1"]
    assert [row.id for row in index.select("test")] == ["MCUCXR_0003_1"]
    said = capsys.readouterr().out
    assert "skipped CHNCXR_0001_1: in no split list" in said
    assert "and 2 more" in said
    skipped = (tmp_path / "out" / "skipped.csv").read_text()
    assert 'MCUCXR_9999_0,"in a split list, but not found"' in skipped


@pytest.mark.parametrize("flags", [["--test-share", "1"], ["--test-share", "-0.1"], ["--quality", "no-columns"]])
def test_invalid_settings_exit_with_2(public: Path, tmp_path: Path, capsys, flags: list[str]) -> None:
    (tmp_path / "no-columns").write_text("film,opinion\n")
    flags = [str(tmp_path / flag) if flag == "no-columns" else flag for flag in flags]
    assert main(["prepare", "--input", str(public), "--output", str(tmp_path / "out"), *flags]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_marker_on_16_bit_image_keeps_its_greys(tmp_path: Path) -> None:
    radiograph, left, right = draw_chest(300, 300, 1)
    bright = radiograph.astype(np.uint16) * 16
    bright[5:9, 5:25] = 65535
    for folder, pixels in (("CXR_png", bright), ("ManualMask/leftMask", left), ("ManualMask/rightMask", right)):
        write_png(tmp_path / MONTGOMERY / folder / "MCUCXR_0001_0.png", pixels)
    index = prepare(tmp_path, tmp_path / "out", 256, None, 1, 0.0, None, 1)
    assert len(np.unique(read(tmp_path / "out" / "images" / f"{index.rows[0].id}.png"))) > 150


def test_image_in_two_lists_is_rejected(public: Path, tmp_path: Path, capsys) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("MCUCXR_0001_1.png\n")
    code = main(["prepare", "--input", str(public), "--output", str(tmp_path / "o"), "--splits", str(tmp_path)])
    assert code == 2
    assert "MCUCXR_0001_1 is in two split lists" in capsys.readouterr().err


def test_missing_and_damaged_files_are_skipped(tmp_path: Path, capsys) -> None:
    root = tmp_path / "kaggle" / "input"
    write_public_layout(root, count=6)
    (root / MONTGOMERY / "ManualMask" / "leftMask" / "MCUCXR_0001_1.png").unlink()
    (root / "shcxr-lung-mask" / "mask" / "mask" / "CHNCXR_0002_0_mask.png").unlink()
    radiograph = root / SHENZHEN / "CXR_png" / "CHNCXR_0003_1.png"
    radiograph.write_bytes(radiograph.read_bytes()[:1000])
    write_png(root / MONTGOMERY / "CXR_png" / "MCUCXR_0004_0.png", draw_chest(300, 300, 1)[0])
    write_png(root / "shcxr-lung-mask" / "mask" / "mask" / "CHNCXR_0005_1_mask.png", np.zeros((110, 125), np.uint8))
    (root / SHENZHEN / "CXR_png" / "CHNCXR_0006_0.png").unlink()
    write_png(root / MONTGOMERY / "CXR_png" / "MCUCXR_0002_0.png", np.full((106, 120), 90, np.uint8))
    index = prepare(root, tmp_path / "out", SIZE, None, 1, 0.2, None, 2)
    assert len(index.rows) == 5
    said = capsys.readouterr().out
    for line in (
        "skipped MCUCXR_0001_1: no leftMask",
        "skipped MCUCXR_0002_0: blank-film",
        "skipped CHNCXR_0002_0: no mask",
        "skipped CHNCXR_0003_1: damaged-film",
        "skipped MCUCXR_0004_0: damaged-film: Image and mask differ in size",
        "skipped CHNCXR_0005_1: damaged-film: The mask is empty",
        "skipped CHNCXR_0006_0: no image",
    ):
        assert line in said
    assert len((tmp_path / "out" / "skipped.csv").read_text().splitlines()) == 8


def test_full_size_originals_give_the_same_index(tmp_path: Path) -> None:
    """A 4020 x 4892 original gives the same geometry and mask as its small copy."""
    root = tmp_path / "input"
    radiograph, left, right = draw_chest(4020, 4892, 3)
    name = "MCUCXR_0001_0.png"
    write_png(root / MONTGOMERY / "CXR_png" / name, radiograph)
    write_png(root / MONTGOMERY / "ManualMask" / "leftMask" / name, left)
    write_png(root / MONTGOMERY / "ManualMask" / "rightMask" / name, right)
    index = prepare(root, tmp_path / "out", 512, None, 1, 0.0, None, 1)
    row = index.rows[0]
    assert (row.height, row.width, row.box_height, row.box_width) == (4020, 4892, 421, 512)
    mask = read(tmp_path / "out" / "masks" / f"{row.id}.png")
    assert (
        dice(
            upsample_probability(mask[row.geometry(512).box].astype(np.float32), row.geometry(512)) > 0.5, left | right
        )
        > 0.995
    )


def test_digest_follows_the_pixels(index: Index, public: Path, tmp_path: Path) -> None:
    root = tmp_path / "input"
    shutil.copytree(public, root)
    path = root / MONTGOMERY / "CXR_png" / "MCUCXR_0002_0.png"
    changed = read(path).copy()
    changed[50:60, 50:60] += 9
    path.write_bytes(encode(Image.fromarray(changed), "PNG"))
    other = prepare(root, tmp_path / "out", SIZE, None, 1, 0.2, None, 1)
    assert digest_rows(other.rows) != digest_rows(index.rows)
    assert digest_rows(list(reversed(index.rows))) == digest_rows(index.rows)


@pytest.mark.parametrize("command", [["prepare", "--input", "."], ["train"], ["evaluate"], ["export"]])
def test_folder_without_images_exits_with_2(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_public_sets_are_found_completely(shared: Path, tmp_path: Path) -> None:
    """The layout of the public Kaggle sets, with the published split."""
    from model_export.data.layout import find_pairs, read_splits

    pairs, skipped = find_pairs(shared / "input")
    assert len(pairs) == 704
    assert not skipped
    splits = read_splits(shared / "splits")
    counts = {
        (source, split): sum(pair.source == source and splits[pair.id] == split for pair in pairs)
        for source in ("montgomery", "shenzhen")
        for split in ("train", "validation", "test")
    }
    assert list(counts.values()) == [96, 14, 28, 396, 56, 114]


def test_help_does_not_import_pytorch() -> None:
    code = "import sys; from model_export.__main__ import _parser; _parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
