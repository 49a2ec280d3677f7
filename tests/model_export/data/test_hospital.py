"""Further hospitals as folders, and their errors."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from model_export.__main__ import main
from model_export.data.hospital import read_hospital
from model_export.data.index import read_index
from model_export.data.phantoms import SIZE, draw_chest, write_png


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Six images of three patients, one without a mask, and a row without an image."""
    folder = tmp_path / "mine"
    lines = []
    for number in range(6):
        image, left, right = draw_chest(90 + number, 80, number)
        write_png(folder / "images" / f"im age {number}.png", image)
        write_png(folder / "masks" / f"im age {number}.png", (left | right).astype(np.uint8) * 255)
        split = "validation" if number > 3 else "train"
        lines.append({"id": f"im age {number}", "patient": f"p{number // 2}", "split": split, "finding": "none"})
    (folder / "masks" / "im age 5.png").unlink()
    lines.append({"id": "gone", "patient": "p9", "split": "train", "finding": ""})
    write_index(folder, lines)
    return folder


def write_index(folder: Path, lines: list[dict[str, str]]) -> None:
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def lines_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_hospital_images_have_patient_split_and_kind(hospital: Path) -> None:
    pairs, skipped = read_hospital(hospital, "lung")
    assert [pair.id for pair in pairs] == [f"mine-im_age_{number}" for number in range(5)]
    assert {(pair.source, pair.kind, pair.finding) for pair in pairs} == {("mine", "lung", "none")}
    assert [pair.split for pair in pairs] == ["train"] * 4 + ["validation"]
    assert {skip.id: skip.reason for skip in skipped} == {"mine-im age 5": "no mask", "mine-gone": "no image"}
    assert len(read_hospital(hospital, "none")[0]) == 6


def test_kind_column_overrides_the_flag(hospital: Path) -> None:
    write_index(hospital, [line | {"kind": "field"} for line in lines_of(hospital)])
    assert {pair.kind for pair in read_hospital(hospital, "lung")[0]} == {"field"}


def test_hospital_is_prepared_with_or_without_public_sets(
    hospital: Path, public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--size", str(SIZE), "--more", f"{hospital}:lung"]
    assert main(["prepare", "--input", str(public), "--output", str(tmp_path / "all"), *flags]) == 0
    assert main(["prepare", "--output", str(tmp_path / "alone"), *flags]) == 0
    both, alone = (read_index(tmp_path / name) for name in ("all", "alone"))
    own = [row for row in both.rows if row.source == "mine"]
    assert {row.source for row in both.rows} == {"montgomery", "shenzhen", "mine"}
    assert [row.sha256 for row in own] == [row.sha256 for row in alone.rows]
    assert all((both.input / row.image).is_file() and (both.input / row.masks).is_file() for row in own)
    assert "mine" in capsys.readouterr().out


def test_only_images_of_the_named_licences_are_prepared(hospital: Path, public: Path, tmp_path: Path) -> None:
    stated = ["CC BY 4.0", "CC BY-NC 4.0", "CC0", "", "CC BY 4.0", "CC0", "CC0"]
    write_index(
        hospital, [line | {"licence": licence} for line, licence in zip(lines_of(hospital), stated, strict=True)]
    )
    arguments = ["prepare", "--input", str(public), "--output", str(tmp_path / "out"), "--size", str(SIZE)]
    assert main([*arguments, "--more", f"{hospital}:lung", "--licences", "CC BY 4.0", "CC0"]) == 0
    index = read_index(tmp_path / "out")
    assert [row.id for row in index.rows if row.source == "mine"] == [f"mine-im_age_{number}" for number in (0, 2, 4)]
    assert {row.source for row in index.rows} == {"montgomery", "shenzhen", "mine"}
    skipped = (tmp_path / "out" / "skipped.csv").read_text()
    assert "CC BY-NC 4.0" in skipped
    assert "none stated" in skipped


def test_images_without_masks_are_not_trained_on(hospital: Path, tmp_path: Path) -> None:
    arguments = ["prepare", "--output", str(tmp_path / "out"), "--size", str(SIZE), "--more", f"{hospital}:none"]
    assert main(arguments) == 0
    index = read_index(tmp_path / "out")
    assert len(index.rows) == 6
    assert not index.select("train")
    assert not list((tmp_path / "out" / "masks").iterdir())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patient": "p2"}, "patient p2 is in train and in validation"),
        ({"split": "training"}, "the split of im age 0 is 'training'"),
        ({"kind": "heart"}, "the kind of im age 0 is 'heart'"),
        ({"id": "im age 1"}, "has the id mine-im_age_1 twice"),
    ],
)
def test_invalid_index_is_reported_in_one_line(
    hospital: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], says: str
) -> None:
    first, *others = lines_of(hospital)
    write_index(hospital, [first | {"kind": "lung"} | change, *(line | {"kind": "lung"} for line in others)])
    assert main(["prepare", "--output", str(tmp_path / "out"), "--more", str(hospital)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert says in line


def test_missing_index_column_or_kind_is_named(hospital: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the kind of im age 0 is None"):
        read_hospital(hospital, None)
    write_index(hospital, [{"id": "a", "split": "train"}])
    with pytest.raises(ValueError, match="lacks the column patient"):
        read_hospital(hospital, "lung")
    with pytest.raises(FileNotFoundError, match=r"needs an index\.csv"):
        read_hospital(tmp_path, "lung")


def test_duplicate_set_names_are_rejected(
    hospital: Path, public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "out")]
    assert main(["prepare", *output, "--more", f"{hospital}:lung", f"{hospital}/:none"]) == 2
    assert "two sets are called mine" in capsys.readouterr().err
    hospital.rename(hospital.with_name("shenzhen"))
    assert main(["prepare", *output, "--input", str(public), "--more", f"{tmp_path / 'shenzhen'}:lung"]) == 2
    assert "two sets are called shenzhen" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_copy_in_another_set_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Inverted, enlarged and with another name."""
    random = np.random.default_rng(1)
    images = [random.integers(0, 256, (8, 8), np.uint8).repeat(12, 0).repeat(12, 1) for _ in range(3)]
    for folder, pictures in {"one": images[:2], "two": [255 - images[1].repeat(2, 0).repeat(2, 1), images[2]]}.items():
        for number, picture in enumerate(pictures):
            write_png(tmp_path / folder / "images" / f"{number}.png", picture)
        lines = [{"id": str(number), "patient": str(number), "split": "train"} for number in range(2)]
        write_index(tmp_path / folder, lines)
    flags = ["--output", str(tmp_path / "out"), "--size", str(SIZE)]
    assert main(["prepare", *flags, "--more", f"{tmp_path / 'one'}:none", f"{tmp_path / 'two'}:none"]) == 0
    found = [line for line in capsys.readouterr().out.splitlines() if "may be one image" in line]
    assert found == ["  may be one image: one-1 (train) and two-0 (train)"]


def test_field_masks_are_not_scored_as_lung_masks(hospital: Path, tmp_path: Path) -> None:
    lines = lines_of(hospital)
    write_index(hospital, [line | {"kind": ("lung", "field", "none")[place % 3]} for place, line in enumerate(lines)])
    assert main(["prepare", "--output", str(tmp_path / "out"), "--size", str(SIZE), "--more", str(hospital)]) == 0
    index = read_index(tmp_path / "out")
    assert {row.kind for row in index.select("train")} == {"lung", "field"}
    assert {row.kind for row in index.select_scored("train")} == {"lung"}


def test_prepare_needs_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--output", str(tmp_path / "out")]) == 2
    assert "--input" in capsys.readouterr().err
