"""The counts of a run, the table of measurements, and run.json."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from batch_folder import mark_output

from lungseg.batch import report as report_module
from lungseg.batch.entry import Entry, Failure
from lungseg.batch.file_mark import FileMark
from lungseg.batch.plan import BatchSpec
from lungseg.batch.report import run_summary, write_report, write_table
from lungseg.batch.table import TABLE_COLUMNS, table_row
from lungseg.batch.tally import Tally
from lungseg.model.models import Models
from lungseg.pipeline.options import Options

MARK = FileMark(1, 2, 3, 4)


def good(path: str, verdict: str = "accept", reasons: str = "", omitted: dict[str, str] | None = None) -> Entry:
    """Return the entry of a segmented image."""
    row = {"verdict": verdict, "reasons": reasons}
    return Entry(path, MARK, True, "digest", "recipe", {".mask.png": mark_output(b"123")}, omitted or {}, row)


def bad(path: str, code: str = "damaged-film") -> Entry:
    """Return the entry of a failed image."""
    return Entry(path, MARK, True, "digest", "recipe", {}, {}, Failure(code, "It is broken."))


ENTRIES = [
    good("a.png"),
    good("b.png", "review", "one-lung cut-off", {"dicom-seg": "needs-dicom", "npz": "x"}),
    bad("c.png"),
    good("d.png", "reject", "not-frontal"),
    bad("e.png", "too-small"),
    bad("f.png"),
]


class TestTally:
    @pytest.fixture
    def tally(self) -> Tally:
        """The counts of all entries; the first and the last are from an earlier run."""
        tally = Tally(("mask", "dicom-seg"))
        for number, entry in enumerate(ENTRIES):
            tally.add(entry, is_from_before=number in (0, 5))
        return tally

    def test_every_image_counts_once(self, tally: Tally) -> None:
        assert (tally.images, tally.segmented, tally.done_before, tally.failed, tally.processed) == (6, 2, 1, 3, 4)
        assert tally.doubtful == 2
        assert tally.verdicts == {"accept": 1, "review": 1, "reject": 1}
        assert tally.reasons == {"one-lung": 1, "cut-off": 1, "not-frontal": 1}
        assert tally.failures == {"damaged-film": 2, "too-small": 1}
        assert tally.omitted == {"dicom-seg": 1}  # what was not asked for was not left out

    def test_tally_lines(self, tally: Tally) -> None:
        assert tally.summary_lines() == [
            "verdicts: 1 accept, 1 review, 1 reject",
            "reasons: 1 one-lung, 1 cut-off, 1 not-frontal",
            "failures: 2 damaged-film, 1 too-small",
            "formats that could not be produced: 1 dicom-seg",
        ]
        nothing = Tally(("mask",))
        assert nothing.summary_lines() == ["verdicts: 0 accept, 0 review, 0 reject"]
        assert (nothing.images, nothing.processed, nothing.doubtful) == (0, 0, 0)


class TestReports:
    def test_row_has_the_measurements_of_its_document(self) -> None:
        box, centre = [1, 2, 3, 4], [5.123, 6.08]
        document = {
            "verdict": {
                "decision": "review",
                "reasons": [{"code": "one-lung"}, {"code": "cut-off"}],
                "frontal": 0.9,
                "confidence": 0.8,
                "expected_dice": 0.91,
                "doubtful_parts": ["left lower", "left middle"],
            },
            "image": {"width": 640, "height": 480},
            "lungs": {
                "both": {"pixels": 30, "mm2": 12.345, "box": box, "centroid": centre},
                "right": {"pixels": 30, "mm2": 12.345, "box": box, "centroid": centre},
                "left": {"pixels": 0, "mm2": None, "box": None, "centroid": None},
                "right_to_left": None,
                "share": 0.1,
            },
            "model": {"precision": "fp32", "precision_reason": "no-dot-products"},
            "milliseconds": {"decode": 1.26, "network": 2.31},
        }
        part = {
            "px": 30,
            "mm2": 12.3,
            "box_x": 1,
            "box_y": 2,
            "box_width": 3,
            "box_height": 4,
            "centroid_x": 5.1,
            "centroid_y": 6.1,
        }
        expected = {"width": 640, "height": 480, "verdict": "review", "reasons": "one-lung cut-off"}
        expected |= {"expected_dice": 0.91, "doubtful_parts": "left lower, left middle"}
        expected |= {"frontal": 0.9, "confidence": 0.8, "right_to_left": None, "share": 0.1, "milliseconds": 3.6}
        expected |= {"precision": "fp32", "precision_reason": "no-dot-products"}
        expected |= {f"{side}_{name}": value for side in ("both", "right") for name, value in part.items()}
        expected |= {f"left_{name}": 0 if name == "px" else None for name in part}
        assert table_row(document) == expected
        assert set(TABLE_COLUMNS) == {"path", *expected}

    def test_table_has_a_line_for_each_image(self, tmp_path: Path) -> None:
        path = tmp_path / "m.csv"
        odd = os.fsdecode(b"\xff,\n.png")
        write_table(path, iter([good("ä.png", "review", "one-lung"), bad("b.png"), bad(odd)]))
        lines = path.read_bytes().split(b"\r\n")
        assert lines[0].decode() == ",".join(TABLE_COLUMNS)
        blanks = b"," * (len(TABLE_COLUMNS) - 5)
        assert lines[1:] == [
            "ä.png,,,review,one-lung".encode() + blanks,
            b"b.png,,,failed,damaged-film" + blanks,
            b'"\xff,\n.png",,,failed,damaged-film' + blanks,
            b"",
        ]
        assert [each.name for each in tmp_path.iterdir()] == ["m.csv"]

    @pytest.mark.parametrize("entries", [[], ENTRIES[:1], ENTRIES[:3], ENTRIES])
    def test_report_lists_images_to_check(self, tmp_path: Path, entries: list[Entry]) -> None:
        path = tmp_path / "run.json"
        write_report(path, {"counts": {"images": 6}, "in": "ä"}, iter(entries))
        said = json.loads(path.read_text())
        members = {
            "b.png": {"path": "b.png", "outcome": "review", "reasons": ["one-lung", "cut-off"]},
            "c.png": {"path": "c.png", "outcome": "failed", "code": "damaged-film", "detail": "It is broken."},
            "d.png": {"path": "d.png", "outcome": "reject", "reasons": ["not-frontal"]},
            "e.png": {"path": "e.png", "outcome": "failed", "code": "too-small", "detail": "It is broken."},
            "f.png": {"path": "f.png", "outcome": "failed", "code": "damaged-film", "detail": "It is broken."},
        }
        expected = [members[entry.path] for entry in entries if entry.path in members]
        assert said == {"counts": {"images": 6}, "in": "ä", "images": expected}
        # A line an image: such a report is searched with grep.
        lines = [line for line in path.read_text().splitlines() if line.startswith('    {"path"')]
        assert len(lines) == len(expected)
        assert [each.name for each in tmp_path.iterdir()] == ["run.json"]

    def test_unfinished_report_keeps_the_previous_one(self, tmp_path: Path) -> None:
        def broken() -> Iterator[Entry]:
            yield ENTRIES[1]
            raise OSError(errno.EIO, "Input/output error")

        for path, write in (
            (tmp_path / "r.json", lambda path: write_report(path, {"a": 1}, broken())),
            (tmp_path / "m.csv", lambda path: write_table(path, broken())),
        ):
            path.write_text("the last one")
            with pytest.raises(OSError, match="Input/output"):
                write(path)
            assert path.read_text() == "the last one"
        assert {each.name for each in tmp_path.iterdir()} == {"r.json", "m.csv"}

    def test_symlink_to_a_report_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        for name in ("r.json", "m.csv"):
            (tmp_path / name).symlink_to(tmp_path / "elsewhere" / name)
        write_report(tmp_path / "r.json", {"a": 1}, iter([]))
        write_table(tmp_path / "m.csv", iter([]))
        assert {each.name for each in (tmp_path / "elsewhere").iterdir()} == {"r.json", "m.csv"}
        assert (tmp_path / "r.json").is_symlink()
        assert (tmp_path / "m.csv").is_symlink()

    def test_paths_that_look_like_formulas_are_escaped(self, tmp_path: Path) -> None:
        names = ["=HYPERLINK(1)", "+1.png", "-2.png", "@SUM(1).png", "\tx.png", "a=1.png"]
        write_table(tmp_path / "m.csv", iter([good(name) for name in names]))
        with (tmp_path / "m.csv").open(newline="") as file:
            paths = [line["path"] for line in csv.DictReader(file)]
        assert paths == [f"'{name}" for name in names[:-1]] + names[-1:]

    def test_summary_has_counts_options_and_models(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tally = Tally(("mask", "dicom-seg"))
        for entry in ENTRIES:
            tally.add(entry, is_from_before=entry.path == "a.png")
        spec = BatchSpec(Path("images"), Path("masks"), ("mask",), Options(threshold=0.4, clean=False), ("1", "2"))
        card = SimpleNamespace(name="lung", precision="int8")
        model: Any = SimpleNamespace(card=card, precision_reason="dot-products", sha256="1")
        view: Any = SimpleNamespace(sha256="2")
        monkeypatch.setattr(report_module, "__version__", "1.2.3")
        said = run_summary(tally, spec, Models(model, view))
        versions = said.pop("versions")
        assert said == {
            "counts": {
                "images": 6,
                "segmented": 2,
                "done_before": 1,
                "failed": 3,
                "accept": 1,
                "review": 1,
                "reject": 1,
            },
            "reasons": {"one-lung": 1, "cut-off": 1, "not-frontal": 1},
            "failures": {"damaged-film": 2, "too-small": 1},
            "omitted_formats": {"dicom-seg": 1},
            "in": "images",
            "out": "masks",
            "formats": ["mask"],
            "options": {"threshold": 0.4, "clean": False, "upright": True, "opacity": 0.2},
            "model": {"name": "lung", "precision": "int8", "precision_reason": "dot-products", "sha256": "1"},
            "view_model": {"sha256": "2"},
        }
        assert set(versions) == {"program", "python", "onnxruntime"}
        assert versions["program"] == "1.2.3"
        assert all(isinstance(each, str) and each[0].isdigit() for each in versions.values())
